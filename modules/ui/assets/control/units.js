// A field that is a list of units, such as ControlNet's: a tab for each, built when the section is first opened.
import {button, make} from "../core.js";
import {controlSchema, listen} from "../page_state.js";
import {buildControlBatch} from "./batch.js";
import {ControlUnit} from "./unit.js";

const OFF = {enabled: false};

// Returns the control {root, get, set, showProblem}. Its value is a list of units, each with the values of its fields.
export function unitsField(field, id) {
  const root = make("div", "control-units"), tabs = make("div", "unit-tabs"), panels = make("div");
  root.id = id;
  tabs.setAttribute("role", "tablist");
  tabs.setAttribute("aria-label", `${field.label} units`);
  const copies = make("select");  // the other units, which this one can be copied to
  root.append(tabs, panels);
  const units = [];  // each is built when its tab is first opened
  let values = [];   // of those that are not built
  let count = 1, models = [], shown = 0, schema = null, tab = null;

  const current = () => Array.from({length: Math.max(count, values.length)}, (_, index) => units[index]?.get() ?? values[index] ?? OFF);

  function unitOf(index) {
    if (units[index]) return units[index];
    const unit = new ControlUnit(field.fields, `${id}_${index}`, index, schema, () => tab?.form.controls.init_image?.get() ?? null);
    unit.offerModels(models);
    unit.set(values[index] ?? OFF);
    unit.root.setAttribute("role", "tabpanel");
    unit.root.setAttribute("aria-labelledby", `${id}_tab_${index}`);
    tabs.children[index].setAttribute("aria-controls", unit.root.id);
    panels.append(unit.root);
    return units[index] = unit;
  }

  function select(index, focus = false) {
    shown = index;
    unitOf(index);
    units.forEach((unit, other) => { unit.root.hidden = other !== index; });
    const others = [...tabs.children].map((tab, other) => new Option(tab.textContent, other)).filter((_, other) => other !== index);
    copies.replaceChildren(new Option("…", ""), ...others);
    [...tabs.children].forEach((tab, other) => {
      tab.setAttribute("aria-selected", String(other === index));
      tab.tabIndex = other === index ? 0 : -1;
    });
    if (focus) tabs.children[index].focus();
  }

  const changed = () => root.dispatchEvent(new Event("input", {bubbles: true}));

  // What is done with the unit in sight as a whole
  function unitTools() {
    const tools = make("div", "unit-tools"), label = make("label", "", "Copy to");
    label.htmlFor = copies.id = `${id}_copy`;
    copies.title = "Give another unit all values and pictures of this one";
    copies.addEventListener("input", (event) => event.stopPropagation());  // no value of the form
    copies.addEventListener("change", () => {
      const index = Number(copies.value), copied = unitOf(shown).get();
      copies.value = "";
      unitOf(index).set(copied);
      select(index, true);
      changed();
    });
    const clear = button("Clear the unit", "Turn this unit off, and take its pictures and values away", () => {
      unitOf(shown).clear();
      changed();
    });
    clear.id = `${id}_clear`;
    tools.append(label, copies, clear);
    return tools;
  }

  function addTabs() {
    for (let index = tabs.children.length; index < current().length; index++) {
      const tab = make("button", "unit-tab", `Unit ${index}`);
      Object.assign(tab, {type: "button", id: `${id}_tab_${index}`});
      tab.setAttribute("role", "tab");
      tab.addEventListener("click", () => select(index));
      tabs.append(tab);
    }
  }

  async function build() {
    if (schema || root.offsetParent === null) return;
    schema = await controlSchema;
    if (tabs.children.length) return;
    addTabs();
    root.append(unitTools());
    if (tab) root.append(buildControlBatch(id, tab, () => shown));
    select(Math.max(0, current().findIndex(({enabled}) => enabled)));
    mark();
  }

  // Shows which units are on, also in the title of the section.
  function mark() {
    const all = current(), on = all.filter(({enabled}) => enabled).length;
    [...tabs.children].forEach((tab, index) => {
      const isOn = Boolean(all[index].enabled);
      tab.classList.toggle("is-on", isOn);
      tab.setAttribute("aria-label", isOn ? `Unit ${index}, on` : `Unit ${index}`);
    });
    const title = root.closest("details")?.firstElementChild;
    if (title) title.textContent = on ? `${field.label}: ${on} ${on === 1 ? "unit" : "units"} on` : field.label;
  }

  tabs.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const all = tabs.children.length;
    select((shown + step + all) % all, true);
  });
  new ResizeObserver(build).observe(root);
  listen("choices", ({settings}) => { if (!schema) count = settings.control_net_unit_count; });
  listen("model", ({control_models: fitting}) => {
    models = fitting;
    units.forEach((unit) => unit.offerModels(models));
  });
  return {
    root, get: current,
    connect(its) { tab = its; },
    // A unit keeps what it is not given, such as its picture, which no infotext holds; units without values are turned off.
    set(next) {
      const given = [...next ?? []];
      values = current().map((unit, index) => {
        const its = given[index] ?? OFF;
        // The control type of an infotext's preprocessor is not known.
        return {...unit, ...(its.module === undefined ? {} : {control_type: undefined}), ...its};
      });
      values.push(...given.slice(values.length));
      units.forEach((unit, index) => unit.set(values[index]));
      if (tabs.children.length) {
        addTabs();
        const first = values.findIndex(({enabled}) => enabled);
        if (first >= 0 && !values[shown].enabled) select(first);
      }
      mark();
    },
    showProblem() {
      units.forEach((unit) => unit.showProblems());
      mark();
    },
  };
}

// The fields of the X/Y/Z plot: for each axis what changes, and its values, written or chosen from a list.
import {makeCombobox} from "../combobox.js";
import {button, call, make} from "../core.js";
import {makeField} from "./fields.js";

const LETTERS = ["x", "y", "z"];
const NOTHING = "Nothing";

// Returns the parts of a text separated by commas; quotes keep a comma.
function split(text) {
  const parts = [...text.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,\n]*))\s*(?:[,\n]|$)/g)];
  return parts.map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain.trim()).filter(Boolean);
}

const join = (values) => values.map((value) => /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value).join(", ");

function buildAxis(letter, prefix, fields) {
  const typeName = `${letter}_type`, valuesName = `${letter}_values`, id = `${prefix}_script_${valuesName}`;
  const root = make("div", "plot-axis"), type = makeCombobox(`${prefix}_script_${typeName}`, fields[typeName].label);
  const kind = make("div", "field"), title = make("label", "", fields[typeName].label), place = make("div", "plot-values");
  title.htmlFor = type.box.id;
  kind.title = fields[typeName].help;
  kind.append(title, type.root);
  const all = button("All", `Fill ${fields[valuesName].label} with all choices`, () => {
    control.set(axis().choices);
    control.root.dispatchEvent(new Event("input", {bubbles: true}));
  });
  root.append(kind, place, all);
  let axes = [], isWritten = false, control = null, drawn = "";

  const axis = () => axes.find(({name}) => name === type.get()) ?? {name: type.get(), choices: []};
  const isList = () => !isWritten && axis().choices.length > 0;
  const text = () => !control ? "" : Array.isArray(control.get()) ? join(control.get()) : control.get();

  // Makes the control that fits the axis; the values stay.
  function draw(values = text()) {
    const look = [type.get(), isList(), axis().choices.length].join();
    if (look !== drawn) {
      drawn = look;
      const field = fields[valuesName];
      control = isList()
        ? makeField({...field, kind: "choices", default: [], choices: axis().choices.map((value) => [value, value])}, id, {})
        : makeField({...field, kind: "text"}, id, {});
      place.replaceChildren(control.root);
      place.hidden = type.get() === NOTHING;
      all.hidden = !isList() || place.hidden;
    }
    control.set(isList() ? split(values) : values);
  }

  type.root.addEventListener("input", () => draw(""));
  type.set(NOTHING);
  type.box.disabled = true;  // until there is something to choose
  draw("");
  return {
    root,
    controls: {
      [typeName]: {root: kind, get: type.get, set: (value) => { type.set(value); draw(); }},
      [valuesName]: {root: place, get: text, set: (value) => draw(value)},
    },
    offer(next) {
      axes = next;
      type.box.disabled = false;
      type.offer(axes.map(({name}) => [name, name]));
      draw();
    },
    write(next) {
      isWritten = next;
      draw();
    },
    state: () => [type.get(), text()],
    restore([name, values]) {
      type.set(name);
      draw(values);
    },
  };
}

// Returns {root, controls, offer}, as scripts.js expects of a script's fields.
export function buildPlotFields({prefix, task}, fields, lists) {
  const root = make("div", "script-fields plot-fields"), controls = {};
  const axes = Object.fromEntries(LETTERS.map((letter) => [letter, buildAxis(letter, prefix, fields)]));
  for (const axis of Object.values(axes)) {
    Object.assign(controls, axis.controls);
    root.append(axis.root);
  }
  const swaps = make("div", "plot-swaps"), switches = make("div", "plot-switches");
  swaps.append(...[["x", "y"], ["x", "z"], ["y", "z"]].map(([one, other]) => {
    const names = `${one.toUpperCase()} ⇄ ${other.toUpperCase()}`;
    return button(names, `Swap ${one.toUpperCase()} and ${other.toUpperCase()}`, () => {
      const [first, second] = [axes[one].state(), axes[other].state()];
      axes[one].restore(second);
      axes[other].restore(first);
      root.dispatchEvent(new Event("input", {bubbles: true}));
    });
  }));
  for (const [name, field] of Object.entries(fields)) {
    if (controls[name]) continue;
    controls[name] = makeField(field, `${prefix}_script_${name}`, lists);
    switches.append(controls[name].root);
  }
  const write = () => LETTERS.forEach((letter) => axes[letter].write(controls.csv_mode.get()));
  controls.csv_mode.root.addEventListener("input", write);
  root.append(swaps, switches);

  async function offer() {
    const rows = await call(`scripts/axes?task=${encodeURIComponent(task)}`).catch(() => null);
    if (rows) LETTERS.forEach((letter) => axes[letter].offer(rows));
  }

  offer();
  return {root, controls, offer, connect: write};
}

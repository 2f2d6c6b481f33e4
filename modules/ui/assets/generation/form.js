// A form built from its schema (ui/forms/schema.py): its controls, its values, and what the browser keeps of them.
import {make} from "../core.js";
import {makeField, numberProblem} from "./fields.js";
import {seedTools, sizeTools} from "./field_tools.js";
import {keep, kept} from "./kept_values.js";

const KEEP_DELAY_MS = 400;
// Tools next to or below a field.
const TOOLS = {height: sizeTools, seed: seedTools};

export class Form {
  // Controls that are placed elsewhere, such as the prompts, are in `placed`, by name.
  constructor(schema, {lists, settings}, placed = {}) {
    this.schema = schema;
    this.lists = lists;
    this.key = `webui-form-${schema.prefix}`;
    this.controls = {...placed};
    this.root = make("div", "form");
    this.root.append(...schema.rows.map((row) => this.#row(row)), ...schema.sections.map((section) => this.#section(section)));
    for (const [name, field] of Object.entries(schema.fields)) {
      if (field.override) this.controls[name]?.set(settings[name]);
    }
    this.fill(kept(this.key));
    this.root.addEventListener("input", (event) => this.changed(event));
    addEventListener("pagehide", () => this.#keep());
  }

  #control(name) {
    const id = `${this.schema.prefix}_${name}`;
    return this.controls[name] ??= makeField(this.schema.fields[name], id, this.lists);
  }

  #row(names) {
    const row = make("div", "field-row");
    row.append(...names.map((name) => this.#control(name).root));
    const tools = names.map((name) => TOOLS[name]).find(Boolean);
    if (tools) row.append(tools(this));
    row.dataset.fields = names.join(" ");
    return row;
  }

  #section(section) {
    const root = make("div", "form-section"), details = make("details");
    root.id = `${this.schema.prefix}_${section.title.toLowerCase().replace(/\W+/g, "_")}`;
    details.append(make("summary", "", section.title), ...section.rows.map((row) => this.#row(row)));
    root.append(details);
    if (section.switch) {  // next to the title, not in it: one control may not hold another
      const {root: check, box} = this.#control(section.switch);
      check.replaceChildren(box);  // the title names it
      details.firstChild.after(make("p", "field-help", this.schema.fields[section.switch].help));
      check.classList.add("form-section-switch");
      box.setAttribute("aria-label", section.title);
      box.addEventListener("change", () => { details.open = box.checked; });
      root.prepend(check);
    }
    return root;
  }

  // Returns the request's values by field name, and those of settings in `override_settings`.
  values() {
    const values = {}, overrides = {};
    for (const [name, control] of Object.entries(this.controls)) {
      (this.schema.fields[name]?.override ? overrides : values)[name] = control.get();
    }
    return {...values, override_settings: overrides};
  }

  // Sets the controls that are named; all others keep their value.
  fill(values) {
    const all = {...values, ...values.override_settings};
    for (const [name, control] of Object.entries(this.controls)) {
      if (all[name] !== undefined) control.set(all[name]);
    }
    this.changed();
  }

  // Sets every control to what its declaration says.
  reset() {
    this.fill(Object.fromEntries(Object.entries(this.schema.fields).map(([name, field]) => [name, field.default ?? null])));
  }

  // Offers new lists of choices.
  offer(lists) {
    this.lists = lists;
    for (const control of Object.values(this.controls)) {
      if (control.list && control.offer) control.offer(lists[control.list]);
    }
  }

  // Shows what is wrong with a number under its field, keeps the values, and tells listeners of "form-changed".
  changed() {
    for (const [name, control] of Object.entries(this.controls)) {
      if (control.showProblem) control.showProblem(numberProblem(this.schema.fields[name], control.get()));
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#keep(), KEEP_DELAY_MS);
    this.root.dispatchEvent(new CustomEvent("form-changed"));
  }

  #keep() {
    clearTimeout(this.timer);
    keep(this.key, this.values());
  }
}

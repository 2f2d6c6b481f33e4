// A form built from its schema (ui/forms/schema.py): its controls, its values, and what the browser keeps of them.
import {make} from "../core.js";
import {makeField, numberProblem} from "./fields.js";

// Values are kept per browser tab first, so that two tabs do not overwrite each other; the next visit starts from the last.
function kept(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? localStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}

function keep(key, values) {
  const text = JSON.stringify(values);
  for (const storage of [sessionStorage, localStorage]) {
    try {
      storage.setItem(key, text);
    } catch {
      // full, or forbidden: the form works without
    }
  }
}

export class Form {
  // `placed` holds controls of this form that stand elsewhere, such as the prompts, by name.
  constructor(schema, {lists, settings}, placed = {}) {
    this.schema = schema;
    this.key = `webui-form-${schema.prefix}`;
    this.controls = {...placed};
    this.root = make("div", "form");
    this.problem = make("p", "notice error");
    this.problem.setAttribute("role", "alert");
    this.problem.hidden = true;
    this.root.append(...schema.rows.map((row) => this.#row(row, lists)), this.problem,
      ...schema.sections.map((section) => this.#section(section, lists)));
    for (const [name, field] of Object.entries(schema.fields)) {
      if (field.override) this.controls[name]?.set(settings[name]);
    }
    this.fill(kept(this.key));
    this.root.addEventListener("input", () => this.changed());
  }

  #control(name, lists) {
    const id = `${this.schema.prefix}_${name}`;
    return this.controls[name] ??= makeField(this.schema.fields[name], id, lists);
  }

  #row(names, lists) {
    const row = make("div", "field-row");
    row.append(...names.map((name) => this.#control(name, lists).root));
    return row;
  }

  #section(section, lists) {
    const details = make("details", "form-section");
    const summary = make("summary", "", section.title);
    if (section.switch) {
      const {root, box} = this.#control(section.switch, lists);
      root.lastChild.remove();  // the title names it
      box.setAttribute("aria-label", section.title);
      summary.prepend(root);
      box.addEventListener("change", () => { details.open ||= box.checked; });
    }
    details.append(summary, ...section.rows.map((row) => this.#row(row, lists)));
    return details;
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
      if (all[name] !== undefined && all[name] !== null) control.set(all[name]);
    }
    this.changed();
  }

  // Offers new lists of choices.
  offer(lists) {
    for (const control of Object.values(this.controls)) {
      if (control.list && control.offer) control.offer(lists[control.list]);
    }
  }

  changed() {
    const problems = Object.entries(this.controls)
      .map(([name, control]) => numberProblem(this.schema.fields[name] ?? {}, control.get())).filter(Boolean);
    this.problem.textContent = problems.join(" ");
    this.problem.hidden = !problems.length;
    keep(this.key, this.values());
    this.root.dispatchEvent(new CustomEvent("form-changed"));
  }
}

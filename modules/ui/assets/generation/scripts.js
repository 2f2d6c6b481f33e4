// The "Script" section of a form: a list of scripts, and the fields of the chosen one. Its values go with Generate.
import {make} from "../core.js";
import {makeField} from "./fields.js";
import {keep, kept} from "./kept_values.js";

// Returns {root, values, request, offer}: `values()` are those of the chosen script, `request()` is what a job needs to run
// it, {} without a script. A change fires "scripts-changed" on the root.
export function buildScripts({prefix, task}, scripts, lists) {
  const key = `webui-script-${prefix}`;
  const state = {name: "", args: {}, ...kept(key)};  // `args` by name of the script: what was typed into another is kept
  const root = make("div", "form-section script-section"), details = make("details"), title = make("summary"), fields = make("div", "script-fields");
  root.id = `${prefix}_script_section`;
  root.hidden = !scripts.length;
  const choice = makeField({
    label: "Script", kind: "choice", default: "", choices: [["None", ""], ...scripts.map(({name}) => [name, name])],
    help: "What makes several pictures of one form, such as a plot of its values.",
  }, `${prefix}_script`, lists);
  choice.root.classList.add("script-choice");
  const find = (name) => scripts.find((script) => script.name === name);
  let script = null, controls = {};

  function show(name) {
    script = find(name) ?? null;
    choice.set(script?.name ?? "");
    title.textContent = script ? `Script: ${script.name}` : "Script";
    controls = {};
    const kept = state.args[script?.name] ?? {};
    fields.replaceChildren(...Object.entries(script?.fields ?? {}).map(([field, schema]) => {
      const control = controls[field] = makeField(schema, `${prefix}_script_${field}`, lists);
      if (kept[field] !== undefined) control.set(kept[field]);
      return control.root;
    }));
  }

  const values = () => Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.get()]));

  function changed() {
    state.name = script?.name ?? "";
    if (script) state.args[script.name] = values();
    keep(key, state);
    root.dispatchEvent(new CustomEvent("scripts-changed"));
  }

  choice.root.addEventListener("input", () => show(choice.get()));
  root.addEventListener("input", changed);
  details.append(title, choice.root, fields);
  details.open = Boolean(find(state.name));
  root.append(details);
  show(state.name);
  return {
    root, task, values,
    script: () => script,
    request: () => script ? {script_name: script.name, script_args: values()} : {},
    offer(next) {
      lists = next;
      for (const control of Object.values(controls)) {
        if (control.list && control.offer) control.offer(next[control.list]);
      }
    },
  };
}

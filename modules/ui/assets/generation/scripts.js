// The "Script" section of a form: a list of scripts, the fields of the chosen one, and what it will make.
import {call, make} from "../core.js";
import {makeField} from "./fields.js";
import {keep, kept} from "./kept_values.js";
import {buildPlotFields} from "./plot_fields.js";

const ESTIMATE_MS = 500;  // after the last change
// Scripts whose fields are more than one control each: {root, controls, offer(lists), connect()}.
const BUILDERS = {"X/Y/Z plot": buildPlotFields};

function buildFields({prefix}, fields, lists) {
  const root = make("div", "script-fields"), controls = {};
  for (const [name, field] of Object.entries(fields)) {
    controls[name] = makeField(field, `${prefix}_script_${name}`, lists);
    root.append(controls[name].root);
  }
  return {
    root, controls, connect() {},
    offer(next) {
      for (const control of Object.values(controls)) {
        if (control.list && control.offer) control.offer(next[control.list]);
      }
    },
  };
}

// Returns {root, request, confirm, offer}: `request()` is what a job needs to run the chosen script, {} without one;
// `confirm()` resolves to whether to go on, after a question where many pictures would be made.
export function buildScripts(form, scripts, lists) {
  const {prefix, task} = form.schema, key = `webui-script-${prefix}`;
  const state = {name: "", args: {}, ...kept(key)};  // `args` by name of the script: what was typed into another is kept
  const root = make("div", "form-section script-section"), details = make("details"), title = make("summary");
  const place = make("div"), estimate = make("p", "script-estimate");
  root.id = `${prefix}_script_section`;
  root.hidden = !scripts.length;
  estimate.setAttribute("role", "status");
  const choice = makeField({
    label: "Script", kind: "choice", default: null, choices: [["None", ""], ...scripts.map(({name}) => [name, name])],
    help: "What makes several pictures of one form, such as a plot of its values.",
  }, `${prefix}_script`, lists);
  choice.root.classList.add("script-choice");
  let script = null, fields = null, timer = 0, turn = 0;

  function show(name) {
    script = scripts.find((one) => one.name === name) ?? null;
    choice.set(script?.name ?? "");
    title.textContent = script ? `Script: ${script.name}` : "Script";
    fields = script && (BUILDERS[script.name] ?? buildFields)(form.schema, script.fields, lists);
    place.replaceChildren(...(fields ? [fields.root] : []));
    for (const [field, value] of Object.entries(state.args[script?.name] ?? {})) fields.controls[field]?.set(value);
    fields?.connect();
  }

  const values = () => Object.fromEntries(Object.entries(fields.controls).map(([name, control]) => [name, control.get()]));
  const request = () => script ? {script_name: script.name, script_args: values()} : {};
  const ask = () => call("scripts/estimate", {task, values: form.values(), ...request()});

  async function showEstimate() {
    const own = turn += 1;
    if (!script) return estimate.replaceChildren();
    if (root.offsetParent === null || !details.open) return;
    const answer = await ask().catch((error) => ({problem: error.message}));
    if (own !== turn) return;
    estimate.textContent = answer.problem ?? answer.text;
    estimate.classList.toggle("bad", Boolean(answer.problem));
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(showEstimate, ESTIMATE_MS);
  }

  function changed() {
    state.name = script?.name ?? "";
    if (script) state.args[script.name] = values();
    keep(key, state);
    later();
  }

  choice.root.addEventListener("input", () => show(choice.get()));
  root.addEventListener("input", changed);
  details.addEventListener("toggle", later);
  document.addEventListener("webui-tab", later);
  details.append(title, choice.root, place, estimate);
  show(state.name);
  details.open = script !== null;
  root.append(details);
  form.root.addEventListener("form-changed", later);
  return {
    root, request,
    async confirm() {
      if (!script) return true;
      const {question} = await ask();  // what would not start is refused in words when it does
      return !question || window.confirm(question);
    },
    offer(next) {
      lists = next;
      fields?.offer(next);
    },
  };
}

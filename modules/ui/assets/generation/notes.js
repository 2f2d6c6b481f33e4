// Sentences below the fields that say before Generate what will happen (engine/page/notes.py), some with a button.
import {button, call, make} from "../core.js";
import {listen, publish} from "../page_state.js";

const DELAY_MS = 300;  // after the last change

// Shows the notes of a tab's form, and keeps them true.
export function showNotes({root, schema, form}) {
  const shown = new Map();  // name of a field -> {element, text}: a note that stays keeps its button and the focus on it
  let timer = 0, turn = 0, isStale = true;

  function place(name, element) {
    const control = form.controls[name];
    if (name && !control) return;
    if (name) control.root.closest(".field-row").after(element);
    else form.root.prepend(element);
  }

  function show(notes) {
    for (const [name, {element, text}] of shown) {
      if (JSON.stringify(notes[name]) === text) continue;
      element.remove();
      shown.delete(name);
    }
    for (const [name, note] of Object.entries(notes)) {
      if (shown.has(name)) continue;
      const element = make("div", name ? "field-note" : "field-note notice");
      element.dataset.note = name;
      element.append(make("span", "", note.text));
      if (note.button) element.append(button(note.button, note.text, () => apply(note)));
      place(name, element);
      shown.set(name, {element, text: JSON.stringify(note)});
    }
  }

  async function apply(note) {
    try {
      if (note.checkpoint) publish("model", await call("model", {action: "checkpoint", value: note.checkpoint}));
      form.fill(note.values);
    } catch (error) {
      show({"": {text: error.message}});
    }
  }

  async function ask() {
    if (root.offsetParent === null) {
      isStale = true;
      return;
    }
    isStale = false;
    const own = ++turn;
    // A server that is away says nothing; the form is usable without notes.
    const answer = await call("describe", {task: schema.task, values: describedValues(form)}).catch(() => null);
    if (answer && own === turn) show(answer.notes);
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(ask, DELAY_MS);
  }

  form.root.addEventListener("form-changed", later);
  listen("model", later);
  document.addEventListener("webui-tab", () => { if (isStale) later(); });
  later();
}

// Returns what notes can depend on: texts can be long, and are not.
function describedValues(form) {
  const values = form.values();
  for (const name of ["prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt", "init_image_strokes", "batch_files", "control_units"]) {
    delete values[name];
  }
  return values;
}

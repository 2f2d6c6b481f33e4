// Prompt and negative prompt: boxes that grow with their text, their token counts, and the small tools next to Generate.
import {call, make} from "../core.js";
import {iconButton} from "../icons.js";
import {makeField} from "./fields.js";
import {InfotextReader, makeChips, makeMessages} from "./infotext.js";
import {attachPromptKeys, replaceText} from "./prompt_keys.js";
import {attachWildcards} from "./prompt_wildcards.js";
import {buildStyles} from "./styles.js";

const QUIET_MS = 300;  // after the last key, before the text is counted and kept
const PLACEHOLDERS = {
  prompt: "Prompt: what the picture should show. Ctrl+Enter generates",
  negative_prompt: "Negative prompt: what it should not show",
};
const KEYS = "Ctrl+↑ and Ctrl+↓ change the weight of a word or of what is selected; Alt+← and Alt+→ move it. " +
  "A picture dropped here fills the form with the values that it was made with.";
const COUNTER_HELP = "Tokens of this text, words or parts of words, and how many fit into the parts of 75 that the model reads";

// Browsers that cannot fit a box to its content alone: its height is set from here, for texts short enough to measure.
const GROWS_ALONE = CSS.supports("field-sizing", "content");
const LONG_TEXT = 4000;

function fit(box) {
  if (GROWS_ALONE) return;
  box.style.height = "auto";
  box.style.height = box.value.length > LONG_TEXT ? "var(--most)" : `${box.scrollHeight + 2}px`;
}

// Returns a function that calls an action once it has not been called itself for a while.
function whenQuiet(action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, QUIET_MS);
  };
}

function promptField(schema, name, onChange) {
  const {prefix, fields} = schema;
  const control = makeField(fields[name], `${prefix}_${name}`, {});
  const {root, box} = control;
  root.classList.add("prompt-box");
  root.title = "";
  root.querySelector("label").classList.add("unseen");
  const counter = make("span", "counter", "0/75");
  counter.id = `${box.id}_counter`;
  counter.title = COUNTER_HELP;
  box.placeholder = PLACEHOLDERS[name];
  box.title = `${fields[name].help} ${KEYS}`;
  box.rows = name === "prompt" ? 2 : 1;
  box.setAttribute("aria-describedby", counter.id);
  box.addEventListener("input", () => { fit(box); onChange(); });
  root.append(counter);
  const set = (value) => {
    if (box.value === value) return;
    box.value = value ?? "";
    fit(box);
    onChange();
  };
  return {...control, counter, set, replace: (value) => { if (box.value !== value) replaceText(box, 0, box.value.length, value); }};
}

// Builds the prompts of a form: {root, side, controls, connect}. `side` is placed under Generate; `connect(tab)` is called once
// the form and its tab are there.
export function buildPrompts(schema, lists) {
  const root = make("div", "prompts"), side = make("div", "prompt-tools");
  let tab = null;
  const changed = whenQuiet(() => {
    tab?.form.changed();
    count();
  });
  const counting = whenQuiet(() => count());
  const prompts = ["prompt", "negative_prompt"].map((name) => promptField(schema, name, changed));
  const [prompt, negative] = prompts;
  const messages = makeMessages();
  const chips = makeChips(schema, changed);
  const styles = buildStyles(schema, lists, {prompt, negative}, messages, changed);
  const reader = new InfotextReader(schema, messages);
  const drawn = make("div", "field-note drawn");  // what a template draws from
  drawn.setAttribute("role", "status");
  drawn.hidden = true;
  let counted = "", isCounting = false;

  // Asks for the counts of the current texts, one question at a time.
  async function count() {
    const steps = Number(tab?.form.controls.steps?.get()) || 20;
    const values = {prompt: prompt.get(), negative_prompt: negative.get(), styles: styles.control.get(), steps};
    const text = JSON.stringify(values);
    if (isCounting || text === counted) return;
    isCounting = true;
    counted = text;
    const isEmpty = !values.prompt && !values.negative_prompt && !values.styles.length;
    const counts = isEmpty ? {prompt: "0/75", negative_prompt: "0/75"} : await call("tokens", values).catch(() => null);
    isCounting = false;
    prompt.counter.textContent = counts?.prompt ?? "?";
    negative.counter.textContent = counts?.negative_prompt ?? "?";
    drawn.textContent = counts?.drawn ?? "";
    drawn.hidden = !drawn.textContent;
    count();  // what was typed meanwhile
  }

  function clear() {
    negative.replace("");
    prompt.replace("");
    prompt.box.focus();
    messages.clear();
  }

  const tools = make("div", "prompt-buttons");
  tools.append(
    iconButton("paste", "Read the infotext in the prompt box, or that of the last picture if the box is empty, into the form",
      () => reader.readText(tab, prompt, negative)),
    iconButton("bin", "Clear both prompts (Ctrl+Z brings each of them back)", clear),
    ...styles.buttons,
  );
  const boxes = make("div", "prompt-boxes"), extras = make("div", "prompt-extras");
  boxes.append(prompt.root, negative.root);
  for (const {box} of prompts) reader.acceptPictures(box, () => tab);
  root.append(boxes, drawn, chips.root, messages.root, extras, styles.dialog);
  side.append(tools, styles.control.root);

  function connect(newTab) {
    tab = newTab;
    attachPromptKeys(tab.root);
    attachWildcards(tab.root);
    tab.form.root.addEventListener("form-changed", counting);
    count();
  }

  return {root, side, connect, controls: {prompt, negative_prompt: negative, styles: styles.control, chips}};
}

// Controls of the declared fields. Each maker returns {root, get, set}: its element, and how its value is read and
// written; a change by the user fires "input" on the root.
import {makeCombobox} from "../combobox.js";
import {unitsField} from "../control/units.js";
import {button, make} from "../core.js";
import {imageField} from "./images.js";
import {pictureList} from "./picture_list.js";
import {UPSCALER_LISTS, addUpscalerTools} from "./upscaler_tools.js";

const NUMBERS = ["slider", "number"];
const FILTERED_LISTS = ["checkpoints"];  // those that can be long

function labelled(field, id, control) {
  const root = make("div", `field field-${field.kind}`);
  const label = make("label", "", field.label);
  label.htmlFor = id;
  root.append(label, control);
  return root;
}

// A field's problem in words below its control; "" takes them away.
function problemShower(root, box, id) {
  const words = make("p", "field-problem");
  words.id = `${id}_problem`;
  words.setAttribute("role", "alert");
  return (problem) => {
    if (problem === words.textContent) return;
    words.textContent = problem;
    box.setAttribute("aria-invalid", String(Boolean(problem)));
    root.classList.toggle("invalid", Boolean(problem));
    if (!problem) return words.remove();
    box.setAttribute("aria-describedby", words.id);
    root.append(words);
  };
}

function input(type, id) {
  const box = make("input");
  box.type = type;
  box.id = id;
  return box;
}

// Returns the field's problem with a number in words, "" if there is none.
export function numberProblem(field, value) {
  if (!NUMBERS.includes(field.kind)) return "";
  if (Number.isNaN(value)) return `${field.label} needs a number.`;
  if (field.least !== undefined && value < field.least) return `${field.label} is ${value}; the smallest is ${field.least}.`;
  if (field.most !== undefined && value > field.most) return `${field.label} is ${value}; the largest is ${field.most}.`;
  const multiple = field.multiple;
  if (multiple && value % multiple) {
    const below = Math.floor(value / multiple) * multiple;
    return `${field.label} is ${value}, not a multiple of ${multiple}; use ${below} or ${below + multiple}.`;
  }
  return "";
}

function number(field, id) {
  const box = input("number", id);
  box.step = field.step ?? "any";
  const root = labelled(field, id, box);
  return {
    root, box, showProblem: problemShower(root, box, id),
    get: () => box.value === "" ? field.default : Number(box.value),
    set: (value) => { box.value = value ?? field.default; },
  };
}

function slider(field, id) {
  const control = number(field, id);
  const range = input("range", `${id}_range`);
  range.min = field.min;
  range.max = field.max;
  range.step = field.step;
  range.tabIndex = -1;  // the box next to it is the one for the keyboard
  range.setAttribute("aria-hidden", "true");
  const show = () => range.style.setProperty("--share", `${(100 * (range.value - field.min)) / (field.max - field.min)}%`);
  range.oninput = () => { control.box.value = range.value; show(); };
  control.box.addEventListener("input", () => { range.value = control.box.value; show(); });
  const set = control.set;
  control.root.append(range);
  return {...control, set: (value) => { set(value); range.value = control.box.value; show(); }};
}

function text(field, id) {
  const box = field.lines > 1 ? make("textarea") : input("text", id);
  box.id = id;
  if (field.lines > 1) box.rows = field.lines;
  box.spellcheck = false;
  const root = labelled(field, id, box);
  if (field.from_file) root.append(fileInput(field, id, box));
  return {root, box, get: () => box.value, set: (value) => { box.value = value; }};
}

// Fills a text box with a text file of the browser's machine.
function fileInput(field, id, box) {
  const file = input("file", `${id}_file`);
  file.accept = "text/*,.txt";
  file.setAttribute("aria-label", `${field.label} from a file`);
  file.onchange = async () => {
    if (!file.files.length) return;
    box.value = await file.files[0].text();
    file.value = "";
    box.dispatchEvent(new Event("input", {bubbles: true}));
  };
  return file;
}

function seed(field, id) {
  const control = text({...field, lines: 1}, id);
  control.box.inputMode = "numeric";
  return {...control, get: () => control.box.value.trim() || String(field.default), set: (value) => { control.box.value = String(value); }};
}

function check(field, id) {
  const box = input("checkbox", id);
  const root = make("div", "field field-check"), name = make("label");
  name.append(box, field.label);
  root.append(name);
  return {root, box, get: () => box.checked, set: (value) => { box.checked = Boolean(value); }};
}

// The rows of a list: [[label, value]], with one for the default where it is no value of the list.
function rowsOf(field, items) {
  const rows = items.map((item) => Array.isArray(item) ? item : [item, item]);
  return field.default === "" ? [["The same", ""], ...rows] : rows;
}

function filteredChoice(field, id, options) {
  const control = makeCombobox(id, field.label);
  const offer = (items) => control.offer(rowsOf(field, items));
  offer(options);
  return {...control, root: labelled(field, id, control.root), offer};
}

// A list of choices; `options` is [[label, value]], or a list of values that are their own labels.
const SECOND_UPSCALER = "_upscaler_2";  // next to the list of the first one

function choice(field, id, options) {
  if (FILTERED_LISTS.includes(field.list)) return filteredChoice(field, id, options);
  const list = make("select");
  list.id = id;
  const offer = (items) => {
    const value = list.value;
    list.replaceChildren(...rowsOf(field, items).map(([label, key]) => new Option(label, key)));
    list.value = value;
  };
  offer(options);
  const set = (next) => {
    const value = next ?? "";
    list.querySelector("[data-missing]")?.remove();
    list.value = value;
    if (list.value !== String(value)) {  // what is no longer offered is shown all the same, and refused in words
      const missing = new Option(`${value} (missing)`, value);
      missing.dataset.missing = "yes";
      list.append(missing);
      list.value = value;
    }
  };
  const root = labelled(field, id, list);
  if (UPSCALER_LISTS.includes(field.list) && !id.endsWith(SECOND_UPSCALER)) addUpscalerTools(root, id);
  return {root, box: list, offer, get: () => list.value, set};
}

function radio(field, id) {
  const root = make("fieldset", "field field-radio");
  root.id = id;
  root.append(make("legend", "", field.label));
  const boxes = field.choices.map(([label, value], index) => {
    const box = input("radio", `${id}_${index}`);
    box.name = id;
    const row = make("label");
    row.append(box, make("span", "", label));
    root.append(row);
    return [box, value];
  });
  return {root, get: () => boxes.find(([box]) => box.checked)?.[1] ?? field.default,
    set: (value) => { for (const [box, own] of boxes) box.checked = own === value; }};
}

// Several of a list of choices, each with a cross that takes it out again.
function choices(field, id, options) {
  const single = choice({...field, default: null}, `${id}_add`, options);
  let chosen = [];
  const chips = make("span", "chips");
  const root = labelled(field, `${id}_add`, single.box);
  root.id = id;
  root.append(chips);
  const show = () => {
    single.box.value = "";
    chips.replaceChildren(...chosen.map((value) => {
      const chip = button(`${value} ✕`, `Take out ${value}`, () => change(chosen.filter((other) => other !== value)));
      chip.className = "chip";
      return chip;
    }));
  };
  const change = (values) => {
    chosen = values;
    show();
    root.dispatchEvent(new Event("input", {bubbles: true}));
  };
  single.box.oninput = (event) => {
    event.stopPropagation();
    if (single.box.value && !chosen.includes(single.box.value)) change([...chosen, single.box.value]);
  };
  const offer = (items) => {
    single.offer(items);
    single.box.prepend(new Option(field.label, ""));
    show();
  };
  offer(options);
  return {root, box: single.box, offer, get: () => chosen, set: (values) => { chosen = [...values ?? []]; show(); }};
}

// What the field does: a tooltip for the mouse, a description for readers, and a line below the name for F1 and for a tap on
// the name, or on the "?" of a check box, whose name is a part of the box.
function addHelp({root, box}, field) {
  root.title = field.help;
  box?.setAttribute("aria-description", field.help);
  const name = root.querySelector(":scope > label, :scope > legend, :scope > .field-label");
  if (!name || !field.help) return;
  const help = make("p", "field-help", field.help);
  const toggle = () => {
    if (help.isConnected) help.remove();
    else if (name.isConnected) (root.querySelector(":scope > .help-mark") ?? name).after(help);
  };
  if (field.kind === "check") {
    const mark = button("?", `What “${field.label}” means (F1)`, toggle);
    mark.className = "help-mark";
    mark.tabIndex = -1;  // the keyboard has F1
    name.after(mark);
  } else {
    name.classList.add("has-help");
    name.addEventListener("click", toggle);
  }
  root.addEventListener("keydown", (event) => {
    if (event.key !== "F1") return;
    event.preventDefault();
    toggle();
  });
}

const MAKERS = {number, slider, text, seed, check, choice, choices, radio, image: imageField, images: pictureList, units: unitsField};

// Returns the control of a field; `lists` holds the choices that the server knows, by name.
export function makeField(field, id, lists) {
  const control = MAKERS[field.kind](field, id, field.choices ?? lists[field.list] ?? []);
  if (field.kind !== "units") addHelp(control, field);
  control.list = field.list;
  control.set(field.default ?? null);
  return control;
}

// Fields that hold an image: pasted, dropped or chosen, uploaded at once, known by the id that the server gives it.
import {button, call, make, upload} from "../core.js";

const SHOWN_AFTER_MS = 300;  // an upload that takes no longer has no progress to show
const fields = new Set();    // all image fields of the page {root, image, take}, in the order of their making

// Returns the image file among files that were dropped or pasted, or the first of them: the server says what is wrong.
function pick(files) {
  const list = [...files];
  return list.find((file) => file.type.startsWith("image/")) ?? list[0];
}

// A pasted image goes to the field that has the focus, else to the first empty one in sight.
function onPaste(event) {
  const file = [...event.clipboardData?.files ?? []].find(({type}) => type.startsWith("image/"));
  const shown = [...fields].filter(({root}) => root.offsetParent !== null);
  const field = shown.find(({root}) => root.contains(document.activeElement))
    ?? shown.find((candidate) => !candidate.image()) ?? shown[0];
  if (!file || !field || event.defaultPrevented) return;
  event.preventDefault();
  field.take(file);
}

// Lets a field take pictures that are pasted on the page.
export function acceptPastes(field) {
  if (!fields.size) document.addEventListener("paste", onPaste);
  fields.add(field);
}

// Makes an element a place where a file can be dropped.
export function acceptDrops(element, take) {
  const mark = (isOver) => element.classList.toggle("drop-over", isOver);
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  element.addEventListener("dragleave", (event) => { if (!element.contains(event.relatedTarget)) mark(false); });
  element.addEventListener("drop", (event) => {
    mark(false);
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    take(event.dataTransfer.files);
  });
}

// Returns a box that looks like a place for files: a click, a tap, or Enter on it chooses some. Returns
// {root, input, say}; `say` shows other words in it for a while.
export function dropZone(id, label, words) {
  const root = make("label", "drop-zone");
  const input = make("input", "unseen");
  Object.assign(input, {type: "file", accept: "image/*", id: `${id}_file`});
  input.setAttribute("aria-label", `${label}: ${words}`);
  const sign = make("span", "drop-zone-sign", "⬆"), text = make("span", "", words);
  sign.setAttribute("aria-hidden", "true");
  root.append(input, sign, text);
  return {root, input, say: (other = words) => { text.textContent = other; }};
}

// Returns the control {root, get, set, take, image, offerMore}. Its value is {id, width, height} of an upload, or null; the request
// gets the id. "image-changed" on the root tells of every new value. `offerMore(take)` lets it take several files at once: those
// after the first are handed on; null for one alone.
export function imageField(field, id) {
  const root = make("div", "field field-image");
  root.id = id;
  const zone = dropZone(id, field.label, "Paste, drop or choose a picture");
  const frame = make("div", "picture-frame"), picture = make("img", "field-picture"), size = make("span", "picture-size");
  picture.alt = field.label;
  const remove = button("✕", `Remove: ${field.label}`, () => change(null));
  remove.classList.add("icon", "picture-remove");
  frame.append(picture, remove);
  const words = make("p", "notice error picture-problem");
  words.setAttribute("role", "alert");
  const progress = make("progress", "picture-progress");
  progress.max = 1;
  progress.setAttribute("aria-label", `Uploading: ${field.label}`);
  let value = null;
  let turn = 0;  // number of the latest file or value: an earlier one that arrives later is dropped
  let takeMore = null;

  function show(problem = "") {
    words.textContent = problem;
    words.hidden = !problem;
    progress.hidden = true;
    zone.say();
    frame.hidden = size.hidden = !value;
    zone.root.hidden = Boolean(value);
    root.classList.toggle("has-picture", Boolean(value));
    if (value) {
      const url = `${window.webuiRoot}/internal/uploads/${value.id}/image`;
      if (picture.getAttribute("src") !== url) picture.src = url;
      size.textContent = value.width ? `${value.width} × ${value.height}` : "";
    } else {
      picture.removeAttribute("src");
    }
    root.dispatchEvent(new CustomEvent("image-changed", {detail: value}));
  }

  function change(next, problem = "") {
    turn++;
    value = next;
    show(problem);
    root.dispatchEvent(new Event("input", {bubbles: true}));
    if (!next && !problem) zone.input.focus({preventScroll: true});
  }

  async function take(file) {
    const own = ++turn;
    words.hidden = true;
    progress.value = 0;
    const timer = setTimeout(() => {
      if (own !== turn) return;
      progress.hidden = false;
      zone.say(`Uploading ${file.name || "the picture"} …`);
    }, SHOWN_AFTER_MS);
    try {
      const next = await upload(file, (share) => { if (own === turn) progress.value = share; });
      if (own === turn) change(next);
    } catch (error) {
      if (own === turn) show(`${file.name ? `${file.name}: ` : ""}${error.message}`);
    } finally {
      clearTimeout(timer);
    }
  }

  // Of a value that the browser kept, only the id is known, and its file may be gone by now.
  async function restore(upload_id) {
    const own = ++turn;
    value = {id: upload_id};
    show();
    try {
      const found = await call(`uploads/${upload_id}`);
      if (own !== turn) return;
      value = found;
      show();
      root.dispatchEvent(new Event("input", {bubbles: true}));
    } catch (error) {
      if (own === turn && error.status) change(null, error.message);
    }
  }

  function takeAll(files) {
    const first = takeMore ? files[0] : pick(files);
    if (!first) return;
    take(first);
    if (files.length > 1) takeMore?.([...files].filter((file) => file !== first));
  }

  zone.input.onchange = () => {
    takeAll([...zone.input.files]);
    zone.input.value = "";  // so that the same file can be chosen again
  };
  // What is chosen in the box is no value of the form yet.
  zone.input.addEventListener("input", (event) => event.stopPropagation());
  acceptDrops(root, takeAll);
  root.append(make("span", "field-label", field.label), zone.root, frame, size, progress, words);
  const control = {
    root, take, clear: () => change(null),
    get: () => value?.id ?? null,
    image: () => value,
    offerMore: (its) => {
      takeMore = its;
      zone.input.multiple = Boolean(its);
    },
    set: (next) => {
      if (typeof next === "string") {
        if (next !== value?.id) restore(next);
      } else {
        turn++;
        value = next ?? null;
        show();
      }
    },
  };
  acceptPastes(control);
  show();
  return control;
}

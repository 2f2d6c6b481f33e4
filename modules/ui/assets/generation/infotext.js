// Fills a form from an infotext: the one in the prompt box, or that of a picture dropped or pasted on it; and the chips, which
// hold its settings that the form has no control for.
import {button, call, make, upload} from "../core.js";
import {iconButton} from "../icons.js";

// Sentences under the prompts: {root, show(sentences, isError), clear}.
export function makeMessages() {
  const root = make("div", "prompt-messages"), list = make("div", "notice");
  root.setAttribute("role", "status");
  root.hidden = true;
  const clear = () => { root.hidden = true; list.replaceChildren(); };
  const show = (sentences, isError = false) => {
    list.className = isError ? "notice error" : "notice";
    list.replaceChildren(...sentences.map((sentence) => make("p", "", sentence)));
    root.hidden = !sentences.length;
  };
  root.append(list, iconButton("cross", "Close this message", clear));
  return {root, show, clear};
}

// The override settings of a form: {root, get, set}; a list of texts such as "Clip skip: 2". Hidden while there are none.
export function makeChips(schema, onChange) {
  const root = make("div", "override-chips");
  root.id = `${schema.prefix}_chips`;
  root.title = "Settings of the infotext that was read. They apply to the pictures of this form only; the settings are not changed.";
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Override settings, for this form only");
  let chips = [];

  function set(values) {
    chips = [...values ?? []];
    root.hidden = !chips.length;
    root.replaceChildren(make("span", "field-label", "For this form only:"), ...chips.map((chip, index) => {
      const element = button(`${chip} ✕`, `Take out ${chip}`, () => {
        set(chips.filter((other) => other !== chip));
        (root.querySelectorAll("button")[Math.min(index, chips.length - 1)] ?? root).focus();
        onChange();
      });
      element.className = "chip";
      return element;
    }));
  }

  set([]);
  return {root, get: () => chips, set: (values) => { set(values); onChange(); }};
}

const pictureOf = (transfer) => [...transfer.files].find((file) => file.type.startsWith("image/"));

// Returns the address of a picture of this page that is dragged as such, "" if none is.
function addressOf(transfer) {
  const address = transfer.getData("text/uri-list");
  const isPicture = transfer.getData("text/html").includes("<img");
  return isPicture && address.startsWith(`${location.origin}/`) ? address : "";
}

async function fetchPicture(address) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) throw new Error("The picture is no longer on the server.");
  return response.blob();
}

export class InfotextReader {
  constructor(schema, messages) {
    this.schema = schema;
    this.messages = messages;
    const {fields} = schema;
    this.controls = Object.keys(fields).filter((name) => fields[name].override);
  }

  async readText(tab, prompt, negative) {
    await this.#fill(tab, async () => ({text: prompt.get()}), (values) => {
      // As typing does, so that Ctrl+Z brings back what stood there; the rest of the form is filled after it.
      if (values.negative_prompt !== undefined) negative.replace(values.negative_prompt);
      if (values.prompt !== undefined) prompt.replace(values.prompt);
    });
  }

  // Reads pictures that are dropped or pasted on a text box; `tab()` returns the tab that they fill.
  acceptPictures(box, tab) {
    const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
    const mark = (isOver) => box.classList.toggle("drop-target", isOver);
    box.addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      mark(true);
    });
    box.addEventListener("dragleave", () => mark(false));
    box.addEventListener("drop", (event) => {
      mark(false);
      const address = addressOf(event.dataTransfer);
      if (!address && !holdsFiles(event)) return;
      event.preventDefault();
      this.#readPicture(tab(), address ? fetchPicture(address) : pictureOf(event.dataTransfer));
    });
    box.addEventListener("paste", (event) => {
      const picture = pictureOf(event.clipboardData);
      if (!picture || event.clipboardData.types.includes("text/plain")) return;
      event.preventDefault();
      this.#readPicture(tab(), picture);
    });
  }

  // `file` is a file, a promise of one, or undefined for what is no picture.
  async #readPicture(tab, file) {
    if (!file) {
      this.messages.show(["This file is no picture; drop a PNG, JPEG or WebP file."], true);
      return;
    }
    await this.#fill(tab, async () => ({upload: (await upload(await file)).id}));
  }

  async #fill(tab, source, before = () => {}) {
    this.messages.clear();
    try {
      const {values, chips, messages} = await call("infotext",
        {task: this.schema.task, controls: this.controls, ...await source()});
      before(values);
      tab.fill({...values, ...chips && {chips}});
      this.messages.show(messages);
    } catch (error) {
      this.messages.show([error.message], true);
    }
  }
}

// Styles: chosen for the next picture, put into the prompts, and kept in an editor.
import {button, call, make} from "../core.js";
import {iconButton} from "../icons.js";
import {refresh} from "../page_state.js";
import {makeField} from "./fields.js";

const QUIET_MS = 250;

// Builds {control, buttons, dialog}. `prompts` are the controls {prompt, negative} of the form.
export function buildStyles(schema, lists, prompts, messages, onChange) {
  const control = makeField(schema.fields.styles, `${schema.prefix}_styles`, lists);
  control.root.classList.add("style-choice");
  control.root.querySelector("label").classList.add("unseen");
  control.root.addEventListener("input", onChange);
  const both = () => ({prompt: prompts.prompt.get(), negative_prompt: prompts.negative.get()});
  const choose = (names) => { control.set(names); onChange(); };
  const editor = new StyleEditor(schema.prefix, both, choose);

  async function apply() {
    const names = control.get();
    messages.clear();
    if (!names.length) {
      messages.show(["Choose one or more styles first."]);
      return;
    }
    try {
      const styled = await call("styles/apply", {...both(), styles: names});
      prompts.negative.replace(styled.negative_prompt);
      prompts.prompt.replace(styled.prompt);
      choose([]);
    } catch (error) {
      messages.show([error.message], true);
    }
  }

  const buttons = [
    iconButton("clipboard", "Put the chosen styles into the prompts", apply),
    iconButton("pencil", "Edit styles", () => editor.open(control.get())),
  ];
  return {control: {...control, set: choose}, buttons, dialog: editor.root};
}

function textField(id, label, lines) {
  const root = make("div", "field"), name = make("label", "", label), box = make(lines > 1 ? "textarea" : "input");
  box.id = name.htmlFor = id;
  box.spellcheck = false;
  if (lines > 1) box.rows = lines;
  root.append(name, box);
  return {root, box};
}

class StyleEditor {
  // `prompts()` returns those of the form; `choose(names)` chooses styles in it.
  constructor(prefix, prompts, choose) {
    this.prompts = prompts;
    this.choose = choose;
    this.styles = [];
    this.root = make("dialog", "style-editor");
    this.root.setAttribute("aria-labelledby", `${prefix}_style_title`);
    this.prefix = prefix;
  }

  // Built when it is first opened.
  #build() {
    const {prefix, root} = this;
    const title = make("h2", "", "Styles");
    title.id = `${prefix}_style_title`;
    const name = textField(`${prefix}_style_name`, "Name", 1);
    const prompt = textField(`${prefix}_style_prompt`, "Prompt ({prompt} is replaced by what is typed; without it the style follows a comma)", 3);
    const negative = textField(`${prefix}_style_negative_prompt`, "Negative prompt", 2);
    [this.name, this.prompt, this.negative] = [name.box, prompt.box, negative.box];
    this.names = make("datalist");
    this.names.id = `${prefix}_style_names`;
    this.name.setAttribute("list", this.names.id);
    this.preview = make("p", "style-preview");
    this.words = make("p", "notice");
    this.words.setAttribute("role", "status");
    const row = make("div", "style-buttons");
    row.append(
      this.#button("Save", "save", "Save under this name, in place of a style that has it", () => this.#save()),
      this.#button("Delete", "delete", "Delete the style of this name; Save brings it back while the editor is open", () => this.#delete()),
      button("Take the prompts", "Take the prompts of the form", () => this.#show({name: this.name.value, ...this.prompts()})),
      button("Close", "Close (Esc)", () => root.close()),
    );
    let timer = 0;
    root.addEventListener("input", (event) => {
      const known = event.target === this.name && this.styles.find((style) => style.name === this.name.value);
      if (known) this.#show(known);
      clearTimeout(timer);
      timer = setTimeout(() => this.#preview(), QUIET_MS);
      event.stopPropagation();
    });
    root.addEventListener("keydown", (event) => event.stopPropagation());  // Esc closes the editor and stops no job
    root.append(title, name.root, this.names, prompt.root, negative.root, make("span", "field-label", "What it makes of the prompts of the form"),
      this.preview, this.words, row);
  }

  #button(label, id, help, action) {
    const element = button(label, help, action);
    element.id = `${this.prefix}_${id}_style`;
    return element;
  }

  async open([chosen]) {
    if (!this.names) this.#build();
    this.#say("");
    await this.#load();
    this.root.showModal();
    this.#show(this.styles.find((style) => style.name === chosen) ?? {name: "", prompt: "", negative_prompt: ""});
  }

  async #load() {
    try {
      this.styles = await call("styles");
    } catch (error) {
      this.#say(error.message, true);
    }
    this.names.replaceChildren(...this.styles.map((style) => new Option("", style.name)));
  }

  #show(style) {
    this.name.value = style.name;
    this.prompt.value = style.prompt;
    this.negative.value = style.negative_prompt;
    this.#preview();
  }

  #values() {
    return {name: this.name.value, prompt: this.prompt.value, negative_prompt: this.negative.value};
  }

  async #preview() {
    const styled = await call("styles/apply", {...this.prompts(), unsaved: this.#values()}).catch(() => null);
    if (!styled) return;
    const lines = [styled.prompt || "(no prompt)"];
    if (styled.negative_prompt) lines.push(`Negative prompt: ${styled.negative_prompt}`);
    this.preview.textContent = lines.join("\n");
  }

  async #save() {
    await this.#change("styles", (name) => this.choose([name]));
  }

  async #delete() {
    await this.#change("styles/delete", () => this.choose([]));
  }

  async #change(path, then) {
    try {
      const {message} = await call(path, this.#values());
      await Promise.all([refresh("choices"), this.#load()]);  // all tabs offer the styles that there are now
      then(this.name.value.trim());
      this.#say(message);
    } catch (error) {
      this.#say(error.message, true);
    }
  }

  #say(sentence, isError = false) {
    this.words.className = isError ? "notice error" : "notice";
    this.words.textContent = sentence;
    this.words.hidden = !sentence;
  }
}

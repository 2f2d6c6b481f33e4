// All about one network in a dialog: its picture, the words that it was trained with, the user's notes, and its metadata.
import {button, call, make, size} from "../core.js";
import {publish} from "../page_state.js";
import {cardPicture} from "./card.js";
import {refreshCards} from "./panel.js";

const FAMILIES = [["As the file tells", ""], ["SD 1.x", "SD1"], ["SD 2.x", "SD2"], ["SDXL", "SDXL"]];  // A1111's names of them
const WEIGHTS = {type: "number", min: -10, max: 10, step: 0.05};

// Opens the dialog of a card. `panel` is the one that lists it.
export async function openDetails(card, panel) {
  const dialog = new Details(card, panel);
  await dialog.open();
  return dialog;
}

class Details {
  constructor(card, panel) {
    this.card = card;
    this.panel = panel;
    this.path = `networks/${card.id}`;
    this.root = make("dialog", "network-details");
    this.words = make("p", "notice");
    this.words.setAttribute("role", "status");
    const title = make("h2", "", card.name);
    title.id = `${panel.prefix}_network_title`;
    this.root.setAttribute("aria-labelledby", title.id);
    this.body = make("div", "network-told");
    const close = button("Close", "Close (Esc)", () => this.root.close());
    this.buttons = make("div", "network-buttons");
    this.buttons.append(close);
    this.root.append(title, this.words, this.body, this.buttons);
    this.root.addEventListener("close", () => this.root.remove());
    this.#say("");
  }

  #say(sentence, isError = false) {
    this.words.className = isError ? "notice error" : "notice";
    this.words.textContent = sentence;
    this.words.hidden = !sentence;
  }

  async open() {
    const opener = document.activeElement;
    this.panel.root.after(this.root);
    this.root.showModal();
    this.root.addEventListener("close", () => opener?.focus({preventScroll: true}));
    await this.#try(async () => this.#show(await call(this.path)));
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      this.#say(error.message, true);
    }
  }

  #show(told) {
    this.told = told;
    const {words, notes} = {words: this.#trainedWords(told), notes: this.#notes(told)};
    this.body.replaceChildren(this.#head(told), ...words, ...notes, this.#metadata(told));
    const save = button("Save", "Write the notes into the .json file beside the network, as A1111 keeps them", () => this.#save());
    save.classList.add("network-save");
    this.buttons.replaceChildren(save, ...this.#pickButton(told), this.buttons.lastChild);
  }

  #pickButton(told) {
    if (told.kind === "Checkpoint" || told.error) return [];
    const isIn = this.panel.holds(this.#listed());
    const label = isIn ? "Take out of the prompt" : "Put into the prompt";
    return [button(label, label, async () => {
      await this.panel.pick(this.#listed());
      this.#show(this.told);
    })];
  }

  // Returns the card as it is listed now.
  #listed() {
    return this.panel.state.cards.find(({id}) => id === this.card.id) ?? this.card;
  }

  #head(told) {
    const root = make("div", "network-head"), side = make("div", "network-preview"), facts = make("dl");
    const add = (name, value) => {
      const place = make("dd", "", typeof value === "string" ? value : "");
      if (typeof value !== "string") place.append(value);
      if (value) facts.append(make("dt", "", name), place);
    };
    add("Family", told.family || "unknown");
    if (told.alias !== told.name) add("Other name", told.alias);
    add("File", told.path);
    add("Size", `${size(told.bytes)}, ${new Date(told.modified * 1000).toLocaleDateString()}`);
    add("Hash", told.hash || this.#hashButton());
    side.append(cardPicture(told), button("Use the last picture", "Make the picture that this tab shows the preview of this network", () => this.#setPreview()));
    root.append(side, facts);
    if (told.error || told.home) root.append(this.#trouble(told));
    return root;
  }

  #trouble(told) {
    const root = make("div", "network-trouble"), sentence = told.error || `This file is no ${told.kind}.`;
    root.append(make("p", "notice error", told.home && !sentence.includes(told.home) ? `${sentence} It belongs in ${told.home}.` : sentence));
    if (told.home) root.append(button(`Move it to ${told.home}`, `Move ${told.name} to ${told.home}`, () => this.#move()));
    return root;
  }

  #hashButton() {
    const compute = button("Compute", `Compute the hash of ${this.card.name}`, () => this.#try(async () => {
      compute.textContent = "Reading the file…";
      const {hash} = await call(`${this.path}/hash`, {});
      compute.replaceWith(hash || "It is still being computed; open it again in a while.");
      if (hash) this.#update({hash});
    }));
    return compute;
  }

  #trainedWords({words}) {
    if (!words.length) return [];
    const root = make("div", "network-words"), list = make("div", "chips");
    for (const [word, count] of words) {
      const help = count ? `Put “${word}” into the prompt; ${count} pictures had it` : `Put the trigger phrase “${word}” into the prompt`;
      const chip = button(count ? `${word} ${count}` : word, help, () => {
        this.panel.prompts.write(this.panel.prompts.target(true), word);
        this.#say(`“${word}” is in the prompt.`);
      });
      chip.className = "chip";
      list.append(chip);
    }
    root.append(make("span", "field-label", "Trained words: a click puts one into the prompt"), list);
    return [root];
  }

  #field(label, name, box, value) {
    const root = make("div", "field"), title = make("label", "", label);
    box.id = title.htmlFor = `${this.panel.prefix}_network_${name}`;
    box.value = value;
    root.append(title, box);
    this.fields[name] = box;
    return root;
  }

  #text(label, name, lines, value) {
    const box = make(lines > 1 ? "textarea" : "input");
    if (lines > 1) box.rows = lines;
    box.spellcheck = false;
    return this.#field(label, name, box, value);
  }

  #notes(told) {
    this.fields = {};
    const rows = [this.#text("Description, shown on the card", "description", 2, told.description)];
    if (told.tag) {
      const weight = Object.assign(make("input"), WEIGHTS), pair = make("div", "field-row");
      pair.append(this.#field("Preferred weight (0: the default one)", "preferred_weight", weight, told.preferred_weight), this.#family(told));
      rows.push(pair, this.#text("Activation text, put into the prompt with it", "activation_text", 1, told.activation_text),
        this.#text("Negative text, put into the negative prompt with it", "negative_text", 1, told.negative_text));
    } else if (told.kind !== "Checkpoint") rows.push(this.#family(told));
    rows.push(this.#text("Notes", "notes", 3, told.notes));
    return rows;
  }

  #family(told) {
    const list = make("select");
    list.append(...FAMILIES.map(([label, value]) => new Option(label, value)));
    return this.#field("Made for", "family", list, FAMILIES.some(([, value]) => value === told.noted_family) ? told.noted_family : "");
  }

  #metadata({metadata}) {
    const count = Object.keys(metadata).length;
    if (!count) return make("p", "field-help", "The file has no metadata.");
    const root = make("details", "network-metadata"), text = make("pre", "", JSON.stringify(metadata, null, 2));
    text.tabIndex = 0;
    root.append(make("summary", "", `Metadata (${count})`), text);
    return root;
  }

  #values() {
    const {description, family, activation_text, preferred_weight, negative_text, notes} = this.told;
    const kept = {description, family: this.told.noted_family, activation_text, preferred_weight, negative_text, notes};
    for (const [name, box] of Object.entries(this.fields)) kept[name] = name === "preferred_weight" ? Number(box.value) : box.value;
    return kept;
  }

  #save() {
    return this.#try(async () => {
      this.#changed(await call(`${this.path}/notes`, this.#values()));
      this.#say("Saved.");
    });
  }

  #setPreview() {
    return this.#try(async () => {
      const picture = this.panel.tab.output.selected();
      if (!picture) throw new Error("This tab shows no picture yet. Generate one first.");
      const typed = this.#values();
      this.#changed({...await call(`${this.path}/preview`, {image: picture.id})}, typed);
      this.#say("The picture is its preview now.");
    });
  }

  // Shows what a route answers; `typed` are notes that are not saved yet.
  #changed(told, typed = null) {
    this.#update(told);
    this.#show(told);
    if (typed) for (const [name, box] of Object.entries(this.fields)) box.value = typed[name];
  }

  #update(values) {
    const {state} = this.panel, listed = Object.keys(this.card);
    const known = Object.fromEntries(Object.entries(values).filter(([name]) => listed.includes(name)));
    publish("networks", {...state, cards: state.cards.map((card) => card.id === this.card.id ? {...card, ...known} : card)});
  }

  #move() {
    return this.#try(async () => {
      await call(`models/files/${this.card.id}/move`, {});
      await refreshCards();
      this.root.close();
      this.panel.browser?.say(`${this.card.name} is in ${this.told.home} now.`);
    });
  }
}

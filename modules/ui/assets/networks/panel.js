// The panel of networks under the prompts of a generation tab: chips of what the prompts hold, and, unfolded, the cards.
import {call, make} from "../core.js";
import {listen, load, publish} from "../page_state.js";
import {Chips} from "./chips.js";
import {prepare} from "./filter.js";
import {PromptBoxes} from "./prompt_boxes.js";
import {nameProblem, takeOut, tagOf} from "./tags.js";

const KEY = "webui-networks";
const nothing = {cards: [], kinds: []};
let prepared = null;  // the state whose cards are prepared

// Returns what the browser keeps of the panel.
export function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

export function keep(values) {
  try {
    localStorage.setItem(KEY, JSON.stringify({...kept(), ...values}));
  } catch {
    // full, or forbidden: the panel works without
  }
}

// Asks for the cards again; `path` is that of a route that answers with them.
export async function refreshCards(path = "networks/refresh") {
  return publish("networks", await call(path, {}));
}

// Adds the panel to a generation tab.
export function addNetworks(tab) {
  const extras = tab.root.querySelector(".prompt-extras"), {prefix} = tab.schema;
  extras.append(...new Panel(tab, prefix).parts);
}

class Panel {
  constructor(tab, prefix) {
    this.tab = tab;
    this.prefix = prefix;
    this.state = nothing;
    this.family = "";
    this.checkpoint = "";
    this.prompts = new PromptBoxes(tab.root, () => this.#read());
    this.chips = new Chips(prefix, this.prompts, (use) => this.cardOf(use));
    this.root = make("details", "networks form-section");
    this.root.id = `${prefix}_networks`;
    const summary = make("summary", "", "Networks");
    summary.title = "LoRA, textual inversion, hypernetworks and checkpoints as cards; a click puts one into the prompt";
    for (const name of ["pointerenter", "focus"]) summary.addEventListener(name, () => load("networks").catch(() => {}), {once: true});
    this.root.append(summary);
    this.root.addEventListener("toggle", () => this.#toggle());
    // Nothing that is typed here belongs to the form.
    for (const name of ["input", "change"]) this.root.addEventListener(name, (event) => event.stopPropagation());
    this.parts = [this.chips.root, this.root];
    listen("model", (model) => this.#follow(model));
    listen("networks", (state) => this.#show(state));
    this.root.open = Boolean(kept()[`open-${prefix}`]);
    this.#read();
  }

  // Returns the card of a use in a prompt; of two files of a name, the later one counts, as in A1111.
  cardOf({kind, name}) {
    const named = (key) => this.state.cards.findLast((card) => card.kind === kind && card[key] === name);
    return named("prompt_name") ?? named("name") ?? named("alias");
  }

  // Returns whether the prompts hold a card, or it is the chosen checkpoint.
  holds(card) {
    return card.kind === "Checkpoint" ? card.prompt_name === this.checkpoint : this.held.has(card);
  }

  // Puts a card into the prompt that had the cursor last, or takes it out if it is in one; says what it cannot do.
  async pick(card) {
    if (card.kind === "Checkpoint") return this.#chooseCheckpoint(card);
    const use = this.prompts.uses(this.embeddings).find((one) => this.cardOf(one) === card);
    const problem = use ? "" : card.error || nameProblem(card);
    this.browser?.say(problem, Boolean(problem));
    if (problem) return;
    if (use) {
      this.prompts.edit(use.box, takeOut(use.box.value, use));
      this.prompts.remove(use.box, card.activation_text);
      this.prompts.remove(this.prompts.negative, card.negative_text);
    } else {
      this.prompts.write(this.prompts.target(Boolean(card.tag)), [tagOf(card), card.activation_text].filter(Boolean).join(" "));
      if (card.negative_text) this.prompts.write(this.prompts.negative, card.negative_text);
    }
    this.#read();
  }

  async #chooseCheckpoint(card) {
    try {
      this.browser?.say(`Choosing ${card.name}…`);
      const state = publish("model", await call("model", {action: "checkpoint", value: card.prompt_name}));
      this.browser?.say(state.words || `${card.name} is chosen.`);
    } catch (error) {
      this.browser?.say(error.message, true);
    }
  }

  get embeddings() {
    return this.names ??= new Map(this.state.cards.filter(({kind}) => kind === "Embedding").map(({name}) => [name.toLowerCase(), name]));
  }

  // Shows what the prompts hold. The list of cards is asked for once there is a prompt that may name one.
  #read() {
    const isEmpty = this.prompts.boxes().every((box) => !box.value);
    if (this.state === nothing && !isEmpty) load("networks").catch(() => {});
    const uses = this.prompts.uses(this.embeddings);
    this.held = new Set(uses.map((use) => this.cardOf(use)));
    this.chips.show(uses, this.state !== nothing);
    this.browser?.redraw();
  }

  #show(state) {
    if (prepared !== state) prepare(state.cards);
    prepared = this.state = state;
    this.names = null;
    this.#read();
    this.browser?.list();
  }

  #follow({network_family: family, checkpoint}) {
    const isOther = this.family !== family;
    [this.family, this.checkpoint] = [family, checkpoint];
    if (isOther) this.browser?.list();
    else this.browser?.redraw();
  }

  async #toggle() {
    keep({[`open-${this.prefix}`]: this.root.open});
    if (!this.root.open || this.browser) return;
    const cards = load("networks");
    cards.catch(() => {});  // told below
    const {Browser} = await import("./browser.js");
    if (this.browser) return;
    this.browser = new Browser(this);
    this.root.append(this.browser.root);
    this.browser.list();
    try {
      await cards;
    } catch (error) {
      this.browser.say(error.message, true);
    }
  }
}

// The unfolded panel: a tab per kind, search, folders, order, size, and the cards.
import {button, make} from "../core.js";
import {makeGrid} from "../gallery_grid.js";
import {buildCard} from "./card.js";
import {choose, foldersOf, SORTS} from "./filter.js";
import {keep, kept, refreshCards} from "./panel.js";

const TITLES = {LoRA: "LoRA", Embedding: "Textual inversion", Hypernetwork: "Hypernetworks", Checkpoint: "Checkpoints"};
const SIDES = [80, 240];  // of a card, in pixels
const ARROWS = {ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: (columns) => -columns, ArrowDown: (columns) => columns};

function labelled(name, control, style = "") {
  const root = make("label", `network-tool ${style}`);
  root.append(make("span", "", name), control);
  return root;
}

export class Browser {
  // `panel` is the one that this is a part of.
  constructor(panel) {
    this.panel = panel;
    this.chosen = {kind: "LoRA", sort: "name", folder: "", words: "", showsAll: false, side: 120, ...kept().chosen, words: ""};
    this.cards = [];
    this.current = 0;  // index of the card that the keyboard is at
    this.root = make("div", "networks-browser");
    this.words = make("p", "notice");
    this.words.setAttribute("role", "status");
    this.count = make("p", "networks-count");
    this.count.setAttribute("role", "status");
    this.viewport = make("div", "networks-grid");
    this.viewport.id = `${panel.prefix}_network_cards`;
    this.viewport.setAttribute("role", "tabpanel");
    this.viewport.tabIndex = 0;
    this.grid = makeGrid(this.viewport, {
      key: (i) => `${this.cards[i].id} ${this.cards[i].picture} ${this.cards[i].error}`,
      cell: (i) => this.#build(this.cards[i]),
      update: (cell, i) => this.#update(cell, i),
      need: () => {},
    });
    this.grid.setSide(this.chosen.side);
    this.root.append(this.#tabs(), this.#tools(), this.words, this.count, this.viewport);
    this.viewport.addEventListener("keydown", (event) => this.#onKey(event));
    this.say("");
  }

  say(sentence, isError = false) {
    this.words.className = isError ? "notice error" : "notice";
    this.words.textContent = sentence;
    this.words.hidden = !sentence;
  }

  redraw() {
    this.grid.redraw();
  }

  // Lists the cards of what is chosen now.
  list() {
    const {state, family} = this.panel, {chosen} = this;
    for (const tab of this.tabs.children) {
      const isOpen = tab.dataset.kind === chosen.kind, count = state.cards.filter(({kind}) => kind === tab.dataset.kind).length;
      tab.textContent = `${TITLES[tab.dataset.kind]} ${count}`;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      if (isOpen) this.viewport.setAttribute("aria-labelledby", tab.id);
    }
    const folders = foldersOf(state.cards, chosen.kind);
    if (!folders.includes(chosen.folder)) chosen.folder = "";
    this.folders.replaceChildren(new Option("All folders", ""), ...folders.map((folder) => new Option(folder, folder)));
    this.folders.value = chosen.folder;
    this.folders.parentElement.hidden = !folders.length;
    const found = choose(state.cards, {...chosen, family});
    this.cards = found.cards;
    this.current = Math.min(this.current, Math.max(0, this.cards.length - 1));
    if (this.drawn?.state !== state || this.drawn.family !== family) {
      for (const cell of this.viewport.querySelectorAll(".network-card")) cell.dataset.stale = "yes";
      this.drawn = {state, family};
    }
    this.grid.setCount(this.cards.length);
    this.#tell(found.hidden);
  }

  #tell(hidden) {
    const {kind} = this.chosen, folder = this.panel.state.kinds.find(({name}) => name === kind)?.folder;
    const isAny = this.panel.state.cards.some((card) => card.kind === kind);
    let text = "";
    if (!folder) text = "Reading the folders…";
    else if (!isAny) text = `There are no files yet. Put them into ${folder} and press ↻.`;
    else if (!this.cards.length && !hidden) text = "No card has these words in this folder.";
    this.count.replaceChildren(text);
    if (hidden) {
      const told = `${hidden} hidden: made for another family than ${this.panel.family}. `;
      this.count.append(told, button("Show them", "Show cards of all families", () => {
        this.all.checked = true;
        this.#choose({showsAll: true});
        this.all.focus();
      }));
    }
    this.count.hidden = !this.count.childNodes.length;
    this.viewport.hidden = !this.cards.length;
  }

  #choose(values) {
    Object.assign(this.chosen, values);
    keep({chosen: this.chosen});
    this.current = 0;
    this.viewport.scrollTop = 0;
    this.list();
  }

  #tabs() {
    this.tabs = make("div", "network-tabs");
    this.tabs.setAttribute("role", "tablist");
    this.tabs.setAttribute("aria-label", "Kinds of networks");
    for (const kind of Object.keys(TITLES)) {
      const tab = make("button", "network-tab");
      Object.assign(tab, {type: "button", id: `${this.panel.prefix}_networks_${kind}`});
      tab.dataset.kind = kind;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", this.viewport.id);
      tab.addEventListener("click", () => this.#choose({kind, folder: ""}));
      this.tabs.append(tab);
    }
    this.tabs.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key], tabs = [...this.tabs.children];
      if (!step) return;
      event.preventDefault();
      const next = tabs.at((tabs.indexOf(document.activeElement) + step) % tabs.length);
      next.click();
      next.focus();
    });
    return this.tabs;
  }

  #tools() {
    const root = make("div", "network-tools"), search = make("input"), sort = make("select"), size = make("input");
    this.folders = make("select");
    this.all = make("input");
    Object.assign(search, {type: "search", placeholder: "Search", value: this.chosen.words, spellcheck: false});
    search.setAttribute("aria-label", "Search by words of names, folders, notes and hashes");
    sort.append(...Object.entries(SORTS).map(([key, [label]]) => new Option(label, key)));
    sort.value = this.chosen.sort;
    Object.assign(size, {type: "range", min: SIDES[0], max: SIDES[1], step: 10, value: this.chosen.side});
    const fill = () => size.style.setProperty("--share", `${(100 * (size.value - SIDES[0])) / (SIDES[1] - SIDES[0])}%`);
    fill();
    Object.assign(this.all, {type: "checkbox", checked: this.chosen.showsAll});
    search.addEventListener("input", () => this.#choose({words: search.value}));
    sort.addEventListener("change", () => this.#choose({sort: sort.value}));
    this.folders.addEventListener("change", () => this.#choose({folder: this.folders.value}));
    this.all.addEventListener("change", () => this.#choose({showsAll: this.all.checked}));
    size.addEventListener("input", () => {
      fill();
      this.chosen.side = Number(size.value);
      keep({chosen: this.chosen});
      this.grid.setSide(this.chosen.side);
    });
    const again = button("↻", "Read the folders again", () => this.#refresh(again));
    again.classList.add("icon");
    root.append(search, labelled("Folder", this.folders), labelled("Sort by", sort), labelled("Card size", size, "network-size"),
      labelled("All families", this.all, "network-check"), again);
    return root;
  }

  async #refresh(again) {
    again.disabled = true;
    try {
      await refreshCards();
      this.say("");
    } catch (error) {
      this.say(error.message, true);
    }
    again.disabled = false;
    again.focus();
  }

  #build(card) {
    return buildCard(card, this.panel.family, {pick: () => this.#pick(card), details: () => this.#details(card)});
  }

  #update(cell, i) {
    const card = this.cards[i];
    if (cell.dataset.stale) {  // its family fits now, or no longer
      const focused = [...cell.children].indexOf(document.activeElement);
      cell.replaceChildren(...this.#build(card).childNodes);
      cell.children[focused]?.focus({preventScroll: true});
      delete cell.dataset.stale;
      return this.#update(cell, i);
    }
    cell.firstChild.setAttribute("aria-pressed", String(this.panel.holds(card)));
    for (const element of cell.querySelectorAll("button")) element.tabIndex = i === this.current ? 0 : -1;
  }

  #pick(card) {
    this.#moveTo(this.cards.indexOf(card), false);
    this.panel.pick(card);
  }

  async #details(card) {
    this.#moveTo(this.cards.indexOf(card), false);
    const {openDetails} = await import("./details.js");
    openDetails(card, this.panel);
  }

  #moveTo(index, takesFocus = true) {
    if (!this.cards[index]) return;
    this.current = index;
    const cell = this.grid.reveal(index);
    if (takesFocus) cell?.querySelector(".network-pick").focus({preventScroll: true});
  }

  #onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = ARROWS[event.key]?.(this.grid.columns), last = this.cards.length - 1;
    const isWithin = event.target !== this.viewport;
    const next = {Home: 0, End: last}[event.key] ?? (step ? Math.max(0, Math.min(last, this.current + (isWithin ? step : 0))) : null);
    if (event.key.toLowerCase() === "i" && isWithin) this.#details(this.cards[this.current]);
    else if (next !== null) this.#moveTo(next);
    else return;
    event.preventDefault();
  }
}

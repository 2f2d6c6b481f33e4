// Chips of the networks that the prompts hold, each with its weight.
import {make} from "../core.js";
import {iconButton} from "../icons.js";
import {takeOut, weigh} from "./tags.js";

const LEAST = 0, MOST = 2;  // of the sliders; the boxes take any number
const STEP = 0.05;

export class Chips {
  // `prompts` holds the texts; `cardOf(use)` returns the card of a use.
  constructor(prefix, prompts, cardOf) {
    this.prompts = prompts;
    this.cardOf = cardOf;
    this.chips = new Map();  // key -> chip
    this.root = make("div", "network-chips");
    this.root.id = `${prefix}_network_chips`;
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Networks in the prompts");
    this.root.hidden = true;
    for (const name of ["input", "change"]) this.root.addEventListener(name, (event) => event.stopPropagation());
  }

  // Shows these uses; `isKnown` tells whether the list of files is there, so that a name can be missing.
  show(uses, isKnown) {
    const counts = new Map(), shown = [];
    for (const use of uses) {
      const base = `${use.box.id} ${use.kind} ${use.name}`, count = counts.get(base) ?? 0;
      counts.set(base, count + 1);
      const key = `${base} ${count}`;
      if (!this.chips.has(key)) this.chips.set(key, this.#build(use));
      this.chips.get(key).update(use, isKnown && !this.cardOf(use));
      shown.push(key);
    }
    for (const [key, chip] of this.chips) {
      if (shown.includes(key)) continue;
      chip.root.remove();
      this.chips.delete(key);
    }
    shown.forEach((key, i) => {  // one that is in place already keeps the focus
      const {root} = this.chips.get(key);
      if (this.root.children[i] !== root) this.root.insertBefore(root, this.root.children[i] ?? null);
    });
    this.root.hidden = !uses.length;
  }

  #build(first) {
    let use = first;
    const root = make("div", "network-chip"), name = make("span", "network-chip-name"), range = make("input"), box = make("input");
    Object.assign(range, {type: "range", min: LEAST, max: MOST, step: STEP, tabIndex: -1});
    range.setAttribute("aria-hidden", "true");  // the box beside it is the one for the keyboard
    Object.assign(box, {type: "number", step: STEP});
    box.setAttribute("aria-label", `Weight of ${first.name}`);
    const fill = () => range.style.setProperty("--share", `${(100 * (range.value - LEAST)) / (MOST - LEAST)}%`);
    const write = (weight) => setTimeout(() => {  // once the focus is where the user moved it
      if (weight !== use.weight && Number.isFinite(weight)) this.prompts.edit(use.box, weigh(use, weight));
    });
    range.addEventListener("input", () => { box.value = range.value; fill(); });
    range.addEventListener("change", () => write(Number(range.value)));
    box.addEventListener("change", () => box.value !== "" && write(Number(box.value)));
    const away = iconButton("cross", `Take ${first.name} out of the prompt`, () => {
      const next = root.nextElementSibling ?? root.previousElementSibling;
      this.prompts.edit(use.box, takeOut(use.box.value, use));
      (next?.querySelector("button") ?? use.box).focus({preventScroll: true});
    });
    root.append(name, range, box, away);
    const update = (newUse, isMissing) => {
      // A weight that is being typed or dragged stays while the prompts are read for another reason.
      const isEdited = [box, range].includes(document.activeElement) && newUse.weight === use.weight;
      use = newUse;
      name.textContent = use.isNegative ? `− ${use.name}` : use.name;
      const where = use.isNegative ? "in the negative prompt" : "in the prompt";
      name.title = isMissing ? `There is no ${use.kind} '${use.name}'; the picture is made without it` : `${use.kind} ${where}`;
      root.classList.toggle("network-missing", isMissing);
      if (isMissing) name.append(make("span", "network-badge network-bad", "missing"));
      box.setAttribute("aria-invalid", String(use.weight === null));
      if (isEdited) return;
      box.value = use.weight ?? "";
      range.value = use.weight ?? 1;
      fill();
    };
    return {root, update};
  }
}

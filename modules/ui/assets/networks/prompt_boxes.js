// The prompts of a generation tab as the panel of networks sees them: which has the cursor, what they hold, and edits of them.
import {replaceText} from "../generation/prompt_keys.js";
import {findEmbeddings, findTags, putIn, takeOut} from "./tags.js";

const QUIET_MS = 150;  // after the last key, before the prompts are read
const isNegative = (box) => box.id.endsWith("negative_prompt");

export class PromptBoxes {
  // `onChange()` is called when the text of a prompt is another one.
  constructor(root, onChange) {
    this.root = root;
    this.last = null;   // the prompt that had the cursor last
    let timer = 0;
    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(onChange, QUIET_MS);
    };
    this.tell = () => {
      clearTimeout(timer);
      onChange();
    };
    root.addEventListener("focusin", ({target}) => { if (this.boxes().includes(target)) this.last = target; });
    root.addEventListener("input", ({target}) => { if (this.boxes().includes(target)) later(); });
    root.addEventListener("form-changed", later, true);  // values that a script sets fire no "input"
  }

  // Returns the text boxes of all prompts, those of the hires pass with them.
  boxes() {
    return [...this.root.querySelectorAll("textarea[id$=prompt]")].filter((box) => !box.closest("dialog"));
  }

  // Returns the box that a card writes into: the one that had the cursor last, but tags are read in prompts alone.
  target(isTag) {
    const main = this.boxes().find((box) => !isNegative(box));
    return this.last?.isConnected && !(isTag && isNegative(this.last)) ? this.last : main;
  }

  // Returns all uses of networks: {box, isNegative, kind, name, weight, ...}. `embeddings` is a map of names.
  uses(embeddings) {
    return this.boxes().flatMap((box) => {
      const found = [...(isNegative(box) ? [] : findTags(box.value)), ...findEmbeddings(box.value, embeddings)];
      return found.sort((one, other) => one.start - other.start).map((use) => ({...use, box, isNegative: isNegative(box)}));
    });
  }

  // Changes a prompt so that undo brings the text back, and leaves the focus and the page where they are. What it holds is
  // read at once: the places of what is found in it are others now.
  edit(box, {from, to, insert}) {
    const {activeElement} = document, top = window.scrollY;
    box.focus({preventScroll: true});
    if (document.activeElement === box) {
      replaceText(box, from, to, insert);
    } else {  // behind an open dialog
      box.setRangeText(insert, from, to, "end");
      box.dispatchEvent(new Event("input", {bubbles: true}));
    }
    if (activeElement !== box) activeElement?.focus({preventScroll: true});
    window.scrollTo({top, behavior: "instant"});
    this.tell();
  }

  // Writes words at the cursor, after the tag there if it is within one.
  write(box, words) {
    const tag = findTags(box.value).find(({start, end}) => start < box.selectionEnd && box.selectionEnd < end);
    this.edit(box, putIn(box.value, tag?.end ?? box.selectionEnd, words));
  }

  // Takes words out of a prompt where they stand on their own; returns whether they did.
  remove(box, words) {
    const start = box.value.indexOf(words);
    if (!words || start < 0) return false;
    this.edit(box, takeOut(box.value, {start, end: start + words.length}));
    return true;
  }

  get negative() { return this.boxes().find(isNegative); }
}

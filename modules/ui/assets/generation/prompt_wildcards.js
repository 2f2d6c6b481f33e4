// Suggests the names of wildcard files while one is typed in a prompt: behind "__" and letters of it.
import {call, make} from "../core.js";
import {replaceText} from "./prompt_keys.js";

const MOST_SHOWN = 50;
const OPENED = /(?:^|[^\p{L}\p{N}_])__[@~!]?([^\s,{}|<>()$#_](?:[^\n,{}|<>()$#_]|_(?!_))*|)$/u;

// Returns what is typed of a name before the cursor, null where none is.
export function typedName(box) {
  const {value, selectionStart, selectionEnd} = box;
  if (selectionStart !== selectionEnd) return null;
  return value.slice(Math.max(0, selectionStart - 200), selectionStart).match(OPENED)?.[1] ?? null;
}

// Offers names in every prompt below an element, also in those that are built later.
export function attachWildcards(root) {
  const list = make("ul", "combobox-list wildcard-list");
  list.id = `${root.id || "prompts"}_wildcards`;
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Wildcards");
  let names = null, box = null, active = 0;

  function close() {
    list.hidden = true;
    names = null;
    box?.removeAttribute("aria-activedescendant");
    box?.removeAttribute("aria-controls");
  }

  function mark(index) {
    active = (index + list.children.length) % list.children.length;
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === active)));
    box.setAttribute("aria-activedescendant", list.children[active].id);
    list.children[active].scrollIntoView({block: "nearest"});
  }

  function choose(name) {
    const typed = typedName(box), end = box.selectionStart;
    if (typed === null) return close();
    const isClosed = box.value.startsWith("__", end);
    replaceText(box, end - typed.length, end + (isClosed ? 2 : 0), `${name}__`);
    close();
  }

  async function offer(target) {
    if (typedName(target) === null) return close();
    box = target;
    names ??= call("wildcards").catch(() => ({names: []}));
    const known = (await names).names;
    const typed = typedName(target);
    if (box !== target || document.activeElement !== target || typed === null) return close();
    const words = typed.toLowerCase();
    const shown = known.filter((name) => name.toLowerCase().includes(words)).slice(0, MOST_SHOWN);
    if (!shown.length || (shown.length === 1 && shown[0] === typed)) return close();
    list.replaceChildren(...shown.map((name, index) => {
      const item = make("li", "", name);
      item.id = `${list.id}_${index}`;
      item.setAttribute("role", "option");
      // Before the box loses the focus, which closes the list.
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); choose(name); });
      return item;
    }));
    const place = target.parentElement;
    place.classList.add("has-suggestions");
    place.append(list);
    list.hidden = false;
    target.setAttribute("aria-autocomplete", "list");
    target.setAttribute("aria-controls", list.id);
    mark(0);
  }

  const keys = {
    ArrowDown: () => mark(active + 1),
    ArrowUp: () => mark(active - 1),
    Enter: () => choose(list.children[active].textContent),
    Tab: () => choose(list.children[active].textContent),
    Escape: close,
  };
  root.addEventListener("keydown", (event) => {
    if (list.hidden || event.target !== box || !keys[event.key]) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }, {capture: true});
  root.addEventListener("input", ({target}) => { if (target.matches("textarea[id$=prompt]")) offer(target); });
  root.addEventListener("focusout", close);
}

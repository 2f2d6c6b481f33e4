// A list that typing filters, for lists that can be long, such as checkpoints (ARIA's combobox pattern).
import {make} from "./core.js";

// Builds {root, box, get, set, offer}. A choice by the user fires "input" and "change" on the root.
// `label` is its name for screen readers.
export function makeCombobox(id, label) {
  const root = make("div", "combobox");
  const box = make("input");
  const list = make("ul", "combobox-list");
  Object.assign(box, {id, type: "text", autocomplete: "off", spellcheck: false});
  Object.assign(list, {id: `${id}_list`, hidden: true, tabIndex: -1});
  box.setAttribute("role", "combobox");
  box.setAttribute("aria-autocomplete", "list");
  box.setAttribute("aria-controls", list.id);
  box.setAttribute("aria-expanded", "false");
  box.setAttribute("aria-label", label);
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", label);
  root.append(box, list);
  let rows = [];      // [label, value]
  let value = "";
  let active = -1;    // index of the marked item in the list

  const labelOf = (wanted) => rows.find(([, own]) => own === wanted)?.[0] ?? (wanted ? `${wanted} (missing)` : "");
  const items = () => [...list.children];

  function close() {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
    box.value = labelOf(value);
  }

  function open(filter = "") {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = rows.filter(([text]) => words.every((word) => text.toLowerCase().includes(word)));
    list.replaceChildren(...shown.map(([text, own], index) => {
      const item = make("li", "", text);
      item.id = `${list.id}_${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(own === value));
      // Before the box loses the focus, which closes the list.
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); choose(own); });
      item.dataset.value = own;
      return item;
    }));
    list.hidden = !shown.length;
    box.setAttribute("aria-expanded", String(!list.hidden));
    mark(Math.max(0, shown.findIndex(([, own]) => own === value)));
  }

  function mark(index) {
    active = Math.max(0, Math.min(list.children.length - 1, index));
    items().forEach((item, place) => item.classList.toggle("marked", place === active));
    const item = list.children[active];
    if (!item) return;
    box.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({block: "nearest"});
  }

  function choose(next) {
    const isNew = next !== value;
    value = next;
    close();
    if (!isNew) return;
    for (const name of ["input", "change"]) root.dispatchEvent(new Event(name, {bubbles: true}));
  }

  const keys = {
    ArrowDown: () => list.hidden ? open() : mark(active + 1),
    ArrowUp: () => list.hidden ? open() : mark(active - 1),
    Enter: () => { if (!list.hidden) choose(list.children[active].dataset.value); },
    Escape: close,
  };
  box.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && list.hidden) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  box.addEventListener("input", (event) => { event.stopPropagation(); open(box.value); });
  box.addEventListener("click", () => { if (list.hidden) { box.select(); open(); } });
  box.addEventListener("blur", close);

  return {
    root, box,
    get: () => value,
    set: (next) => { value = String(next ?? ""); if (document.activeElement !== box) box.value = labelOf(value); },
    offer: (next) => { rows = next; box.value = labelOf(value); },
  };
}

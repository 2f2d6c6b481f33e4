// Fields that hold several pictures: dropped, chosen or pasted, each uploaded at once, shown in a row in which they can be moved.
import {button, call, make, upload} from "../core.js";
import {acceptDrops, acceptPastes, dropZone} from "./images.js";

const STEPS = {ArrowLeft: -1, ArrowRight: 1};
const REMOVES = ["Delete", "Backspace"];

// Returns the control {root, get, set, take, items, onFront}. Its value is a list of ids of uploads. Where `field.first` is given,
// pictures are counted from there, and the first of the list can be moved in front of it: `onFront()` is called for that.
export function pictureList(field, id) {
  const root = make("div", "field picture-list-field"), list = make("ol", "picture-list");
  root.id = id;
  const first = field.first ?? 1;
  const zone = dropZone(id, field.label, "Paste, drop or choose pictures");
  zone.input.multiple = true;
  const words = make("p", "picture-list-words"), problem = make("p", "notice error");
  words.setAttribute("role", "status");
  problem.setAttribute("role", "alert");
  list.setAttribute("aria-label", field.label);
  let pictures = [];   // {id, width, height}; of one that the browser kept {id}
  let dragged = null;  // place of the one that is dragged
  let turn = 0;        // number of the latest list that was set: what arrives for an earlier one is dropped

  function complain(sentences) {
    problem.textContent = sentences.join(" ");
    problem.hidden = !sentences.length;
  }

  function show(said = "") {
    list.replaceChildren(...pictures.map(item));
    list.hidden = !pictures.length;
    words.textContent = said;
  }

  function change(next, said = "") {
    pictures = next;
    show(said);
    root.dispatchEvent(new Event("input", {bubbles: true}));
  }

  // Puts the focus on a button of the picture in that place, or on the place for files where there is none.
  function focus(place, name) {
    const tools = list.children[Math.max(0, Math.min(place, pictures.length - 1))];
    const wanted = tools?.querySelector(`[data-do="${name}"]:not(:disabled)`) ?? tools?.querySelector("button:not(:disabled)");
    (wanted ?? zone.input).focus({preventScroll: true});
  }

  function move(from, to) {
    if (to < 0) {
      if (from || !control.onFront) return;
      control.onFront();
      focus(0, "right");
      return;
    }
    if (to >= pictures.length || from === to) return;
    const next = [...pictures];
    next.splice(to, 0, ...next.splice(from, 1));
    change(next, `Picture ${from + first} is now picture ${to + first}.`);
    focus(to, to < from ? "left" : "right");
  }

  function remove(place) {
    change(pictures.filter((_, other) => other !== place), `Picture ${place + first} is removed.`);
    focus(place, "remove");
  }

  function item(picture, place) {
    const root = make("li", "picture-item"), image = make("img"), tools = make("div", "picture-item-tools");
    const name = `picture ${place + first}`;
    image.src = `${window.webuiRoot}/internal/uploads/${picture.id}/image`;
    image.alt = `${field.label}, ${name}`;
    image.draggable = false;  // the item is
    image.title = picture.width ? `${picture.width} × ${picture.height}` : "";
    const left = button("◀", `Move ${name} forward (Left)`, () => move(place, place - 1));
    const right = button("▶", `Move ${name} back (Right)`, () => move(place, place + 1));
    const cross = button("✕", `Remove ${name} (Delete)`, () => remove(place));
    left.disabled = place === 0 && !control.onFront;
    right.disabled = place === pictures.length - 1;
    for (const [element, does] of [[left, "left"], [right, "right"], [cross, "remove"]]) {
      element.classList.add("icon");
      element.dataset.do = does;
    }
    tools.append(left, right, cross);
    root.append(image, tools);
    root.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !(STEPS[event.key] || REMOVES.includes(event.key))) return;
      event.preventDefault();
      if (STEPS[event.key]) move(place, place + STEPS[event.key]);
      else remove(place);
    });
    makeMovable(root, place);
    return root;
  }

  // By the mouse; a finger has the buttons.
  function makeMovable(element, place) {
    element.draggable = true;
    element.addEventListener("dragstart", (event) => {
      dragged = place;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", "");  // without data Firefox drags nothing
    });
    element.addEventListener("dragend", () => { dragged = null; });
    element.addEventListener("dragover", (event) => {
      if (dragged === null) return;
      event.preventDefault();
      event.stopPropagation();
      element.classList.toggle("drop-before", place < dragged);
      element.classList.toggle("drop-behind", place > dragged);
    });
    const unmark = () => element.classList.remove("drop-before", "drop-behind");
    element.addEventListener("dragleave", unmark);
    element.addEventListener("drop", (event) => {
      unmark();
      if (dragged === null) return;
      event.preventDefault();
      event.stopPropagation();
      move(dragged, place);
    });
  }

  async function take(files) {
    const all = [...files], refused = [], own = turn;
    complain([]);
    for (const [index, file] of all.entries()) {
      words.textContent = `Uploading ${index + 1} of ${all.length} …`;
      try {
        const picture = await upload(file);
        if (own !== turn) return;
        change([...pictures, picture]);
      } catch (error) {
        refused.push(`${file.name ? `${file.name}: ` : ""}${error.message}`);
      }
    }
    if (own !== turn) return;
    words.textContent = "";
    complain(refused);
  }

  // Of pictures that the browser kept, only the ids are known, and files may be gone by now.
  async function restore(kept) {
    const own = ++turn;
    pictures = kept.map((one) => ({id: one}));
    complain([]);
    show();
    const problems = new Set();
    const found = await Promise.all(kept.map((one) => call(`uploads/${one}`).catch((error) => {
      if (error.status) problems.add(error.message);
      return error.status ? null : {id: one};
    })));
    if (own !== turn) return;
    if (problems.size) change(found.filter(Boolean));
    else pictures = found;
    complain([...problems]);
  }

  zone.input.onchange = () => {
    take([...zone.input.files]);
    zone.input.value = "";  // so that the same files can be chosen again
  };
  zone.input.addEventListener("input", (event) => event.stopPropagation());
  acceptDrops(root, take);
  root.append(make("span", "field-label", field.label), list, zone.root, words, problem);
  const control = {
    root, take,
    get: () => pictures.map((picture) => picture.id),
    items: () => pictures,
    // Takes ids, or pictures with their sizes.
    set: (next) => {
      const given = [...next ?? []], ids = given.map((one) => one.id ?? one);
      if (ids.join() === control.get().join()) return;
      if (ids.length && ids.every((one, index) => one === given[index])) {
        restore(ids);
        return;
      }
      turn++;
      pictures = given;
      complain([]);
      show();
    },
  };
  // A picture is pasted here only where the focus is here.
  acceptPastes({root, take: (file) => take([file]), image: () => true});
  complain([]);
  show();
  return control;
}

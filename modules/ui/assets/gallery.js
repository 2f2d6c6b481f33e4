// The Gallery tab: searches, shows, marks and trashes the saved pictures.
import {button, call, copyText, make} from "./core.js";
import {compare, details, downloadAddress, fetchFacts, fileAddress, thumbnailAddress} from "./gallery_facts.js";
import {fillFilters} from "./gallery_filters.js";
import {makeGrid, onLongPress} from "./gallery_grid.js";
import {makeList} from "./gallery_list.js";
import {openLightbox} from "./lightbox.js";
import {schemas} from "./page_state.js";
import {sendTo} from "./tabs.js";

const POLL_MS = 3000;
const TYPING_MS = 250;
const TOAST_MS = 12000;

const pictures = (n) => `${n} ${n === 1 ? "picture" : "pictures"}`;

export async function mount(element) {
  const targets = Object.entries(await schemas);
  const panel = element.querySelector("#pictures");
  const part = (name) => panel.querySelector(`.pic-${name}`);
  const viewport = part("viewport"), toastBox = part("toast");
  const chosen = new Map();  // id -> picture
  const switches = {favourites: false, trashed: false, oldest_first: false};
  let anchor = 0, focus = 0, revision = -1, state = null, lightbox = null, typing = 0, toastTimer = 0;

  const list = makeList({onChange: showList, onError: (error) => showRemark(error.message)});
  const grid = makeGrid(viewport, {
    key: (i) => list.items[i]?.id ?? `#${i}`,
    cell: (i) => (list.items[i] ? makeCell(list.items[i]) : make("div", "pic-cell pic-waiting")),
    update: updateCell,
    need: list.need,
  });

  // The grid

  function makeCell(image) {
    const cell = make("div", "pic-cell");
    const open = make("button", "pic-open"), img = make("img");
    open.type = "button";
    open.dataset.id = image.id;
    open.setAttribute("aria-label", `${image.name}: ${image.prompt || "no prompt"}`);
    open.title = image.prompt || image.name;
    Object.assign(img, {alt: "", decoding: "async", src: thumbnailAddress(image)});
    img.onerror = () => cell.classList.add("pic-broken");
    open.append(img);
    const check = make("input", "pic-check");
    Object.assign(check, {type: "checkbox", tabIndex: -1, title: "Choose (Space; Shift for all up to here)"});
    check.setAttribute("aria-label", `Choose ${image.name}`);
    cell.append(open, check, make("span", "pic-star", "★"));
    return cell;
  }

  function updateCell(cell, i) {
    const image = list.items[i], open = cell.querySelector(".pic-open");
    if (!image || !open) return;
    const isChosen = chosen.has(image.id);
    cell.classList.toggle("pic-chosen", isChosen);
    cell.querySelector(".pic-check").checked = isChosen;
    cell.querySelector(".pic-star").hidden = !image.favourite;
    open.tabIndex = i === focus ? 0 : -1;
  }

  function showList() {
    const ids = new Set(list.items.map((image) => image.id));
    for (const id of chosen.keys()) if (!ids.has(id)) chosen.delete(id);
    focus = Math.max(0, Math.min(focus, list.total - 1));
    grid.setCount(list.total);
    showWords();
    showActions();
  }

  function emptyWords() {
    if (list.total || !state) return "";
    if (switches.trashed) return "The trash is empty. Pictures in it are in the folder outputs/.trash.";
    if (hasFilter()) return "No picture matches the search.";
    if (!state.has_scanned) return "The folders are being read for the first time.";
    return "There are no pictures yet. What you generate appears here; in Settings, Page, you can add the folder of an A1111 installation.";
  }

  function showWords() {
    const parts = [pictures(list.total)];
    if (hasFilter() && state) parts[0] += ` of ${switches.trashed ? state.trashed : state.count}`;
    if (state?.waiting) parts.push(`${pictures(state.waiting)} still to be read`);
    part("words").textContent = parts.join(" · ");
    part("empty").textContent = emptyWords();
    part("trash-count").textContent = state?.trashed ? String(state.trashed) : "";
    part("empty-trash").hidden = !switches.trashed || !state?.trashed;
  }

  function showRemark(text) {
    part("remark").hidden = !text;
    part("remark").textContent = text;
  }

  // Searching

  function filters() {
    const values = Object.fromEntries([...panel.querySelectorAll("[data-filter]")].map((box) => [box.dataset.filter, box.value]));
    return {...values, ...switches};
  }

  function hasFilter() {
    return switches.favourites || [...panel.querySelectorAll("[data-filter]")].some((box) => box.value);
  }

  function search() {
    showRemark("");
    viewport.scrollTop = 0;
    chosen.clear();
    return list.load(filters());
  }

  function searchSoon() {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const isShown = JSON.stringify(filters()) === JSON.stringify(list.filters);
      if (!isShown) search();  // another reading of the folders was quicker, and the user may have scrolled since
    }, TYPING_MS);
  }

  function flip(button) {
    const name = button.dataset.switch;
    switches[name] = !switches[name];
    button.setAttribute("aria-pressed", switches[name]);
    if (name === "trashed") chosen.clear();
    search();
  }

  // Watching the folders

  const isVisible = () => !document.hidden && panel.offsetParent !== null;

  async function poll() {
    if (!isVisible()) return;
    try {
      const isFirst = revision < 0;
      if (isFirst) list.load(filters()).then(() => { revision = list.revision; return fillFilters(panel); });
      state = await call("gallery/state");
      if (!isFirst && revision !== state.revision) {
        const isQuiet = !chosen.size && !lightbox && viewport.scrollTop < 50;
        if (isQuiet) {
          revision = state.revision;
          await list.load(filters());
          await fillFilters(panel);
        }
        part("renew").hidden = isQuiet;
      }
      if (state.remark) showRemark(state.remark);
      showWords();
    } catch (error) {
      showRemark(error.message);
    }
  }

  function renew() {
    revision = -1;
    part("renew").hidden = true;
    viewport.scrollTop = 0;
    poll();
  }

  // Choosing

  function choose(i, isRange) {
    const from = isRange ? Math.min(anchor, i) : i, to = isRange ? Math.max(anchor, i) : i;
    const isOn = isRange || !chosen.has(list.items[i]?.id);
    for (const image of list.items.slice(from, to + 1)) {
      if (isOn) chosen.set(image.id, image);
      else chosen.delete(image.id);
    }
    anchor = i;
    grid.redraw();
    showActions();
  }

  function clearChoice() {
    chosen.clear();
    grid.redraw();
    showActions();
  }

  function showActions() {
    part("actions").hidden = !chosen.size;
    part("chosen-words").textContent = `${chosen.size} chosen`;
    panel.querySelector("[data-act=compare]").disabled = chosen.size !== 2;
    panel.querySelector("[data-act=trash]").hidden = switches.trashed;
    for (const act of ["restore", "erase"]) panel.querySelector(`[data-act=${act}]`).hidden = !switches.trashed;
  }

  // Actions on pictures

  function toast(text, label, action) {
    clearTimeout(toastTimer);
    const box = toastBox;
    box.replaceChildren(make("span", "", text));
    if (action) {
      const button = make("button", "", label);
      button.type = "button";
      button.onclick = () => { box.hidden = true; action(); };
      box.append(button);
    }
    // In the dialog while there is one, which covers the page.
    (document.querySelector("dialog.lightbox[open]") ?? panel).append(box);
    box.hidden = false;
    toastTimer = setTimeout(() => { box.hidden = true; }, TOAST_MS);
  }

  async function tryTo(work) {
    try {
      await work();
      state = await call("gallery/state");
      revision = state.revision;  // the page has made this change itself
      showWords();
    } catch (error) {
      toast(error.message);
    }
  }

  function leave(images) {
    for (const image of images) chosen.delete(image.id);
    list.remove(new Set(images.map((image) => image.id)));
    lightbox?.refresh();
  }

  const trash = (images) => tryTo(async () => {
    const {ids} = await call("gallery/trash", {ids: images.map((image) => image.id)});
    leave(images);
    toast(`${pictures(ids.length)} moved to the trash.`, "Undo", () => tryTo(async () => {
      await call("gallery/restore", {ids});
      await list.load();
      lightbox?.refresh();
    }));
  });

  const restore = (images) => tryTo(async () => {
    const {ids} = await call("gallery/restore", {ids: images.map((image) => image.id)});
    leave(images);
    toast(`${pictures(ids.length)} restored.`);
  });

  // Deletes chosen pictures of the trash, or all of it.
  const erase = (images) => tryTo(async () => {
    const count = images ? images.length : state.trashed;
    if (!confirm(`Delete ${pictures(count)} for good? Nothing brings them back.`)) return;
    const deleted = await (images ? call("gallery/erase", {ids: images.map((image) => image.id)}) : call("gallery/empty-trash", {}));
    clearChoice();
    await list.load();
    toast(`${pictures(deleted.count)} deleted.`);
  });

  const favourite = (images) => tryTo(async () => {
    const on = !images.every((image) => image.favourite);
    await call("gallery/favourite", {ids: images.map((image) => image.id), on});
    for (const image of images) image.favourite = on;
    grid.redraw();
    lightbox?.refresh();
  });

  const zip = (images) => tryTo(async () => {
    const {ticket} = await call("gallery/zip", {ids: images.map((image) => image.id)});
    const link = make("a");
    link.href = `${window.webuiRoot}/internal/gallery/zip/${ticket}`;
    link.download = "pictures.zip";
    link.click();
  });

  const copyInfotext = (image) => tryTo(async () => {
    await copyText((await fetchFacts(image)).infotext);
    toast("The infotext is copied.");
  });

  // Fills a generation tab with the picture and what it was made with.
  const send = (image, prefix) => tryTo(async () => {
    const schema = (await schemas)[prefix];
    const upload = schema.picture ? await call("uploads/gallery", {image: image.id}) : null;
    const {infotext} = schema.generates ? await fetchFacts(image) : {};
    const controls = Object.keys(schema.fields).filter((name) => schema.fields[name].override);
    const filled = infotext ? await call("infotext", {task: schema.task, text: infotext, controls}) : {values: {}, chips: []};
    lightbox?.close();
    sendTo(prefix, {...filled.values, chips: filled.chips, ...(upload ? {[schema.picture]: upload} : {})});
  });

  const actions = {
    compare: () => tryTo(() => compare(...chosen.values())),
    favourite: () => favourite([...chosen.values()]),
    zip: () => zip([...chosen.values()]),
    trash: () => trash([...chosen.values()]),
    restore: () => restore([...chosen.values()]),
    erase: () => erase([...chosen.values()]),
    "empty-trash": () => erase(null),
    clear: clearChoice,
    renew,
  };

  // One picture, large

  function tools(i) {
    const image = list.items[i];
    const link = make("a", "button", "Download");
    Object.assign(link, {href: downloadAddress(image), download: image.name});
    const away = switches.trashed ? button("Restore", "Back to its folder", () => restore([image]))
      : button("Trash", image.readonly ? "Only files of the outputs folder can be moved" : "Move to the trash (Del)", () => trash([image]));
    away.disabled = image.readonly;
    const star = button(image.favourite ? "★" : "☆", image.favourite ? "No favourite any more (F)" : "Make it a favourite (F)",
      () => favourite([image]));
    return [
      ...targets.map(([prefix, {title, picture, generates}]) => button(`→ ${title}`, `Use ${[generates && "its parameters", picture && "the picture"].filter(Boolean).join(" and ")} in ${title}`,
        () => send(image, prefix))),
      button("Copy infotext", "Copy the text that tells how it was made", () => copyInfotext(image)), link, star, away,
    ];
  }

  function onPictureKey(event, i) {
    if (event.key === "Delete" && !list.items[i].readonly && !switches.trashed) trash([list.items[i]]);
    if (event.key.toLowerCase() === "f") favourite([list.items[i]]);
  }

  function show(i) {
    if (!list.items[i]) return;
    lightbox = openLightbox({
      index: i,
      count: () => list.items.length,
      total: () => list.total,
      picture: (n) => {
        const image = list.items[n];
        return {src: fileAddress(image), placeholder: thumbnailAddress(image), alt: image.prompt || image.name, title: image.name};
      },
      tools,
      details: (n) => details(list.items[n], () => {}),
      onKey: onPictureKey,
      onShow: (n) => { list.need(n + 20); },
      onClose: (n) => {
        panel.append(toastBox);
        lightbox = null;
        moveFocus(n);
      },
    });
  }

  // Events

  function moveFocus(i) {
    focus = Math.max(0, Math.min(list.total - 1, i));
    grid.reveal(focus)?.querySelector(".pic-open")?.focus({preventScroll: true});
  }

  function onGridKey(event) {
    const cell = event.target.closest(".pic-cell");
    if (!cell || event.ctrlKey && event.key !== "a" || event.altKey) return;
    const i = Number(cell.dataset.index), row = grid.columns, image = list.items[i];
    const picked = chosen.size ? [...chosen.values()] : [image];
    const moves = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, PageUp: -4 * row, PageDown: 4 * row, Home: -i, End: list.total};
    const keys = {
      " ": () => choose(i, event.shiftKey), f: () => favourite(picked), Escape: clearChoice,
      Delete: () => (switches.trashed ? restore(picked) : trash(picked)),
    };
    if (event.ctrlKey) {
      for (const one of list.items) chosen.set(one.id, one);
      grid.redraw();
      showActions();
    } else if (event.key in moves) moveFocus(i + moves[event.key]);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  }

  function onGridClick(event) {
    const cell = event.target.closest(".pic-cell");
    if (!cell) return;
    const i = Number(cell.dataset.index);
    focus = i;
    if (event.target.closest(".pic-check") || event.ctrlKey || event.metaKey || event.shiftKey) choose(i, event.shiftKey);
    else if (event.target.closest(".pic-open")) show(i);
  }

  viewport.addEventListener("click", onGridClick);
  viewport.addEventListener("keydown", onGridKey);
  onLongPress(viewport, (target) => {
    const cell = target.closest(".pic-cell");
    if (cell) choose(Number(cell.dataset.index), false);
  });
  panel.addEventListener("input", (event) => {
    if (event.target.closest("[data-filter]")) searchSoon();
    if (event.target.closest(".pic-side")) {
      localStorage.setItem("webui-gallery-side", event.target.value);
      grid.setSide(Number(event.target.value));
    }
  });
  panel.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.switch) flip(button);
    if (button?.dataset.act) actions[button.dataset.act]();
  });
  const side = Number(localStorage.getItem("webui-gallery-side")) || 160;
  part("side").value = side;
  grid.setSide(side);
  new IntersectionObserver(() => { grid.redraw(); poll(); }).observe(panel);  // the tab is opened
  document.addEventListener("webui-server-back", () => { showRemark(""); renew(); });
  const timer = setInterval(() => element.isConnected ? poll() : clearInterval(timer), POLL_MS);
}

// The picture area: the finished pictures, the preview and the progress of a running job, and what to do before the first.
import {button, make} from "../core.js";
import {openLightbox} from "../lightbox.js";
import {buildStrip} from "./strip.js";

const MAX_TILES = 4;  // so many pictures are shown side by side, more one at a time

// Words on a running job.
export function describe(status) {
  if (!status.step) return status.phase;
  const parts = [`${status.phase}: step ${status.step} of ${status.steps}`];
  const speed = status.steps_per_second;
  if (speed) parts.push(speed >= 1 ? `${speed.toFixed(1)} it/s` : `${(1 / speed).toFixed(1)} s/it`);
  if (status.eta_s !== null) parts.push(`${Math.ceil(status.eta_s)} s left`);
  if (status.image_count > 1) parts.push(`${status.images} of ${status.image_count} pictures`);
  return parts.join(" · ");
}

// Makes an element's picture as large as it is, or as its box allows.
function setSize(element, [width, height]) {
  element.classList.toggle("sized", Boolean(width && height));
  element.style.setProperty("--w", width);
  element.style.setProperty("--h", height);
}

// options: {empty, onSelect(), tools(shot), details(shot)}. A shot is {kind: "image", "grid" or "depth map", src,
// thumbnail, alt, title, size, image}. Returns the view; see the functions at its end.
export function buildView(options) {
  const root = make("div", "output-box"), stage = make("div", "output-stage");
  const content = make("div", "output-content"), live = make("div", "output-live"), preview = make("img", "output-preview");
  preview.alt = "Preview of the running picture";
  live.append(preview);
  live.hidden = preview.hidden = true;
  const progress = make("div", "output-progress"), bar = make("div", "output-bar"), done = make("div", "output-done");
  const words = make("p", "output-words"), announcer = make("p", "unseen");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", "Progress of the job");
  announcer.setAttribute("role", "status");
  bar.append(done);
  progress.append(bar, words);
  progress.hidden = true;
  stage.append(content, live, progress, announcer);
  const strip = buildStrip({onSelect: (index) => select(index), onTiles: showTiles, onChoose: options.onSelect});
  root.append(stage, strip.root);
  let table = null;  // a script's cells; it replaces the tiles of another job
  // `isFresh`: the shots are those of the running job, not of the one before.
  let shots = [], index = 0, isTiled = false, isPinned = false, isRunning = false, isFresh = false, imageCount = 0, showCount = 0;

  const images = () => shots.filter((shot) => shot.kind === "image");
  const tileCount = () => isRunning && isFresh ? Math.max(imageCount, images().length) : images().length;
  const canTile = () => table !== null || tileCount() > 1 && tileCount() <= MAX_TILES;

  function picture(shot) {
    const image = make("img");
    Object.assign(image, {src: shot.src, alt: shot.alt, decoding: "sync"});
    setSize(image, shot.size);
    return image;
  }

  function opener(shot, className) {
    const element = button("", `Show ${shot.title} over the whole page`, () => enlarge(shots.indexOf(shot)));
    element.className = className;
    element.append(picture(shot));
    return element;
  }

  function draw() {
    if (table && isTiled) {
      if (content.firstChild !== table) content.replaceChildren(table);  // it keeps where it is scrolled to
    } else if (!shots.length) content.replaceChildren(...(isRunning ? [] : [options.empty]));
    else if (isTiled) {
      const tiles = make("div", "output-tiles");
      tiles.append(...images().map((shot) => {
        const tile = opener(shot, "output-tile");
        tile.classList.toggle("current", shot === shots[index]);
        tile.addEventListener("focus", () => mark(shots.indexOf(shot)));
        return tile;
      }));
      while (tiles.children.length < tileCount()) tiles.append(make("div", "output-tile waiting"));
      content.replaceChildren(tiles);
    } else content.replaceChildren(opener(shots[index], "output-one"));
    placePreview();
    drawStrip();
  }

  // The preview is in the next tile, or covers everything.
  function placePreview() {
    const box = isTiled && isFresh ? content.querySelector(".waiting") : live;
    if (box && preview.parentElement !== box) box.append(preview);
    live.hidden = preview.hidden || isPinned || box !== live;
  }

  function drawStrip() {
    strip.draw(shots, isTiled ? -1 : index, canTile(), table !== null || imageCount > 1);
  }

  // Makes a shot the chosen one, without showing it alone.
  function mark(next) {
    index = next;
    content.querySelectorAll(".output-tile").forEach((tile, i) =>
      tile.classList.toggle("current", images()[i] === shots[index]));
    options.onSelect();
  }

  function select(next) {
    index = Math.max(0, Math.min(shots.length - 1, next));
    isTiled = false;
    isPinned = true;
    draw();
    options.onSelect();
  }

  function showTiles() {
    isTiled = true;
    isPinned = false;
    index = Math.max(0, shots.findIndex((shot) => shot.kind === "image"));
    draw();
    options.onSelect();
  }

  function enlarge(first) {
    openLightbox({
      index: first,
      count: () => shots.length,
      total: () => Math.max(shots.length, imageCount),
      picture: (i) => ({src: shots[i].src, alt: shots[i].alt, title: shots[i].title}),
      tools: (i) => options.tools(shots[i]),
      details: (i) => options.details(shots[i]),
      onClose: (last) => {
        if (isTiled && shots[last]?.kind === "image") mark(last);
        else select(last);
        const current = isTiled ? images().indexOf(shots[index]) : 0;
        content.querySelectorAll("button")[current]?.focus();
      },
    });
  }

  root.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || shots.length < 2 || event.target.type === "checkbox") return;
    event.preventDefault();
    if (!isTiled) {
      const wasInStrip = strip.root.contains(document.activeElement);
      select(index + step);
      (wasInStrip ? strip.current() : content.querySelector("button"))?.focus();
    } else {
      const tiles = [...content.querySelectorAll("button")];
      tiles[tiles.indexOf(document.activeElement) + step]?.focus();
    }
  });

  // Shows the finished shots of a job, the latest one if it still runs.
  async function show(next, isLive) {
    const turn = showCount += 1, wasEmpty = !shots.length;
    const newest = next[next.length - 1];
    if (newest) {  // the picture before stays until this one is there
      const image = new Image();
      image.src = newest.src;
      await image.decode().catch(() => null);
      if (turn !== showCount) return;  // later ones have come meanwhile
    }
    shots = next;
    isRunning = isFresh = isLive;
    if (!isPinned || wasEmpty || index >= shots.length) {
      isPinned = false;
      isTiled = canTile();
      index = isTiled ? Math.max(0, shots.findIndex((shot) => shot.kind === "image")) : isLive ? shots.length - 1 : 0;
    }
    preview.hidden = true;
    draw();
    options.onSelect();
  }

  // Shows a table of all pictures of a job in place of those of the job before; null takes it away.
  function setTable(element, isLive = false) {
    if (element === table) return;
    table = element;
    if (element) {
      shots = [];
      index = 0;
      isPinned = false;
      isRunning = isFresh = isLive;
    }
    isTiled = element !== null;
    draw();
    options.onSelect();
  }

  // Shows at once that a job begins: its pictures take the place of those before with the first one.
  function begin(text) {
    isRunning = true;
    isFresh = isPinned = false;
    imageCount = 0;
    preview.hidden = true;
    placePreview();
    progress.hidden = false;
    root.classList.add("busy");
    done.style.width = "0";
    bar.removeAttribute("aria-valuenow");
    words.textContent = announcer.textContent = text;
    if (!shots.length) draw();
  }

  function advance(status, size) {
    const percent = Math.round(status.fraction * 100);
    progress.hidden = false;
    root.classList.add("busy");
    root.classList.remove("lost");
    done.style.width = `${percent}%`;
    bar.setAttribute("aria-valuenow", percent);
    words.textContent = describe(status);
    if (announcer.textContent !== status.phase) announcer.textContent = status.phase;
    if (imageCount !== status.image_count) {
      imageCount = status.image_count;
      drawStrip();
    }
    if (status.preview) {
      setSize(preview, size);
      const address = `${window.webuiRoot}/internal/jobs/${status.id}/preview?n=${status.preview}`;
      if (preview.getAttribute("src") !== address) {  // that of the picture before is no preview of this one
        preview.src = address;
        preview.hidden = false;
      }
      placePreview();
    }
  }

  // Says what keeps a job waiting, without a bar that pretends to know.
  function say(text, isLost = false) {
    words.textContent = announcer.textContent = text;
    root.classList.toggle("lost", isLost);
  }

  function end() {
    isRunning = isFresh = false;
    progress.hidden = live.hidden = preview.hidden = true;
    preview.removeAttribute("src");
    root.classList.remove("busy", "lost");
    if (!shots.length) draw();
  }

  function clear() {
    shots = [];
    index = 0;
    isTiled = isPinned = false;
    draw();
    options.onSelect();
  }

  draw();
  return {
    root, begin, advance, say, show, setTable, end, clear,
    announce: (text) => { announcer.textContent = text; },
    shot: () => shots[index] ?? null,
    shots: () => shots,
    chosen: () => strip.chosen(),
  };
}

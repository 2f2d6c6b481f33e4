// Brush strokes over a picture, for masks and sketches. Strokes are paths in the picture's own pixels, shown at any
// zoom; the server paints them at full size (images/strokes.py).
import {make} from "../core.js";
import {paintTools, showShare} from "./paint_tools.js";
import {PictureView} from "./picture_view.js";

const BRUSH = {most: 200, start: 32};  // page pixels across
const BRUSH_STEP = 1.2;
const KEY_STEP = 8;  // page pixels that an arrow key moves the brush
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

const rounded = (value) => Math.round(value * 10) / 10;

export class PaintBoard {
  // `onChange` is called when what is painted changes, `onRemove` when the picture is to go.
  constructor(id, {label, onChange, onRemove}) {
    this.onChange = onChange;
    this.onRemove = onRemove;
    this.root = make("div", "paint-board");
    this.root.id = `${id}_board`;
    this.tools = paintTools(id, BRUSH, (name) => this[name]());
    this.view = new PictureView(label);
    this.words = make("p", "paint-words");
    this.root.append(this.tools.root, this.view.root, this.words);
    this.hasColour = false;
    this.picture = null;  // {id, width, height}
    this.reset("");
    this.#listen();
    this.show(null);
  }

  #listen() {
    const area = this.view.root;
    const on = (name, handler) => area.addEventListener(name, handler.bind(this));
    on("pointerdown", this.onPointerDown);
    on("pointermove", this.onPointerMove);
    on("pointerup", this.onPointerUp);
    on("pointercancel", this.onPointerUp);
    on("pointerleave", () => this.view.showCursor(null));
    on("blur", () => {
      this.#lift();
      this.view.showCursor(null);
    });
    area.addEventListener("wheel", (event) => this.onWheel(event), {passive: false});
    on("contextmenu", (event) => event.preventDefault());
    this.root.addEventListener("keydown", (event) => this.onKeyDown(event));
    document.addEventListener("fullscreenchange", () => this.view.fit());
  }

  // The picture and what is painted on it

  reset(pictureId) {
    Object.assign(this, {pictureId, text: "", strokes: [], past: [], future: [], stroke: null, pointers: new Map()});
  }

  // Shows a picture: {id, width, height}, or none. What was painted on another one goes.
  show(picture) {
    this.picture = picture;
    this.root.hidden = !picture;
    if ((picture?.id ?? "") !== this.pictureId) {
      this.reset(picture?.id ?? "");
      this.#showChange();
    }
    if (!picture) return this.view.show(null);
    this.words.textContent = "";
    this.view.show(`${window.webuiRoot}/internal/uploads/${picture.id}/image`)
      .catch(() => { this.words.textContent = "This browser cannot show the picture, so it cannot be painted on."; });
  }

  // Takes strokes that `text` returned before, such as after a reload; they are shown with their picture.
  load(text) {
    let kept = {};
    try {
      kept = JSON.parse(text || "{}");
    } catch {
      // not ours
    }
    const ours = kept.picture && kept.picture === (this.picture?.id ?? kept.picture);
    this.reset(this.picture?.id ?? kept.picture ?? "");
    if (ours && Array.isArray(kept.strokes)) Object.assign(this, {strokes: kept.strokes, text});
    this.#showChange();
  }

  #change(strokes) {
    this.past.push(this.strokes);
    this.future = [];
    this.#set(strokes);
  }

  #set(strokes) {
    this.strokes = strokes;
    const {width, height} = this.view.size;
    this.text = strokes.length ? JSON.stringify({picture: this.pictureId, size: [width, height], strokes}) : "";
    this.#showChange();
    this.onChange();
  }

  #showChange() {
    const {undo, redo, clear} = this.tools.buttons;
    undo.disabled = !this.past.length;
    redo.disabled = !this.future.length;
    clear.disabled = !this.strokes.length;
    this.root.dataset.strokes = this.strokes.length;
    this.view.setStrokes(this.strokes);
  }

  // How it looks

  // A sketch shows its colours; a mask is hatched. `opacity` is that of what is painted.
  setLook({hasColour, opacity, isPaintable = true}) {
    this.hasColour = hasColour;
    this.tools.colour.hidden = !hasColour;
    for (const element of [this.tools.brush, ...["eraser", "undo", "redo", "clear"].map((name) => this.tools.buttons[name])]) {
      element.hidden = !isPaintable;
    }
    this.tools.colour.hidden ||= !isPaintable;
    this.isPaintable = isPaintable;
    this.view.setLook({hasColour, opacity: isPaintable ? opacity : 0});
  }

  // The tools

  undo() {
    if (!this.past.length) return;
    this.future.push(this.strokes);
    this.#set(this.past.pop());
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.strokes);
    this.#set(this.future.pop());
  }

  clear() { if (this.strokes.length) this.#change([]); }

  eraser() { this.#toggle("eraser"); }

  move() { this.#toggle("move"); }

  larger() { this.view.zoomAtCentre(1.5); }

  smaller() { this.view.zoomAtCentre(1 / 1.5); }

  fit() { this.view.fit(); }

  remove() {
    if (document.fullscreenElement === this.root) document.exitFullscreen();
    this.onRemove();
  }

  fullscreen() {
    if (document.fullscreenElement === this.root) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch(() => { this.words.textContent = "This browser has no full screen here."; });
  }

  #toggle(name) {
    const {buttons} = this.tools;
    buttons[name].setAttribute("aria-pressed", String(!this.isPressed(name)));
    this.view.root.classList.toggle("moves", this.isPressed("move"));
  }

  isPressed(name) { return this.tools.buttons[name].getAttribute("aria-pressed") === "true"; }

  resizeBrush(factor) {
    const {brush} = this.tools;
    const size = Number(brush.value) * factor;
    brush.value = factor > 1 ? Math.ceil(size) : Math.floor(size);
    showShare(brush);
    this.view.showCursor(this.cursor, this.radius);
  }

  get radius() { return this.tools.brush.value / 2; }

  // Painting: mouse, pen and touch. One pointer paints, two zoom and move.

  #begin(event) {
    const stroke = {radius: Math.max(0.5, rounded(this.radius / this.view.zoom)), points: []};
    if (this.isPressed("eraser")) stroke.erase = true;
    else if (this.hasColour) stroke.colour = this.tools.colour.value;
    this.stroke = stroke;
    this.#extend(event);
  }

  #extend(event) {
    const p = this.stroke.points;
    const [x, y] = this.view.toPicture(event.offsetX, event.offsetY).map(rounded);
    const gap = Math.hypot(x - p[p.length - 2], y - p[p.length - 1]);
    if (gap < Math.max(1, this.stroke.radius / 8)) return;
    p.push(x, y);
    this.view.drawStroke(this.stroke, Math.max(0, p.length - 4));
  }

  onPointerDown(event) {
    if (!this.view.isShown) return;
    this.view.root.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (this.pointers.size > 1) {
      this.stroke = null;
      this.view.repaint();
    } else if (event.button === 0 && this.isPaintable && !this.isPressed("move")) {
      this.#begin(event);
    }
  }

  onPointerMove(event) {
    if (!this.view.isShown) return;
    const before = this.pointers.get(event.pointerId);
    const now = [event.offsetX, event.offsetY];
    const paints = event.pointerType !== "touch" && this.isPaintable && !this.isPressed("move");
    this.cursor = paints ? now : null;
    this.view.showCursor(this.cursor, this.radius);
    if (before && this.stroke) {
      const coalesced = event.getCoalescedEvents?.() ?? [];
      for (const part of coalesced.length ? coalesced : [event]) this.#extend(part);
    } else if (before && this.pointers.size === 1) {
      this.view.pan(now[0] - before[0], now[1] - before[1]);
    } else if (before) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const spread = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
      this.view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.view.zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, spread(now) / Math.max(1, spread(before)));
    }
    if (before) this.pointers.set(event.pointerId, now);
  }

  onPointerUp(event) {
    this.pointers.delete(event.pointerId);
    this.#lift();
  }

  onWheel(event) {
    if (!this.view.isShown) return;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      return this.resizeBrush(event.deltaY < 0 ? BRUSH_STEP : 1 / BRUSH_STEP);
    }
    if (event.deltaY > 0 && this.view.isWhole) return;  // lets the page scroll
    event.preventDefault();
    this.view.zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY / 400));
  }

  // Painting by keys: arrows move the brush, Space sets it down and lifts it, Enter paints a dot.
  #paintByKey(event) {
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    const isOurs = dx || dy || event.key === " " || event.key === "Enter";
    if (!isOurs || event.target !== this.view.root || !this.view.isShown || !this.isPaintable) return false;
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const {clientWidth, clientHeight} = this.view.root;
    const step = event.shiftKey ? 1 : KEY_STEP, [x, y] = this.brushAt ?? [clientWidth / 2, clientHeight / 2];
    const at = [Math.max(0, Math.min(clientWidth, x + step * dx)), Math.max(0, Math.min(clientHeight, y + step * dy))];
    this.brushAt = at;
    this.view.showCursor(at, this.radius);
    const place = {offsetX: at[0], offsetY: at[1]};
    if (dx || dy) {
      if (this.stroke) this.#extend(place);
    } else if (this.stroke) this.#lift();
    else {
      this.#begin(place);
      if (event.key === "Enter") this.#lift();
    }
    event.preventDefault();
    return true;
  }

  #lift() {
    const {stroke} = this;
    this.stroke = null;
    if (stroke) this.#change([...this.strokes, stroke]);
  }

  onKeyDown(event) {
    if (this.#paintByKey(event)) return;
    const key = event.key.toLowerCase();
    const isCommand = event.ctrlKey || event.metaKey;
    const action = isCommand ? {z: event.shiftKey ? "redo" : "undo", y: "redo"}[key]
      : {e: "eraser", f: "fullscreen", 0: "fit"}[key];
    const factor = isCommand ? undefined : {"[": 1 / BRUSH_STEP, "]": BRUSH_STEP}[key];
    if (event.altKey || (!action && !factor)) return;
    event.preventDefault();
    if (action) this[action]();
    else this.resizeBrush(factor);
  }
}

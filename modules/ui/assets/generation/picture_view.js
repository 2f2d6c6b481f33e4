// A picture at any zoom with strokes over it: two canvases, so that painting never draws the picture again.
import {make} from "../core.js";

const MAX_ZOOM = 64;  // relative to the zoom that shows the whole picture
const MASK = "#ff7b00", MASK_STRIPE = "#1d1030";
const SMALL = 1400;  // pixels of the longer side of a copy for the whole picture at once
const LEAST_HEIGHT = 240, MOST_OF_WINDOW = 0.6;

// Stripes of two contrasting colours, so that a mask is seen on a picture of any colour.
function makeHatching(g, ratio) {
  const side = Math.round(10 * ratio);
  const tile = make("canvas");
  Object.assign(tile, {width: side, height: side});
  const t = tile.getContext("2d");
  t.fillStyle = MASK;
  t.fillRect(0, 0, side, side);
  t.strokeStyle = MASK_STRIPE;
  t.lineWidth = side / 5;
  for (const shift of [-side, 0, side]) {
    t.beginPath();
    t.moveTo(shift - 1, side + 1);
    t.lineTo(shift + side + 1, -1);
    t.stroke();
  }
  return g.createPattern(tile, "repeat");
}

export class PictureView {
  constructor(label) {
    this.root = make("div", "paint-view");
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "application");
    this.root.setAttribute("aria-label", label);
    this.base = make("canvas");    // the picture
    this.layer = make("canvas");   // the strokes
    this.cursor = make("div", "paint-cursor");
    this.cursor.hidden = true;
    this.root.append(this.base, this.layer, this.cursor);
    this.strokes = [];
    this.picture = null;
    this.small = null;  // the picture, or a small copy of a large one: drawing that one small takes long
    this.hasColour = false;
    new ResizeObserver(() => this.fit()).observe(this.root.parentElement ?? this.root);
  }

  get isShown() { return Boolean(this.picture); }

  get isWhole() { return this.zoom <= this.whole; }

  get size() { return {width: this.picture?.width ?? 0, height: this.picture?.height ?? 0}; }

  // Loads and shows the picture at an address; null shows none. It is decoded off the main thread.
  async show(url) {
    if (url === this.url) return;
    this.url = url;
    this.picture = null;
    if (!url) return;
    const blob = await (await fetch(url)).blob();
    const picture = await createImageBitmap(blob);
    const factor = SMALL / Math.max(picture.width, picture.height);
    const small = factor < 0.5 ? await createImageBitmap(blob, {
      resizeWidth: Math.ceil(picture.width * factor), resizeHeight: Math.ceil(picture.height * factor), resizeQuality: "high",
    }) : picture;
    if (url !== this.url) return;
    Object.assign(this, {picture, small});
    this.fit();
  }

  setStrokes(strokes) {
    this.strokes = strokes;
    this.repaint();
  }

  setLook({hasColour, opacity}) {
    this.hasColour = hasColour;
    this.layer.style.opacity = opacity;
    this.repaint();
  }

  // A ring of the brush's size in page pixels; null hides it.
  showCursor(at, radius = 0) {
    this.cursor.hidden = !at;
    if (!at) return;
    Object.assign(this.cursor.style, {
      width: `${2 * radius}px`, height: `${2 * radius}px`,
      transform: `translate(${at[0] - radius}px, ${at[1] - radius}px)`,
    });
  }

  // The view: picture pixels times zoom plus x, y are page pixels

  fit() {
    const {root, picture} = this;
    const width = root.clientWidth;
    if (!picture || !width) return;
    const {width: w, height: h} = this.size;
    const isFull = document.fullscreenElement?.contains(root);
    const most = isFull ? innerHeight - root.offsetTop - 8 : Math.max(LEAST_HEIGHT, innerHeight * MOST_OF_WINDOW);
    const height = Math.round(isFull ? most : Math.min(width * h / w, most));
    if (this.width !== width || this.height !== height) {
      this.ratio = window.devicePixelRatio || 1;
      for (const canvas of [this.base, this.layer]) {
        Object.assign(canvas, {width: Math.round(width * this.ratio), height: Math.round(height * this.ratio)});
      }
      root.style.height = `${height}px`;
      Object.assign(this, {width, height});
      this.hatching = makeHatching(this.layer.getContext("2d"), this.ratio);
    }
    this.whole = Math.min(width / w, height / h);
    this.zoom = this.whole;
    this.#centre();
    this.#move();
  }

  #centre() {
    this.x = (this.width - this.size.width * this.zoom) / 2;
    this.y = (this.height - this.size.height * this.zoom) / 2;
  }

  zoomAt(x, y, factor) {
    const zoom = Math.min(Math.max(this.zoom * factor, this.whole), this.whole * MAX_ZOOM);
    this.x = x - (x - this.x) * zoom / this.zoom;
    this.y = y - (y - this.y) * zoom / this.zoom;
    this.zoom = zoom;
    this.pan(0, 0);
  }

  zoomAtCentre(factor) { if (this.picture) this.zoomAt(this.width / 2, this.height / 2, factor); }

  pan(dx, dy) {
    // The picture's middle third never leaves the view.
    const {width: w, height: h} = this.size;
    const inside = (at, extent, size) => Math.min(Math.max(at, extent / 3 - size), extent * 2 / 3);
    this.x = inside(this.x + dx, this.width, w * this.zoom);
    this.y = inside(this.y + dy, this.height, h * this.zoom);
    if (this.isWhole) this.#centre();
    this.#move();
  }

  toPicture(x, y) { return [(x - this.x) / this.zoom, (y - this.y) / this.zoom]; }

  // Painting: at most once a frame, however many events come

  #move() {
    this.basePending = true;
    this.repaint();
  }

  repaint() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.picture || !this.width) return;
      if (this.basePending) this.#paintBase();
      this.#paintLayer();
    });
  }

  #paintBase() {
    this.basePending = false;
    const {ratio, zoom} = this;
    const {width: w, height: h} = this.size;
    const g = this.base.getContext("2d");
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, this.base.width, this.base.height);
    g.imageSmoothingEnabled = zoom < 4;
    const source = ratio * zoom * w > this.small.width ? this.picture : this.small;
    // Only what is in sight, in whole pixels of the picture, and where that is.
    const [left, top] = this.toPicture(0, 0).map((at) => Math.max(0, Math.floor(at)));
    const [right, bottom] = this.toPicture(this.width, this.height).map((at, axis) => Math.min([w, h][axis], Math.ceil(at)));
    const across = source.width / w, down = source.height / h;
    g.setTransform(ratio * zoom, 0, 0, ratio * zoom, ratio * this.x, ratio * this.y);
    g.drawImage(source, left * across, top * down, (right - left) * across, (bottom - top) * down, left, top, right - left, bottom - top);
  }

  #paintLayer() {
    const g = this.layer.getContext("2d");
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, this.layer.width, this.layer.height);
    for (const stroke of this.strokes) this.drawStroke(stroke);
  }

  // Draws a stroke from the number of a coordinate on.
  drawStroke(stroke, from = 0) {
    if (!this.picture || !this.width) return;
    const {ratio, zoom, hatching} = this;
    const g = this.layer.getContext("2d");
    g.save();
    g.setTransform(ratio * zoom, 0, 0, ratio * zoom, ratio * this.x, ratio * this.y);
    g.beginPath();
    g.rect(0, 0, this.size.width, this.size.height);
    g.clip();
    hatching.setTransform(g.getTransform().inverse());  // stripes of one width at any zoom
    g.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    const style = this.hasColour && stroke.colour ? stroke.colour : hatching;
    Object.assign(g, {strokeStyle: style, lineWidth: 2 * stroke.radius, lineCap: "round", lineJoin: "round"});
    g.beginPath();
    const p = stroke.points;
    g.moveTo(p[from], p[from + 1]);
    for (let i = Math.min(from + 2, p.length - 2); i < p.length; i += 2) g.lineTo(p[i], p[i + 1]);
    g.stroke();
    g.restore();
  }
}

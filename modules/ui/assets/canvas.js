// Brush strokes over an image, for masks and sketches. Strokes are paths in the image's own pixels, displayed at any
// zoom; the server paints them at full size. Gradio's image box takes the uploads; a board covers it while it holds
// an image.
window.webuiCanvas = (() => {
  const MASK = "#ff7b00";
  const MASK_OPACITY = 0.6;
  const MAX_ZOOM = 64;  // relative to the zoom that shows the whole image
  const TOOLS = `
    <div class="tools">
      <label class="brush">Brush <input type="range" min="2" max="160" value="32"></label>
      <input type="color" value="#e02020" title="Colour of the brush" aria-label="Colour of the brush">
      <button data-do="eraser" title="Erase strokes">Eraser</button>
      <button data-do="undo" title="Ctrl+Z">Undo</button>
      <button data-do="redo" title="Ctrl+Shift+Z">Redo</button>
      <button data-do="clear" title="Remove all strokes">Clear</button>
      <button data-do="smaller" title="Zoom out (also: mouse wheel)">−</button>
      <button data-do="larger" title="Zoom in (also: mouse wheel)">+</button>
      <button data-do="fit" title="Show the whole picture">Fit</button>
      <button data-do="move" title="Drag the picture (also: right mouse button)">Move</button>
      <button data-do="remove" title="Remove the picture">Remove</button>
    </div>
    <canvas tabindex="0" aria-label="The picture to paint on"></canvas>
    <p class="size"></p>`;

  const byId = (id) => document.getElementById(id);
  const rounded = (value) => Math.round(value * 10) / 10;

  class Board {
    constructor(root) {
      this.root = root;
      this.id = root.dataset.for;
      this.source = byId(this.id);
      root.innerHTML = TOOLS;
      root.dataset.kind === "mask" && root.querySelector("[type=color]").remove();
      this.canvas = root.querySelector("canvas");
      this.layer = document.createElement("canvas");  // the strokes as displayed
      this.reset();
      root.querySelector(".tools").addEventListener("click", (event) => {
        const name = event.target.dataset.do;
        if (name) this[name]();
      });
      const on = (name, handler) => this.canvas.addEventListener(name, handler.bind(this));
      on("pointerdown", this.onPointerDown);
      on("pointermove", this.onPointerMove);
      on("pointerup", this.onPointerUp);
      on("pointercancel", this.onPointerUp);
      on("pointerleave", this.onPointerLeave);
      on("wheel", this.onWheel);
      on("contextmenu", (event) => event.preventDefault());
      root.addEventListener("keydown", (event) => this.onKeyDown(event));
      root.addEventListener("dragover", (event) => event.preventDefault());
      root.addEventListener("drop", (event) => this.onDrop(event));
      new ResizeObserver(() => this.fit()).observe(root);
      new MutationObserver(() => this.onImageChange())
        .observe(this.source, {childList: true, subtree: true, attributes: true, attributeFilter: ["src"]});
      this.onImageChange();
    }

    // The image

    reset() {
      Object.assign(this, {picture: null, strokes: [], past: [], future: [], stroke: null, pointers: new Map()});
    }

    onImageChange() {
      const url = this.source.querySelector("img")?.src ?? "";
      if (url === this.url) return;
      this.url = url;
      this.reset();
      this.source.classList.toggle("on-board", Boolean(url));
      this.root.hidden = !url;
      if (!url) return this.updateForm();
      const picture = new Image();
      picture.onload = () => url === this.url && this.show(picture);
      picture.onerror = () => url === this.url && this.showText("This browser cannot show the picture, so it cannot be painted on.");
      picture.src = url;
    }

    show(picture) {
      this.picture = picture;
      this.showText(`${picture.naturalWidth} × ${picture.naturalHeight}`);
      this.strokes = this.storedStrokes();
      this.fit();
      this.updateForm();
    }

    showText(text) { this.root.querySelector(".size").textContent = text; }

    remove() {
      localStorage.removeItem(this.key);
      this.source.querySelector("button[aria-label='Remove Image']")?.click();
    }

    async upload(file) {
      const input = () => this.source.querySelector("input[type=file]");
      if (!input()) this.remove();
      for (let tries = 0; !input() && tries < 100; tries++) await new Promise(requestAnimationFrame);
      const files = new DataTransfer();
      files.items.add(file);
      input().files = files.files;
      input().dispatchEvent(new Event("change", {bubbles: true}));
    }

    onDrop(event) {
      event.preventDefault();
      const file = [...event.dataTransfer.files].find((file) => file.type.startsWith("image/"));
      if (file) this.upload(file);
    }

    // The strokes: their value in the form, and their copy in the browser for a reload

    get key() { return `webui-strokes-${this.id}`; }

    get path() { return new URL(this.url).pathname; }

    storedStrokes() {
      try {
        const stored = JSON.parse(localStorage.getItem(this.key));
        return stored?.picture === this.path ? stored.strokes : [];
      } catch {
        return [];
      }
    }

    updateForm() {
      const box = byId(`${this.id}_strokes`)?.querySelector("textarea, input");
      if (!box) return requestAnimationFrame(() => this.updateForm());
      const {picture, strokes} = this;
      const size = picture && [picture.naturalWidth, picture.naturalHeight];
      box.value = strokes.length ? JSON.stringify({size, strokes}) : "";
      box.dispatchEvent(new Event("input", {bubbles: true}));
      for (const [name, list] of [["undo", this.past], ["redo", this.future], ["clear", strokes]]) {
        this.root.querySelector(`[data-do=${name}]`).disabled = !list.length;
      }
      this.root.dataset.strokes = strokes.length;
    }

    change(strokes) {
      this.past.push(this.strokes);
      this.future = [];
      this.set(strokes);
    }

    set(strokes) {
      this.strokes = strokes;
      this.updateForm();
      this.paint();
      try {
        localStorage.setItem(this.key, JSON.stringify({picture: this.path, strokes}));
      } catch {
        this.showText("The browser's storage is full: these strokes will not survive a reload.");
      }
    }

    undo() {
      if (!this.past.length) return;
      this.future.push(this.strokes);
      this.set(this.past.pop());
    }

    redo() {
      if (!this.future.length) return;
      this.past.push(this.strokes);
      this.set(this.future.pop());
    }

    clear() { if (this.strokes.length) this.change([]); }

    toggle(name) {
      const button = this.root.querySelector(`[data-do=${name}]`);
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    }

    eraser() { this.toggle("eraser"); }

    move() { this.toggle("move"); }

    isPressed(name) { return this.root.querySelector(`[data-do=${name}]`).getAttribute("aria-pressed") === "true"; }

    // The view: image pixels times zoom plus x, y are page pixels

    fit() {
      const {root, canvas, picture} = this;
      const width = root.clientWidth;
      if (!picture || !width) return;
      const {naturalWidth: w, naturalHeight: h} = picture;
      const height = Math.min(width * h / w, Math.max(240, innerHeight * 0.6));
      if (this.width !== width || this.height !== height) {
        const ratio = window.devicePixelRatio || 1;
        for (const target of [canvas, this.layer]) Object.assign(target, {width: width * ratio, height: height * ratio});
        canvas.style.height = `${height}px`;
        Object.assign(this, {width, height, ratio});
      }
      this.whole = Math.min(width / w, height / h);
      this.zoom = this.whole;
      this.x = (width - w * this.zoom) / 2;
      this.y = (height - h * this.zoom) / 2;
      this.paint();
    }

    zoomAt(x, y, factor) {
      const zoom = Math.min(Math.max(this.zoom * factor, this.whole), this.whole * MAX_ZOOM);
      this.x = x - (x - this.x) * zoom / this.zoom;
      this.y = y - (y - this.y) * zoom / this.zoom;
      this.zoom = zoom;
      this.pan(0, 0);
    }

    pan(dx, dy) {
      // The image's middle third never leaves the view.
      const {naturalWidth: w, naturalHeight: h} = this.picture;
      const inside = (at, extent, size) => Math.min(Math.max(at, extent / 3 - size), extent * 2 / 3);
      this.x = inside(this.x + dx, this.width, w * this.zoom);
      this.y = inside(this.y + dy, this.height, h * this.zoom);
      if (this.zoom === this.whole) {
        this.x = (this.width - w * this.zoom) / 2;
        this.y = (this.height - h * this.zoom) / 2;
      }
      this.paint();
    }

    larger() { this.zoomAt(this.width / 2, this.height / 2, 1.5); }

    smaller() { this.zoomAt(this.width / 2, this.height / 2, 1 / 1.5); }

    onWheel(event) {
      if (event.deltaY > 0 && this.zoom <= this.whole) return;  // lets the page scroll
      event.preventDefault();
      this.zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY / 400));
    }

    // Painting

    paint() {
      if (!this.picture || !this.width) return;
      const g = this.layer.getContext("2d");
      g.setTransform(1, 0, 0, 1, 0, 0);
      g.clearRect(0, 0, this.layer.width, this.layer.height);
      for (const stroke of this.strokes) this.draw(stroke, 0);
      this.compose();
    }

    draw(stroke, from) {
      const {ratio, zoom, picture} = this;
      const g = this.layer.getContext("2d");
      g.save();
      g.setTransform(ratio * zoom, 0, 0, ratio * zoom, ratio * this.x, ratio * this.y);
      g.beginPath();
      g.rect(0, 0, picture.naturalWidth, picture.naturalHeight);
      g.clip();
      g.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
      Object.assign(g, {strokeStyle: stroke.colour ?? MASK, lineWidth: 2 * stroke.radius, lineCap: "round", lineJoin: "round"});
      g.beginPath();
      const p = stroke.points;
      g.moveTo(p[from], p[from + 1]);
      for (let i = Math.min(from + 2, p.length - 2); i < p.length; i += 2) g.lineTo(p[i], p[i + 1]);
      g.stroke();
      g.restore();
    }

    compose() {
      const {canvas, ratio, zoom, picture} = this;
      const g = canvas.getContext("2d");
      g.setTransform(1, 0, 0, 1, 0, 0);
      g.clearRect(0, 0, canvas.width, canvas.height);
      g.imageSmoothingEnabled = zoom < 4;
      g.drawImage(picture, ratio * this.x, ratio * this.y, ratio * zoom * picture.naturalWidth, ratio * zoom * picture.naturalHeight);
      g.globalAlpha = this.root.dataset.kind === "mask" ? MASK_OPACITY : 1;
      g.drawImage(this.layer, 0, 0);
      g.globalAlpha = 1;
      if (!this.cursor) return;
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      for (const [colour, dash] of [["#000", []], ["#fff", [4, 4]]]) {
        g.strokeStyle = colour;
        g.setLineDash(dash);
        g.beginPath();
        g.arc(...this.cursor, this.radius, 0, 2 * Math.PI);
        g.stroke();
      }
    }

    get radius() { return this.root.querySelector("[type=range]").value / 2; }

    begin(event) {
      const stroke = {radius: Math.max(0.5, rounded(this.radius / this.zoom)), points: []};
      const colour = this.root.querySelector("[type=color]")?.value;
      if (this.isPressed("eraser")) stroke.erase = true;
      else if (colour) stroke.colour = colour;
      this.stroke = stroke;
      this.extend(event);
    }

    extend(event) {
      const p = this.stroke.points;
      const x = rounded((event.offsetX - this.x) / this.zoom);
      const y = rounded((event.offsetY - this.y) / this.zoom);
      const gap = Math.hypot(x - p[p.length - 2], y - p[p.length - 1]);
      if (gap < Math.max(1, this.stroke.radius / 8)) return;
      p.push(x, y);
      this.draw(this.stroke, Math.max(0, p.length - 4));
    }

    // Mouse, pen and touch: one pointer paints, two zoom and move

    onPointerDown(event) {
      if (!this.picture) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      if (this.pointers.size > 1) {
        this.stroke = null;
        return this.paint();
      }
      if (event.button === 0 && !this.isPressed("move")) this.begin(event);
      this.compose();
    }

    onPointerMove(event) {
      if (!this.picture) return;
      const before = this.pointers.get(event.pointerId);
      const now = [event.offsetX, event.offsetY];
      this.cursor = event.pointerType === "touch" || this.isPressed("move") ? null : now;
      if (before && this.stroke) {
        const coalesced = event.getCoalescedEvents?.() ?? [];
        for (const part of coalesced.length ? coalesced : [event]) this.extend(part);
      } else if (before && this.pointers.size === 1) {
        this.pan(now[0] - before[0], now[1] - before[1]);
      } else if (before) {
        const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
        const spread = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
        this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
        this.zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, spread(now) / Math.max(1, spread(before)));
      }
      if (before) this.pointers.set(event.pointerId, now);
      this.compose();
    }

    onPointerUp(event) {
      this.pointers.delete(event.pointerId);
      const {stroke} = this;
      this.stroke = null;
      if (stroke) this.change([...this.strokes, stroke]);
    }

    onPointerLeave() {
      this.cursor = null;
      if (this.picture) this.compose();
    }

    onKeyDown(event) {
      const key = event.key.toLowerCase();
      if (!(event.ctrlKey || event.metaKey) || !["z", "y"].includes(key)) return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) this.redo();
      else this.undo();
    }
  }

  const boards = [];

  // An image from the clipboard goes to the visible board; text is still pasted into the focused box.
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
    const board = boards.find((board) => board.root.parentElement.offsetParent !== null);
    if (!file || !board) return;
    event.preventDefault();
    board.upload(file);
  });

  return {
    // Gradio mounts a tab when it is first opened.
    enter() {
      for (const root of document.querySelectorAll(".canvas:not([data-strokes])")) {
        if (!byId(root.dataset.for)) continue;
        root.dataset.strokes = 0;
        boards.push(new Board(root));
      }
    },
  };
})();

// A picture over the whole page: arrow keys, zoom, Esc. A tab opens it with a list of pictures and its own tools.
import {button, make} from "./core.js";

const MAX_SCALE = 16;
const SWIPE_PX = 60;

// Makes an <img> zoom by wheel, double click and two fingers, and move by dragging.
function makeZoom(stage, image, onSwipe) {
  const fingers = new Map();  // pointer id -> its last event
  let scale = 1, x = 0, y = 0, start = null;

  function draw() {
    if (scale <= 1) [scale, x, y] = [1, 0, 0];
    image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    stage.dataset.zoom = scale > 1 ? "in" : "fit";
  }

  // Zooms about a point of the window, which stays where it is.
  function zoom(factor, clientX, clientY) {
    const box = stage.getBoundingClientRect();
    const next = Math.min(MAX_SCALE, Math.max(1, scale * factor));
    const dx = clientX - box.left - box.width / 2, dy = clientY - box.top - box.height / 2;
    x = dx - (dx - x) * next / scale;
    y = dy - (dy - y) * next / scale;
    scale = next;
    draw();
  }

  function zoomInMiddle(factor) {
    const box = stage.getBoundingClientRect();
    zoom(factor, box.left + box.width / 2, box.top + box.height / 2);
  }

  const distance = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  }, {passive: false});
  stage.addEventListener("dblclick", (event) => {
    if (event.target.closest("button")) return;
    if (scale > 1) reset();
    else zoom(Math.max(2, image.naturalWidth / (image.clientWidth || 1)), event.clientX, event.clientY);
  });
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    start = event;
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const apart = fingers.size === 2 ? distance([...fingers.values()]) : 0;
    fingers.set(event.pointerId, event);
    if (apart) {
      zoom(distance([...fingers.values()]) / apart, event.clientX, event.clientY);
    } else if (scale > 1) {
      x += event.clientX - before.clientX;
      y += event.clientY - before.clientY;
      draw();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => {
      const moved = fingers.size === 1 && start && event.pointerType !== "mouse" ? event.clientX - start.clientX : 0;
      fingers.delete(event.pointerId);
      if (name === "pointerup" && scale === 1 && Math.abs(moved) > SWIPE_PX) onSwipe(moved < 0 ? 1 : -1);
      start = null;
    });
  }

  function reset() {
    scale = 1;
    draw();
  }

  return {reset, zoomIn: () => zoomInMiddle(1.5), zoomOut: () => zoomInMiddle(1 / 1.5)};
}

// Opens the dialog and returns {close, refresh, index}.
// options:
//   index: the picture to begin with
//   count(): how many there are now
//   total(): how many there will be; optional
//   picture(i): {src, placeholder, alt, title}
//   tools(i): elements for the bar; optional
//   details(i): an element for the side; optional
//   onKey(event, i): handles further keys; optional
//   onShow(i), onClose(i): optional
export function openLightbox(options) {
  const dialog = make("dialog", "lightbox");
  dialog.setAttribute("aria-label", "Picture");
  const bar = make("div", "lightbox-bar"), title = make("span", "lightbox-title"), tools = make("span", "lightbox-tools");
  const stage = make("div", "lightbox-stage"), image = make("img", "lightbox-image"), side = make("aside", "lightbox-side");
  image.draggable = false;
  side.setAttribute("aria-label", "About the picture");
  side.tabIndex = 0;
  const zoom = makeZoom(stage, image, (step) => show(index + step));
  const before = button("‹", "Previous picture (←)", () => show(index - 1));
  const next = button("›", "Next picture (→)", () => show(index + 1));
  before.classList.add("lightbox-before");
  next.classList.add("lightbox-next");
  let index = options.index;

  function show(wanted) {
    if (!options.count()) return dialog.close();
    index = Math.max(0, Math.min(options.count() - 1, wanted));
    const picture = options.picture(index);
    zoom.reset();
    image.alt = picture.alt;
    // The thumbnail until the file is there, unless another picture is shown by then.
    const full = new Image();
    image.src = picture.placeholder ?? picture.src;
    full.onload = () => { if (dialog.dataset.src === picture.src) image.src = picture.src; };
    full.onerror = () => { if (dialog.dataset.src === picture.src) title.textContent = `${picture.title}: the file is no longer there.`; };
    dialog.dataset.src = picture.src;
    full.src = picture.src;
    title.textContent = `${picture.title} · ${index + 1} of ${options.total?.() ?? options.count()}`;
    tools.replaceChildren(...(options.tools?.(index) ?? []));
    const details = options.details?.(index);
    side.replaceChildren(...(details ? [details] : []));
    side.hidden = !details;
    before.disabled = index === 0;
    next.disabled = index === options.count() - 1;
    options.onShow?.(index);
  }

  const keys = {
    ArrowLeft: () => show(index - 1), ArrowRight: () => show(index + 1),
    Home: () => show(0), End: () => show(options.count() - 1),
    "+": zoom.zoomIn, "=": zoom.zoomIn, "-": zoom.zoomOut, 0: zoom.reset,
  };
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    } else {
      options.onKey?.(event, index);
    }
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    options.onClose?.(index);
  });
  stage.append(image, before, next);
  bar.append(title, tools, button("−", "Zoom out (-)", zoom.zoomOut), button("+", "Zoom in (+)", zoom.zoomIn),
    button("✕", "Close (Esc)", () => dialog.close()));
  dialog.append(bar, stage, side);
  document.querySelector(".gradio-container").append(dialog);  // where the colours of the theme are
  dialog.showModal();
  stage.tabIndex = -1;
  stage.focus();
  show(index);
  return {close: () => dialog.close(), refresh: () => show(index), get index() { return index; }};
}

// A grid of any number of square cells, of which only those in sight are in the page.
import {make} from "./core.js";

const GAP = 6;
const ROWS_BEYOND = 3;  // above and below what is in sight

// options:
//   key(i): identifies what is at index i; its cell is kept as long as it is in sight
//   cell(i): makes the element
//   update(element, i): called whenever the grid is drawn
//   need(i): called with the last index in sight
export function makeGrid(viewport, options) {
  const canvas = make("div", "pic-canvas");
  viewport.prepend(canvas);
  const cells = new Map();  // key -> element
  let count = 0, side = 160, columns = 1, step = 0, isDue = false;

  function measure() {
    const width = canvas.clientWidth;
    if (!width) return false;
    columns = Math.max(2, Math.floor((width + GAP) / (side + GAP)));
    step = (width - GAP * (columns - 1)) / columns + GAP;
    canvas.style.height = `${Math.max(0, Math.ceil(count / columns) * step - GAP)}px`;
    return true;
  }

  function draw() {
    isDue = false;
    if (!measure()) return;
    const top = viewport.scrollTop - canvas.offsetTop;
    const first = Math.max(0, (Math.floor(top / step) - ROWS_BEYOND) * columns);
    const last = Math.min(count, (Math.ceil((top + viewport.clientHeight) / step) + ROWS_BEYOND) * columns);
    const seen = new Set();
    for (let i = first; i < last; i++) {
      const key = options.key(i);
      seen.add(key);
      let cell = cells.get(key);
      if (!cell) {
        cell = options.cell(i);
        cells.set(key, cell);
        canvas.append(cell);
      }
      cell.dataset.index = i;
      cell.style.width = cell.style.height = `${step - GAP}px`;
      cell.style.transform = `translate(${(i % columns) * step}px, ${Math.floor(i / columns) * step}px)`;
      options.update(cell, i);
    }
    for (const [key, cell] of cells) {
      if (seen.has(key)) continue;
      for (const image of cell.querySelectorAll("img")) image.removeAttribute("src");  // ends its request
      cell.remove();
      cells.delete(key);
    }
    if (last > first) options.need(last - 1);
  }

  function redraw() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(draw);
  }

  viewport.addEventListener("scroll", redraw, {passive: true});
  new ResizeObserver(redraw).observe(viewport);

  return {
    redraw,
    setCount(value) {
      count = value;
      redraw();
    },
    setSide(value) {
      side = value;
      redraw();
    },
    get columns() { return columns; },
    // Scrolls to a cell and returns its element.
    reveal(i) {
      const y = Math.floor(i / columns) * step + canvas.offsetTop;
      if (y < viewport.scrollTop) viewport.scrollTop = y;
      const end = y + step - viewport.clientHeight;
      if (end > viewport.scrollTop) viewport.scrollTop = end;
      draw();
      return canvas.querySelector(`[data-index="${i}"]`);
    },
  };
}

const LONG_MS = 500;
const STILL_PX = 10;

// Calls back with the element under a finger that rests on it; the click that follows is none.
export function onLongPress(area, action) {
  let timer = 0, start = null, wasLong = false;
  const end = () => clearTimeout(timer);
  area.addEventListener("pointerdown", (event) => {
    wasLong = false;
    end();
    if (event.pointerType !== "touch") return;
    start = event;
    timer = setTimeout(() => {
      wasLong = true;
      navigator.vibrate?.(20);
      action(event.target);
    }, LONG_MS);
  });
  area.addEventListener("pointermove", (event) => {
    if (start && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > STILL_PX) end();
  });
  for (const name of ["pointerup", "pointercancel", "scroll"]) area.addEventListener(name, end, true);
  area.addEventListener("contextmenu", (event) => { if (wasLong) event.preventDefault(); });
  area.addEventListener("click", (event) => {
    if (!wasLong) return;
    wasLong = false;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}

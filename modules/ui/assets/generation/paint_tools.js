// The row of tools above a picture that is painted on.
import {button, make} from "../core.js";

const SVG = "http://www.w3.org/2000/svg";
// Lines of each icon in a square of 24.
const TOOLS = [
  ["eraser", "Erase what was painted (E)", "M9 19 3 13 13 3l8 8-8 8z M7 9l8 8 M9 19h12"],
  ["undo", "Undo (Ctrl+Z)", "M8 4 3 9l5 5 M3 9h11a6 6 0 0 1 0 12h-4"],
  ["redo", "Redo (Ctrl+Y)", "M16 4l5 5-5 5 M21 9H10a6 6 0 0 0 0 12h4"],
  ["clear", "Remove all that was painted", "M4 7h16 M9 7V4h6v3 M6 7l1 13h10l1-13 M10 11v6 M14 11v6"],
  ["smaller", "Zoom out (mouse wheel)", "M15.5 15.5 21 21 M10 4a6 6 0 1 0 0 12a6 6 0 1 0 0-12 M7 10h6"],
  ["larger", "Zoom in (mouse wheel)", "M15.5 15.5 21 21 M10 4a6 6 0 1 0 0 12a6 6 0 1 0 0-12 M7 10h6 M10 7v6"],
  ["fit", "Show the whole picture (0)", "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5 M9 9h6v6H9z"],
  ["move", "Move the picture (right mouse button)", "M12 3v18 M3 12h18 M9 6l3-3 3 3 M9 18l3 3 3-3 M6 9l-3 3 3 3 M18 9l3 3-3 3"],
  ["fullscreen", "Full screen (F)", "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5"],
  ["remove", "Remove the picture", "M6 6l12 12 M18 6 6 18"],
];
const PRESSED = ["eraser", "move"];

function icon(lines) {
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", lines);
  svg.append(path);
  return svg;
}

// Returns {root, buttons, brush, colour}. `press(name)` is called for a tool.
export function paintTools(id, {most, start}, press) {
  const root = make("div", "paint-tools");
  root.setAttribute("role", "toolbar");
  root.setAttribute("aria-label", "Painting");
  const brush = make("input"), colour = make("input");
  Object.assign(brush, {type: "range", id: `${id}_brush`, min: 2, max: most, value: start, className: "paint-brush"});
  brush.title = "Size of the brush ([ and ], or Ctrl and the mouse wheel)";
  brush.setAttribute("aria-label", "Size of the brush");
  Object.assign(colour, {type: "color", id: `${id}_colour`, value: "#e02020", title: "Colour of the brush"});
  colour.setAttribute("aria-label", "Colour of the brush");
  const buttons = {};
  for (const [name, help, lines] of TOOLS) {
    const element = button("", help, () => press(name));
    element.classList.add("icon");
    element.dataset.do = name;
    if (PRESSED.includes(name)) element.setAttribute("aria-pressed", "false");
    element.append(icon(lines));
    buttons[name] = element;
  }
  // Their values are no values of the form.
  for (const input of [brush, colour]) input.addEventListener("input", (event) => event.stopPropagation());
  brush.addEventListener("input", () => showShare(brush));
  showShare(brush);
  root.append(brush, colour, ...Object.values(buttons));
  return {root, buttons, brush, colour};
}

// Draws a slider's filled part.
export function showShare(range) {
  range.style.setProperty("--share", `${100 * (range.value - range.min) / (range.max - range.min)}%`);
}

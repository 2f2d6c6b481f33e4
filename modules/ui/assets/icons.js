// Icons of buttons, drawn here: a font may lack a sign, or show it in colours of its own.
import {button} from "./core.js";

const SVG = "http://www.w3.org/2000/svg";
// Lines of each icon in a square of 24.
const LINES = {
  paste: "M18 6 7 17 M7 9v8h8 M4 21h16",
  bin: "M4 7h16 M9 7V4h6v3 M6 7l1 13h10l1-13 M10 11v6 M14 11v6",
  clipboard: "M9 4h6v3H9z M9 5H6v15h12V5h-3 M9 13l2 2 4-4",
  pencil: "M4 20l1-4L16 5l3 3L8 19z M14 7l3 3",
  words: "M4 4h16v10H4z M7 11l3-3 3 3 2-2 2 2 M4 18h16 M4 21h10",
  cross: "M6 6l12 12 M18 6 6 18",
  eraser: "M9 19 3 13 13 3l8 8-8 8z M7 9l8 8 M9 19h12",
  undo: "M8 4 3 9l5 5 M3 9h11a6 6 0 0 1 0 12h-4",
  redo: "M16 4l5 5-5 5 M21 9H10a6 6 0 0 0 0 12h4",
  smaller: "M15.5 15.5 21 21 M10 4a6 6 0 1 0 0 12a6 6 0 1 0 0-12 M7 10h6",
  larger: "M15.5 15.5 21 21 M10 4a6 6 0 1 0 0 12a6 6 0 1 0 0-12 M7 10h6 M10 7v6",
  whole: "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5 M9 9h6v6H9z",
  move: "M12 3v18 M3 12h18 M9 6l3-3 3 3 M9 18l3 3 3-3 M6 9l-3 3 3 3 M18 9l3 3-3 3",
  corners: "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5",
};

// Returns a square button with an icon; help is its title and its name.
export function iconButton(name, help, action) {
  const element = button("", help, action);
  element.className = "icon";
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon-lines");
  path.setAttribute("d", LINES[name]);
  svg.append(path);
  element.append(svg);
  return element;
}

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

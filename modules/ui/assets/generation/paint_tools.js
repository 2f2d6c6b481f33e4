// The row of tools above a picture that is painted on.
import {make} from "../core.js";
import {iconButton} from "../icons.js";

// What each does, in words, and its icon.
const TOOLS = [
  ["eraser", "Erase what was painted (E)", "eraser"],
  ["undo", "Undo (Ctrl+Z)", "undo"],
  ["redo", "Redo (Ctrl+Y)", "redo"],
  ["clear", "Remove all that was painted", "bin"],
  ["smaller", "Zoom out (mouse wheel)", "smaller"],
  ["larger", "Zoom in (mouse wheel)", "larger"],
  ["fit", "Show the whole picture (0)", "whole"],
  ["move", "Move the picture (right mouse button)", "move"],
  ["fullscreen", "Full screen (F)", "corners"],
  ["remove", "Remove the picture", "cross"],
];
const PRESSED = ["eraser", "move"];

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
  for (const [name, help, sign] of TOOLS) {
    const element = iconButton(sign, help, () => press(name));
    element.dataset.do = name;
    if (PRESSED.includes(name)) element.setAttribute("aria-pressed", "false");
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

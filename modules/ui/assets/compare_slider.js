// Two pictures in one frame, left and right of a border that a slider moves.
import {make} from "./core.js";

// Each of the two is {src, alt}. Returns {root, slider}.
export function compareSlider(left, right) {
  const root = make("div", "pic-pair");
  for (const [image, side] of [[left, "left"], [right, "right"]]) {
    const element = make("img", `pic-${side}`);
    Object.assign(element, image);
    root.append(element);
  }
  const slider = make("input", "pic-slider");
  Object.assign(slider, {type: "range", min: 0, max: 100, value: 50, step: 0.5});
  slider.setAttribute("aria-label", "Border between the two pictures");
  const move = () => root.style.setProperty("--border", `${slider.value}%`);
  slider.addEventListener("input", move);
  move();
  root.append(slider);
  return {root, slider};
}

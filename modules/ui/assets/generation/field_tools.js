// Small tools of single fields: sides swapped, aspect presets, and where a seed comes from.
import {button, make} from "../core.js";

const PRESETS = [["1:1", 1, 1], ["3:2", 3, 2], ["16:9", 16, 9]];
const STEP = 8;  // pixels; see SIZE_STEP of the requests

function icon(label, help, action) {
  const element = button(label, help, action);
  element.classList.add("icon");
  return element;
}

// Returns the sides with that proportion and about as many pixels as before, multiples of 8.
export function presetSize(width, height, across, down) {
  const side = Math.sqrt(width * height / (across * down));
  return [across, down].map((part) => Math.max(64, Math.round(side * part / STEP) * STEP));
}

// Buttons below width and height.
export function sizeTools(form) {
  const root = make("div", "field-tools");
  const {prefix} = form.schema;
  const sides = () => ["width", "height"].map((name) => form.controls[name].get());
  const set = ([width, height]) => form.fill({width, height});
  for (const [label, across, down] of PRESETS) {
    root.append(button(label, `${label}: about as many pixels as now, in this proportion; turned where the picture is upright`, () => {
      const [width, height] = sides();
      const isUpright = height > width;
      set(presetSize(width, height, isUpright ? down : across, isUpright ? across : down));
    }));
  }
  const swap = icon("⇅", "Swap width and height", () => set(sides().reverse()));
  swap.id = `${prefix}_swap`;
  root.append(swap);
  return root;
}

// Buttons next to the seed; the tab answers "reuse-seed" with the seed of the picture that is shown.
export function seedTools(form) {
  const root = make("div", "field-tools seed-tools");
  const random = icon("⚂", "Random seed: every picture is another one", () => form.fill({seed: -1}));
  const reuse = icon("♻", "Take the seed of the picture that is shown", () => {
    form.root.dispatchEvent(new CustomEvent("reuse-seed"));
  });
  random.id = `${form.schema.prefix}_random_seed`;
  reuse.id = `${form.schema.prefix}_reuse_seed`;
  root.append(random, reuse);
  return root;
}

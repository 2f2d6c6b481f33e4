// Prompt and negative prompt with their token counters, the styles, and the small tools beside Generate.
import {make} from "../core.js";
import {makeField} from "./fields.js";

// Builds the prompts of a form: {root, side, controls}. `side` stands under Generate.
export function buildPrompts(schema, lists) {
  const root = make("div", "prompts");
  const side = make("div", "prompt-tools");
  const controls = {};
  for (const name of ["prompt", "negative_prompt"]) {
    const control = makeField(schema.fields[name], `${schema.prefix}_${name}`, lists);
    control.box.placeholder = schema.fields[name].label;
    controls[name] = control;
    root.append(control.root);
  }
  controls.styles = makeField(schema.fields.styles, `${schema.prefix}_styles`, lists);
  side.append(controls.styles.root);
  return {root, side, controls};
}

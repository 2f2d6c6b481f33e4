// Many control pictures, one after another: each chosen file, or each picture of a folder, becomes the picture of a unit.
import {make} from "../core.js";
import {makeField} from "../generation/fields.js";
import {buildFileBatch} from "../generation/file_batch.js";

const FIELDS = {
  batch_folder: {
    label: "Or a folder on the server", kind: "text", default: "",
    help: "Such as inputs/poses: every picture directly inside it becomes the picture of the unit. Chosen files go first.",
  },
  batch_output: {
    label: "Output folder", kind: "text", default: "",
    help: "A name inside outputs; pictures are named after the control pictures. Empty uses the usual folder.",
  },
};

// Returns the folded section for the units of a tab; `unit()` is the number of the unit in sight.
export function buildControlBatch(id, {schema, form, output}, unit) {
  const root = make("details", "unit-more"), controls = {};
  root.id = `${id}_batch_section`;
  root.append(make("summary", "", "Batch: many control pictures for this unit, one after another"));
  const connect = buildFileBatch({prefix: id}, controls);
  for (const [name, field] of Object.entries(FIELDS)) controls[name] = makeField(field, `${id}_${name}`, {});
  for (const {root: part} of Object.values(controls)) {
    part.addEventListener("input", (event) => event.stopPropagation());  // no value of the form
    root.append(part);
  }
  const values = () => Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.get()]));
  connect({schema, output, form: {values: () => ({...form.values(), ...values(), batch_unit: unit()})}});
  return root;
}

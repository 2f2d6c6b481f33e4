// What a form does with its pictures: painting, masks, sizes, many files, depth. tab.js makes it a part of the form.
import {make} from "../core.js";
import {PaintBoard} from "./canvas.js";
import {buildDepthPreview} from "./depth_preview.js";
import {makeField} from "./fields.js";
import {buildFileBatch} from "./file_batch.js";
import {followOutpainting} from "./outpainting.js";

const BRUSH = "Brush", FILE = "A file";  // see images/inpaint/mask_sources.py
const MASK_SOURCES = [BRUSH, FILE, "What is transparent"];

const FIELDS = {
  mask_source: {
    label: "Mask", kind: "radio", default: BRUSH, choices: MASK_SOURCES.map((name) => [name, name]),
    help: "Where the mask comes from: painted here, a file (white is repainted), or the transparent part of the picture.",
  },
  inpaint_sketch: {
    label: "Sketch: paint with a colour", kind: "check", default: false,
    help: "The brush has a colour: what is painted changes the picture, and is the mask. The mask blur softens its edge.",
  },
  inpaint_sketch_transparency: {
    label: "Mask transparency", kind: "slider", default: 0, min: 0, max: 100, step: 1, least: 0, most: 100,
    help: "How much of the picture shows through the sketch, in percent; the mask gets weaker, too.",
  },
  scale_by: {
    label: "Resize by", kind: "slider", default: 1, min: 0.05, max: 4, step: 0.05, least: 0.05, most: 16,
    help: "The size that the picture suggests is its own times this.",
  },
  batch_folder: {
    label: "Or a folder on the server", kind: "text", default: "",
    help: "Such as inputs/holidays: every picture directly inside it. Chosen files go first.",
  },
  batch_output: {
    label: "Output folder", kind: "text", default: "",
    help: "A name inside outputs; pictures are named after their files. Empty uses the usual folder.",
  },
  batch_own_size: {
    label: "Each picture's own size, times Resize by", kind: "check", default: false,
    help: "Instead of width and height.",
  },
};

// Returns the rows with more of them after the row that holds a field.
function insertAfter(rows, name, ...more) {
  return rows.flatMap((row) => row.includes(name) ? [row, ...more] : [row]);
}

// Returns a form's schema with the fields that its pictures need, which are no fields of a request.
export function withPictures(schema) {
  if (!schema.picture) return schema;
  const names = schema.generates ? ["scale_by"] : [];
  let rows = schema.generates ? insertAfter(schema.rows, "height", ["scale_by"]) : schema.rows;
  let {sections} = schema;
  if (schema.board === "mask") {
    names.push("mask_source", "inpaint_sketch", "inpaint_sketch_transparency");
    rows = insertAfter(rows, "init_image", ["mask_source"], ["inpaint_sketch", "inpaint_sketch_transparency"]);
  }
  if (schema.fields.depth_map) rows = insertAfter(rows, "depth_map", ["depth_preview"]);
  if (schema.with_file_batch) {
    names.push("batch_folder", "batch_output", ...(schema.generates ? ["batch_own_size"] : []));
    const batch = [["batch_files"], ["batch_folder", "batch_output"], ...(schema.generates ? [["batch_own_size"]] : [])];
    sections = [...sections, {title: "Batch: many pictures, one after another", switch: "", rows: batch}];
  }
  const added = Object.fromEntries(names.map((name) => [name, FIELDS[name]]));
  return {...schema, rows, sections, fields: {...schema.fields, ...added}};
}

// Builds {controls, connect}: controls to place in the form, and what connects them to the tab when it is there.
export function buildPictures(schema) {
  const {prefix} = schema;
  const controls = {}, parts = [];
  if (!schema.picture) return {controls, connect() {}};
  controls[schema.picture] = makeField(schema.fields[schema.picture], `${prefix}_${schema.picture}`, {});
  if (schema.board) parts.push(addBoard(schema, controls));
  if (schema.fields.depth_map) parts.push(buildDepthPreview(schema, controls));
  if (schema.with_file_batch) parts.push(buildFileBatch(schema, controls));
  return {
    controls,
    connect(tab) {
      for (const connect of parts) connect(tab);
      if (!schema.generates) return;
      followOutpainting(tab.form);
      showWithPicture(tab.form);
    },
  };
}

// Puts a board over the init image; what is painted is the value `init_image_strokes`.
function addBoard(schema, controls) {
  const {init_image: image} = controls;
  const tell = () => image.root.dispatchEvent(new Event("input", {bubbles: true}));
  const board = new PaintBoard(`${schema.prefix}_init_image`, {
    label: schema.board === "mask" ? "Picture: paint over what is to be repainted" : "Picture: sketch on it",
    onChange: tell, onRemove: image.clear,
  });
  image.root.classList.add("with-board");
  image.root.removeAttribute("title");  // it would stand over what is painted
  image.root.append(board.root);
  image.root.addEventListener("image-changed", ({detail}) => board.show(detail?.width ? detail : null));
  controls.init_image_strokes = {root: make("span"), get: () => board.text, set: (text) => board.load(text ?? "")};
  if (schema.board === "sketch") {
    board.setLook({hasColour: true, opacity: 1});
    return () => {};
  }
  return ({form}) => {
    const show = () => showMask(form, board);
    form.root.addEventListener("form-changed", show);
    show();
  };
}

function hideRow(control, isHidden) {
  const row = control.root.closest(".field-row");
  if (row.hidden !== isHidden) row.hidden = isHidden;
}

// Shows what belongs to the chosen source of the mask.
function showMask({controls}, board) {
  const source = controls.mask_source.get(), isBrush = source === BRUSH;
  const isSketch = isBrush && controls.inpaint_sketch.get();
  const hasPicture = Boolean(controls.init_image.image());
  hideRow(controls.mask, source !== FILE);
  hideRow(controls.mask_source, !hasPicture && source === BRUSH);
  hideRow(controls.inpaint_sketch, !isBrush || !hasPicture);
  controls.inpaint_sketch_transparency.root.hidden = !isSketch;
  const opacity = isSketch ? 1 - controls.inpaint_sketch_transparency.get() / 100 : 0.65;
  const look = [isSketch, opacity, isBrush].join();
  if (board.look === look) return;
  board.look = look;
  board.setLook({hasColour: isSketch, opacity, isPaintable: isBrush});
}

// Shows "Resize by" only while there is a picture to resize.
function showWithPicture(form) {
  const {scale_by, init_image} = form.controls;
  const show = () => hideRow(scale_by, !init_image.image() && !form.schema.with_file_batch);
  form.root.addEventListener("form-changed", show);
  show();
}

// One ControlNet unit: its picture, and the fields that follow its control type, preprocessor and model.
import {button, make} from "../core.js";
import {PaintBoard} from "../generation/canvas.js";
import {makeField, numberProblem} from "../generation/fields.js";
import {buildPoseButton} from "./pose_button.js";
import {buildPreview} from "./preview.js";

const ALL = "All", NONE = "None", UNKNOWN = "Unknown";
const NUMBERS = ["processor_res", "threshold_a", "threshold_b"];
const DEFAULT = -1;  // of these numbers: what the preprocessor has
const DRAW = "draw", MASK = "mask";
const MASK_OPACITY = 0.65;
const SIZE_STEP = 8;  // pixels
// Rows of fields; those in the second list are folded away.
const ROWS = [["module", "model"], ["union_control_type"], ["weight"], ["guidance_start", "guidance_end"]];
const MORE_ROWS = [["control_mode"], ["resize_mode"], ["hr_option"], ["inpaint_crop_input_image"], ["mask"], ["effective_region_mask"]];
const OWN = {more_images: {first: 2}};  // of fields here: the unit's own picture is the first
const BRUSH = {
  label: "The brush", kind: "radio", default: DRAW, choices: [["draws on the picture", DRAW], ["paints the mask", MASK]],
  help: "A drawing is a part of the control picture; the mask says where the preprocessor or the adapter counts.",
};

function row(...elements) {
  const root = make("div", "unit-row");
  root.append(...elements);
  return root;
}

export class ControlUnit {
  // `schema` holds the preprocessors and control types; see ui/forms/control_schema.py. `initImage()` is the id of the picture that a
  // unit without one takes, null for none.
  constructor(fields, id, index, schema, initImage) {
    Object.assign(this, {fields, id, index, schema, models: []});
    this.prefix = id.split("_control_units")[0];
    this.controls = {};
    this.numbers = {};  // of NUMBERS, as far as the preprocessor has them: {control, field}
    this.root = make("div", "control-unit");
    this.root.id = id;
    const enabled = this.#make("enabled"), pixelPerfect = this.#make("pixel_perfect");
    this.sliders = make("div", "unit-numbers");
    const more = make("details", "unit-more");
    more.append(make("summary", "", "Modes and masks"), ...this.#rows(MORE_ROWS));
    this.preview = buildPreview(id, () => ({...this.get(), ...this.#resultSize(), image: this.controls.image.get() ?? initImage()}), (image) => this.#usePreview(image));
    this.pose = buildPoseButton(id, () => this.controls.image.image(), () => this.#resultSize(), (image) => this.#usePreview(image));
    this.preview.root.addEventListener("control-preview", ({detail}) => this.pose.found(detail));
    this.root.append(row(enabled.root, pixelPerfect.root), this.#picture(), this.#morePictures(), this.#types(), ...this.#rows(ROWS), this.sliders,
      this.pose.root, this.preview.root, more);
    enabled.box.setAttribute("aria-label", `Enable unit ${index}`);
    this.controls.module.root.addEventListener("input", () => this.#showNumbers());
    this.controls.model.root.addEventListener("input", () => this.#showModel());
    this.#hide();
  }

  #make(name) {
    const field = {...this.fields[name], ...OWN[name]};
    // The lists follow the control type.
    this.controls[name] = makeField({...field, list: undefined, choices: field.choices ?? (field.list ? [] : undefined)}, `${this.id}_${name}`, {});
    return this.controls[name];
  }

  #rows(rows) {
    return rows.map((names) => row(...names.map((name) => this.#make(name).root)));
  }

  // The picture, with what is painted on it
  #picture() {
    const image = this.#make("image"), brush = makeField(BRUSH, `${this.id}_brush`, {});
    const tell = () => image.root.dispatchEvent(new Event("input", {bubbles: true}));
    this.brush = brush;
    this.board = new PaintBoard(`${this.id}_image`, {
      label: `Control picture of unit ${this.index}`, onChange: tell, onRemove: () => this.#removePicture(),
    });
    this.board.tools.colour.value = "#000000";
    image.root.classList.add("with-board");
    image.root.removeAttribute("title");
    const blank = button("New canvas", "An empty white picture of the size of the result, to draw on", () => this.#makeCanvas());
    blank.id = `${this.id}_canvas`;
    const fit = button("Use its size", "Make the result as large as this picture, in steps of 8 pixels", () => this.#takeSize());
    fit.id = `${this.id}_fit`;
    const about = make("div", "unit-about");
    about.append(fit, image.root.querySelector(".picture-size"));
    image.root.append(this.board.root, blank, brush.root, about);
    image.root.addEventListener("image-changed", ({detail}) => {
      this.board.show(detail?.width ? detail : null);
      brush.root.hidden = !detail;
      blank.hidden = Boolean(detail);
      fit.hidden = !detail;
      this.preview?.forget();
    });
    brush.root.addEventListener("input", () => this.#showBrush());
    brush.root.hidden = fit.hidden = true;
    this.#showBrush();
    return image.root;
  }

  // The pictures that some models take besides
  #morePictures() {
    const more = this.#make("more_images");
    more.onFront = () => this.#exchangeFirst();
    return more.root;
  }

  // The first of the further pictures becomes the unit's own, which takes its place.
  #exchangeFirst() {
    const {image, more_images: more} = this.controls, [next, ...rest] = more.items(), own = image.image();
    more.set(own ? [own, ...rest] : rest);
    image.set(next.width ? next : next.id);
    image.root.dispatchEvent(new Event("input", {bubbles: true}));
  }

  // Where there are others, the next one takes the place of the picture that goes.
  #removePicture() {
    const {image, more_images: more} = this.controls;
    image.clear();
    if (!more.root.hidden && more.items().length) this.#exchangeFirst();
  }

  #showBrush() {
    const isMask = this.brush.get() === MASK;
    this.board.setLook({hasColour: !isMask, opacity: isMask ? MASK_OPACITY : 1});
  }

  #resultSize() {
    const side = (name) => Number(document.getElementById(`${this.prefix}_${name}`)?.value) || 512;
    return {width: side("width"), height: side("height")};
  }

  #takeSize() {
    const picture = this.controls.image.image();
    for (const side of ["width", "height"]) {
      const box = document.getElementById(`${this.prefix}_${side}`);
      if (!box || !picture?.[side]) continue;
      box.value = Math.max(SIZE_STEP, Math.round(picture[side] / SIZE_STEP) * SIZE_STEP);
      box.dispatchEvent(new Event("input", {bubbles: true}));
    }
  }

  #usePreview(image) {
    this.set({image, image_strokes: "", module: "none", control_type: this.type.get()});
    this.root.dispatchEvent(new Event("input", {bubbles: true}));
  }

  async #makeCanvas() {
    const canvas = make("canvas");
    Object.assign(canvas, this.#resultSize());
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve); });
    this.controls.image.take(new File([blob], "canvas.png", {type: "image/png"}));
  }

  // Control type, preprocessor and model
  #types() {
    const names = Object.keys(this.schema.types);
    this.type = makeField({
      label: "Control type", kind: "radio", default: ALL, choices: names.map((name) => [name, name]),
      help: "What the control picture shows: the lists of preprocessors and models then offer what is for it.",
    }, `${this.id}_type`, {});
    this.type.root.classList.add("control-types");
    this.type.root.addEventListener("input", () => this.#chooseType());
    return this.type.root;
  }

  #chooseType() {
    const name = this.type.get(), {module, union_type: union} = this.schema.types[name];
    const {controls} = this;
    this.#offer();
    controls.module.set(module);
    const fitting = this.#fitting();
    controls.model.set((fitting.find(({title}) => title.includes("11")) ?? fitting[0])?.title ?? NONE);
    if (name === ALL) controls.model.set(NONE);
    controls.union_control_type.set(union || UNKNOWN);
    this.brush.set(name === "Inpaint" ? MASK : DRAW);
    this.#showBrush();
    this.#showNumbers();
    this.#showModel();
  }

  #fitting() {
    const name = this.type.get();
    return this.models.filter(({types}) => name === ALL || types.includes(name));
  }

  #offer() {
    const {module, model} = this.controls, {modules} = this.schema;
    for (const [control, rows] of [
      [module, this.schema.types[this.type.get()].modules.map((name) => [modules[name].label, name])],
      [model, [NONE, ...this.#fitting().map(({title}) => title)]],
    ]) {
      const value = control.get();
      control.offer(rows);
      control.set(value || control.get());
    }
  }

  // Offers the control models that fit the checkpoint.
  offerModels(models) {
    this.models = models;
    this.#offer();
    this.#showModel();
  }

  // Shows what is for some models alone.
  #showModel() {
    const {image, more_images: more, model, union_control_type: union} = this.controls;
    const chosen = this.models.find(({title}) => title === model.get());
    union.root.hidden = !chosen?.is_union;
    more.root.hidden = !chosen?.takes_several;
    image.offerMore(more.root.hidden ? null : (files) => more.take(files));
  }

  // Resolution and thresholds have names and ranges of the preprocessor.
  #showNumbers(values = {}) {
    const {sliders = {}, makes_image: makesImage} = this.schema.modules[this.controls.module.get()] ?? {};
    this.preview.root.hidden = !makesImage;
    this.pose.showFor(this.type.get(), this.controls.module.get());
    this.numbers = {};
    this.sliders.replaceChildren();
    for (const name of NUMBERS.filter((one) => sliders[one])) {
      const field = {...sliders[name], kind: "slider", help: this.fields[name].help};
      const control = makeField(field, `${this.id}_${name}`, {}), value = values[name] ?? DEFAULT;
      if (value >= field.min && value <= field.max) control.set(value);
      this.numbers[name] = {control, field};
      this.sliders.append(control.root);
    }
  }

  // What a form without such a pass or mask has no use for.
  #hide() {
    const has = (name) => document.getElementById(`${this.prefix}_${name}`) !== null;
    this.controls.hr_option.root.hidden = !has("enable_hr");
    this.controls.inpaint_crop_input_image.root.hidden = !has("inpaint_full_res");
  }

  showProblems() {
    const own = Object.entries(this.controls).map(([name, control]) => ({control, field: this.fields[name]}));
    for (const {control, field} of [...own, ...Object.values(this.numbers)]) {
      control.showProblem?.(numberProblem(field, control.get()));
    }
  }

  get() {
    const values = Object.fromEntries(Object.entries(this.controls).map(([name, control]) => [name, control.get()]));
    if (this.controls.union_control_type.root.hidden) values.union_control_type = UNKNOWN;  // for models of several types alone
    for (const name of NUMBERS) values[name] = this.numbers[name]?.control.get() ?? DEFAULT;
    return {
      ...values, control_type: this.type.get(), image_strokes: this.board.text, paints_mask: this.brush.get() === MASK,
      takes_several: !this.models.length || !this.controls.more_images.root.hidden,
    };
  }

  // Sets what is named; all else keeps its value.
  set(values) {
    const module = values.module ?? this.controls.module.get();
    this.type.set(values.control_type ?? this.#typeOf(module));
    this.#offer();
    for (const [name, control] of Object.entries(this.controls)) if (values[name] !== undefined) control.set(values[name]);
    if (values.paints_mask !== undefined) this.brush.set(values.paints_mask ? MASK : DRAW);
    if (values.image_strokes !== undefined) this.board.load(values.image_strokes);
    this.#showBrush();
    this.#showNumbers({...this.#numberValues(), ...values});
    this.#showModel();
  }

  // Turns the unit off, and sets every value to what its declaration says.
  clear() {
    const declared = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.default ?? null]));
    this.set({...declared, control_type: ALL, image_strokes: "", paints_mask: false});
  }

  #numberValues() {
    return Object.fromEntries(Object.entries(this.numbers).map(([name, {control}]) => [name, control.get()]));
  }

  #typeOf(module) {
    const {types} = this.schema;
    return Object.keys(types).find((name) => name !== ALL && types[name].module === module)
      ?? Object.keys(types).find((name) => name !== ALL && module !== "none" && types[name].modules.includes(module)) ?? ALL;
  }
}

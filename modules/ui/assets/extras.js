// The Extras tab: enlarges finished pictures and restores faces; what comes out lies over what went in, under a slider.
import {compareSlider} from "./compare_slider.js";
import {call, make} from "./core.js";
import {Form} from "./generation/form.js";
import {showNotes} from "./generation/notes.js";
import {buildOutput} from "./generation/output.js";
import {buildPictures, withPictures} from "./generation/pictures.js";
import {listen, load, schemas} from "./page_state.js";
import {register} from "./tabs.js";

const KEPT = "webui-extras-sources";  // ids of uploads by the ids of the jobs that took them
const MAX_KEPT = 50;
// Fields that count only with one value of the resize mode.
const OF_MODE = [["upscaling_resize", "max_side_length"], ["upscaling_resize_w", "upscaling_resize_h", "upscaling_crop"]];

export async function mount(element) {
  const root = element.querySelector(".generation");
  const [forms, choices] = await Promise.all([schemas, load("choices")]);
  const schema = withPictures(forms[root.dataset.form]);
  const pictures = buildPictures(schema);
  const form = new Form(schema, choices, pictures.controls);
  const output = buildOutput(schema, async () => {
    const values = form.values();
    const {id} = await call("jobs", {task: schema.task, values});
    keepSource(id, values[schema.picture]);
    return id;
  }, (values) => form.fill(values));
  const columns = make("div", "generation-columns"), left = make("div", "extras-form");
  left.append(form.root, output.side);
  columns.append(left, output.root);
  root.classList.add("extras");
  root.append(columns);
  const tab = {root, schema, form, output, fill: (values) => form.fill(values)};
  pictures.connect(tab);
  form.fill(register(schema.prefix, tab) ?? {});
  showNotes(tab);
  followMode(form);
  followUpscaler(form);
  followResult(schema, output);
  listen("choices", (state) => form.offer(state.lists));
  root.addEventListener("input", output.forget);
  output.generate.dataset.filled = "yes";
}

// Shows the fields of the chosen resize mode.
function followMode(form) {
  const show = () => {
    const mode = form.controls.resize_mode.get();
    OF_MODE.forEach((names, own) => names.forEach((name) => {
      form.controls[name].root.closest(".field-row").hidden = own !== mode;
    }));
  };
  form.root.addEventListener("form-changed", show);
  show();
}

// Where the option asks for it, takes the factor of an upscaler from its name when it is chosen.
function followUpscaler(form) {
  let isOn = false;
  const upscaler = form.controls.upscaler_1;
  listen("choices", ({settings}) => { isOn = settings.set_scale_by_when_changing_upscaler; });
  upscaler.root.addEventListener("change", () => {
    const [, before, after] = /(\d)x|x(\d)/i.exec(upscaler.get()) ?? [];
    if (isOn && (before ?? after)) form.fill({upscaling_resize: Number(before ?? after)});
  });
}

function keptSources() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

function keepSource(job, upload) {
  const rows = Object.entries({...keptSources(), [job]: upload}).slice(-MAX_KEPT);
  try {
    localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(rows)));
  } catch {
    // full, or forbidden: the result is shown alone
  }
}

// Shows the result that is in sight over the picture that it was made of.
function followResult(schema, output) {
  const box = make("div", "extras-compare");
  box.id = `${schema.prefix}_compare`;
  output.root.querySelector(".output-box").after(box);
  let shown = "";
  function show() {
    const picture = output.selected(), source = picture && keptSources()[picture.job];
    const key = source ? `${source} ${picture.id}` : "";
    box.hidden = !source;
    if (key === shown) return;
    shown = key;
    if (!source) return box.replaceChildren();
    const at = (path) => `${window.webuiRoot}/internal/${path}`;
    const pair = compareSlider({src: at(`uploads/${source}/image`), alt: "What went in"},
      {src: at(`images/${picture.id}`), alt: "What came out"});
    pair.root.style.aspectRatio = picture.width && picture.height ? `${picture.width} / ${picture.height}` : "";
    const words = make("p", "extras-words");
    words.append(make("span", "", "Before"), make("span", "", `After: ${picture.width} × ${picture.height}`));
    box.replaceChildren(pair.root, words);
  }
  output.root.addEventListener("picture-shown", show);
  show();
}

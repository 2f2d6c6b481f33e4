// A generation tab: prompts on top, Generate next to them, the form below, and the output that stays in sight.
import {call, make} from "../core.js";
import {listen, load, schemas, scriptSchemas} from "../page_state.js";
import {register} from "../tabs.js";
import {addNetworks} from "../networks/panel.js";
import {Form} from "./form.js";
import {addInterrogate} from "./interrogate.js";
import {showNotes} from "./notes.js";
import {buildOutput} from "./output.js";
import {buildPictures, withPictures} from "./pictures.js";
import {buildPrompts} from "./prompt.js";
import {buildScripts} from "./scripts.js";

export async function mount(element) {
  const root = element.querySelector(".generation");
  const [forms, choices, scriptsByTask] = await Promise.all([schemas, load("choices"), scriptSchemas]);
  const schema = withPictures(forms[root.dataset.form]);
  const prompts = buildPrompts(schema, choices.lists);
  const pictures = buildPictures(schema);
  const form = new Form(schema, choices, {...prompts.controls, ...pictures.controls});
  const scripts = buildScripts(form, scriptsByTask[schema.task] ?? [], choices.lists);
  form.root.append(scripts.root);
  const output = buildOutput(schema, async () => {
    if (!await scripts.confirm()) return null;
    return (await call("jobs", {task: schema.task, values: form.values(), ...scripts.request()})).id;
  }, (values) => form.fill(values));
  const top = make("div", "generation-top"), side = make("div", "generation-side"), columns = make("div", "generation-columns");
  side.append(output.side, prompts.side);
  top.append(prompts.root, side);
  if (schema.fields.init_image) addInterrogate(schema, form, prompts.side.firstElementChild, top);
  columns.append(form.root, output.root);
  root.append(top, columns);
  const tab = {root, schema, form, scripts, output, fill: (values) => form.fill(values)};
  prompts.connect(tab);
  pictures.connect(tab);
  form.controls.control_units?.connect(tab);
  form.fill(register(schema.prefix, tab) ?? {});
  showNotes(tab);
  addNetworks(tab);
  listen("choices", (state) => {
    form.offer(state.lists);
    scripts.offer(state.lists);
  });
  listen("model", ({native_size}) => followNativeSize(form, native_size));
  load("model");
  form.root.addEventListener("reuse-seed", () => {
    const picture = output.selected?.();
    if (picture) form.fill({seed: picture.seed});
  });
  root.addEventListener("input", output.forget);
  output.generate.dataset.filled = "yes";
}

// Keeps width and height at the size that the model was made for, until somebody chooses another one.
function followNativeSize(form, native) {
  const {width, height} = form.controls;
  if (!width || !height || !native) return;
  const key = `webui-native-${form.schema.prefix}`;
  const last = Number(sessionStorage.getItem(key) ?? localStorage.getItem(key) ?? form.schema.fields.width.default);
  if (width.get() === last && height.get() === last && last !== native) form.fill({width: native, height: native});
  sessionStorage.setItem(key, native);
  localStorage.setItem(key, native);
}

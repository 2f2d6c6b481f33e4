// The two halves of the Diffusion process tab: a form at the left, the viewer at the right.
import {button, call, make} from "./core.js";
import {makeField} from "./generation/fields.js";
import {Form} from "./generation/form.js";
import {imageField} from "./generation/images.js";
import {listen, load, processSchema} from "./page_state.js";
import {makeViewer} from "./process.js";
import {openTab} from "./tabs.js";

const TAB = "Diffusion process";
const RUN_KEY = "webui-process-run";  // the id of the run that the tab follows
const ENDED = ["done", "failed", "cancelled"];
const halves = {};    // half -> its API, once it is mounted
const waiting = {};   // half -> what it is asked before that

function panel(root, title, run) {
  const side = make("div", "process-form"), place = make("div", "process-viewer");
  const show = button(title, "The figures appear at the right", () => attempt(run));
  const words = make("p", "notice"), progress = make("progress");
  show.classList.add("generate");
  words.setAttribute("role", "status");
  words.hidden = progress.hidden = true;
  progress.max = 1;
  progress.setAttribute("aria-label", "Progress");
  root.append(side, place);
  const viewer = makeViewer(place, root.dataset.half);

  function tell(text, kind = "") {
    words.textContent = text;
    words.hidden = !text;
    words.className = `notice ${kind}`;
  }

  async function attempt(action) {
    tell("");
    try {
      await action();
    } catch (error) {
      viewer.setBusy(false);
      tell(error.message, "error");
    }
  }
  return {side, show, words, progress, viewer, tell, attempt};
}

async function mountForward(root) {
  const {side, show, words, progress, viewer, tell, attempt} = panel(root, "Show the forward process", run);
  const picture = imageField({kind: "image", label: "Picture", help: "The picture that becomes noise"}, "process_picture");
  const space = makeField({kind: "radio", label: "Noise is added to", help: "Stable Diffusion adds it to the latents",
    choices: [["Latents (as Stable Diffusion does)", false], ["Pixels", true]], default: false}, "process_space", {});
  const count = makeField({kind: "number", label: "Timesteps shown", help: "How many of the thousand steps are shown", default: 9, least: 2, most: 50, step: 1}, "process_count", {});
  const seed = makeField({kind: "seed", label: "Seed", help: "Of the noise", default: 0}, "process_noise_seed", {});
  const row = make("div", "field-row"), moments = make("div", "process-moments");
  row.append(count.root, seed.root);
  show.id = "process_forward";
  side.append(picture.root, space.root, row, show, progress, words, moments);

  async function run() {
    const upload = picture.image();
    if (!upload) throw new Error("There is no picture yet: drop or choose one above.");
    viewer.setBusy(true);
    progress.hidden = false;
    progress.removeAttribute("value");
    try {
      const result = await call("process/forward", {upload: upload.id, count: count.get(), seed: seed.get(), in_pixels: space.get()});
      await viewer.load(result.id);
      moments.replaceChildren(make("p", "numbers", result.sentence), momentTable(result.moments));
    } finally {
      progress.hidden = true;
    }
  }
  return {setPicture: (upload) => picture.set(upload), tell, attempt};
}

function momentTable(rows) {
  const table = make("table", "moments"), head = make("thead"), body = make("tbody");
  const groups = make("tr"), names = make("tr");
  const cell = (text, span, rows_ = 1) => Object.assign(make("th", "", text), {colSpan: span, rowSpan: rows_, scope: "col"});
  groups.append(cell("t", 1, 2), cell("formula", 2), cell("at once", 2), cell("step by step", 2));
  names.append(...Array.from({length: 3}, () => [cell("mean", 1), cell("variance", 1)]).flat());
  head.append(groups, names);
  body.append(...rows.map(([time, ...values]) => {
    const line = make("tr");
    line.append(make("td", "", String(time)), ...values.map((value) => make("td", "", value.toFixed(3))));
    return line;
  }));
  table.append(head, body);
  return table;
}

async function mountReverse(root) {
  const {side, show, words, progress, viewer, tell, attempt} = panel(root, "Show the reverse process", run);
  const [schema, choices] = await Promise.all([processSchema, load("choices")]);
  const form = new Form(schema, choices);
  const other = makeField({kind: "choice", label: "Compare with another sampler", help: "Makes the same picture with this one too, and shows both",
    choices: [["None", ""], ...choices.lists.samplers.map((name) => [name, name])], default: null}, "process_other_sampler", {});
  const interrupt = button("Interrupt", "Stop the run", () => call(`jobs/${running}/interrupt`, {}));
  interrupt.id = "process_interrupt";
  show.id = "process_reverse";
  interrupt.hidden = true;
  side.append(form.root, other.root, show, interrupt, progress, words);
  let running = "", stream = null;
  listen("model", ({native_size}) => {
    if (native_size && !sessionStorage.getItem(form.key)) form.fill({width: native_size, height: native_size});
  });
  load("model");

  async function run() {
    follow((await call("process/reverse", {values: form.values(), other_sampler: other.get()})).run);
  }

  function follow(id) {
    running = id;
    stream?.close();
    sessionStorage.setItem(RUN_KEY, id);
    viewer.setBusy(true);
    progress.hidden = interrupt.hidden = false;
    stream = new EventSource(`${window.webuiRoot}/internal/jobs/${id}/events`);
    stream.onmessage = (event) => {
      const status = JSON.parse(event.data);
      progress.value = status.fraction;
      if (!ENDED.includes(status.state)) return tell(`${status.phase}: ${Math.round(100 * status.fraction)} %`);
      stream.close();
      finish(id);
    };
    stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) finish(id); };
  }

  function finish(id) {
    progress.hidden = interrupt.hidden = true;
    attempt(async () => {
      const {id: documentId} = await call(`process/runs/${id}/document`, {});
      await viewer.load(documentId);
    });
  }

  // How a finished picture was made: its run again, recorded, and its values in the form.
  const showAgain = ({job, index}) => attempt(async () => {
    viewer.setBusy(true);
    const {run: id, values} = await call("process/again", {job, index});
    form.fill(values);
    follow(id);
  });

  const kept = sessionStorage.getItem(RUN_KEY);
  if (kept) call(`jobs/${kept}`).then(() => follow(kept)).catch(() => sessionStorage.removeItem(RUN_KEY));
  return {showAgain};
}

export async function mount(element) {
  const root = element.querySelector(".process");
  const {half} = root.dataset;
  halves[half] = await (half === "forward" ? mountForward : mountReverse)(root);
  for (const act of waiting[half]?.splice(0) ?? []) act(halves[half]);
}

function whenMounted(half, act) {
  if (halves[half]) act(halves[half]);
  else (waiting[half] ??= []).push(act);
}

// Opens the tab with the run of a finished picture, {job, index}, and with the picture in its forward half.
export function showProcess({job, index}) {
  openTab(TAB);
  const open = (tries) => {
    const inner = document.querySelectorAll("#process_halves [role=tab]")[1];
    if (inner) inner.click();
    else if (tries) setTimeout(() => open(tries - 1), 50);
  };
  open(60);
  whenMounted("reverse", (half) => half.showAgain({job, index}));
  whenMounted("forward", (half) => half.attempt(async () => half.setPicture(await call("uploads/finished", {image: `${job}.${index}`}))));
}

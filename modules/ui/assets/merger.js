// The Checkpoint merger tab: a form at the left, what it will give and the running merge at the right.
import {button, call, make, size} from "./core.js";
import {Form} from "./generation/form.js";
import {followJob, hasEnded, recallJobs, rememberJobs} from "./output/job.js";
import {listen, load, mergerSchema, publish, refresh} from "./page_state.js";
import {makeField} from "./generation/fields.js";

const TAB = "Checkpoint merger";
const PREFIX = "merger";
const PREVIEW_DELAY_MS = 350;  // after the last change
const MODELS = ["primary_model_name", "secondary_model_name", "tertiary_model_name"];
const SAVED = "Checkpoint saved to ";

export async function mount(element) {
  const root = element.querySelector(".merger");
  const [schema, choices, offered] = await Promise.all([mergerSchema, load("choices"), call("merger")]);
  const form = new Form(shape(schema, offered), {...choices, lists: listsOf(offered)});
  const side = resultSide();
  form.root.firstElementChild.after(side.summary);
  root.append(form.root, side.root);
  addTools(form, offered, side);
  let timer = 0, turn = 0, job = null;

  // Shows the fields that the recipe needs.
  function showFields() {
    const recipe = offered.recipes[form.controls.interp_method.get()];
    if (!recipe) return;
    side.summary.textContent = recipe.summary;
    MODELS.forEach((name, index) => { form.controls[name].root.hidden = index >= recipe.model_count; });
    const {multiplier} = form.controls;
    multiplier.root.hidden = !recipe.has_multiplier;
    multiplier.root.querySelector("label").textContent = recipe.multiplier_label || schema.fields.multiplier.label;
    form.controls.loras.root.hidden = !recipe.has_loras;
    for (const row of form.root.querySelectorAll(":scope > .field-row")) {
      row.hidden = [...row.children].every((field) => field.hidden);
    }
  }

  async function preview() {
    const own = ++turn;
    const answer = await call("merger/preview", {values: valuesOf(form)}).catch((error) => ({error: error.message, notes: []}));
    if (own === turn) side.show(answer);
  }

  function later() {
    showFields();
    clearTimeout(timer);
    timer = setTimeout(preview, PREVIEW_DELAY_MS);
  }

  async function offerModels() {
    const now = await call("merger").catch(() => null);
    if (!now) return;
    Object.assign(offered, now);
    form.offer({...choices.lists, ...listsOf(offered)});
    later();
  }

  async function merge() {
    side.tell("");
    try {
      follow((await call("merger", {values: valuesOf(form)})).id);
    } catch (error) {
      side.tell(error.message, "error");
    }
  }

  function follow(id) {
    job?.stop();
    rememberJobs(PREFIX, [id]);
    side.setBusy(true, () => call(`jobs/${id}/interrupt`, {}));
    job = followJob(id, {
      onStatus: (status) => {
        side.showStatus(status);
        if (hasEnded(status)) end(status);
      },
      onLost: () => side.tell("The server does not answer; the merge goes on."),
      onGone: () => end(null),
    });
  }

  async function end(status) {
    rememberJobs(PREFIX, []);
    side.setBusy(false);
    if (status?.state !== "done") return;
    await Promise.all([refresh("choices"), refresh("model"), offerModels()]);
    side.showSaved(status);
  }

  side.merge.addEventListener("click", merge);
  form.root.addEventListener("form-changed", later);
  listen("choices", (next) => {
    if (next !== choices && root.offsetParent !== null) offerModels();
  });
  document.addEventListener("webui-tab", () => {
    if (location.hash.endsWith(TAB.replace(" ", "-"))) offerModels();
  });
  const [running] = recallJobs(PREFIX);
  if (running) follow(running);
  later();
}

// The declared form, with the recipes side by side and no entry for "none" in the lists of models.
function shape(schema, offered) {
  const fields = {...schema.fields};
  for (const name of MODELS) fields[name] = {...fields[name], default: null};
  fields.interp_method = {...fields.interp_method, kind: "radio", choices: Object.keys(offered.recipes).map((name) => [name, name])};
  return {...schema, fields};
}

const listsOf = (offered) => ({checkpoints: offered.checkpoints, "merge vaes": offered.vaes});

function valuesOf(form) {
  const {override_settings: _, ...values} = form.values();
  for (const name of MODELS) values[name] ??= "";
  return values;
}

// Adds a list of LoRAs that writes their tags, and a button that reads the metadata of the chosen checkpoints.
function addTools(form, offered, side) {
  const {loras, metadata_json: metadata} = form.controls;
  const change = (control, value) => {
    control.set(value);
    control.root.dispatchEvent(new Event("input", {bubbles: true}));
  };
  if (offered.loras.length) {
    const list = makeField({kind: "choice", label: "Add a LoRA", help: "Writes its tag", default: null,
      choices: [["Add a LoRA…", ""], ...offered.loras.map((name) => [name, name])]}, "merger_add_lora", {});
    list.root.addEventListener("input", (event) => {
      event.stopPropagation();
      if (list.get()) change(loras, `${loras.get()} <lora:${list.get()}:1>`.trim());
      list.set("");
    });
    loras.root.append(list.root);
  }
  const read = button("Read metadata", "Puts the metadata of the chosen checkpoints into the box", async () => {
    const names = MODELS.filter((name) => !form.controls[name].root.hidden).map((name) => form.controls[name].get() ?? "");
    try {
      change(metadata, (await call("merger/metadata", {names})).metadata);
    } catch (error) {
      side.tell(error.message, "error");
    }
  });
  read.id = "merger_read_metadata";
  metadata.root.append(read);
}

// The right half: what the form will give, Merge and Stop, the progress, and what came out.
function resultSide() {
  const root = make("div", "merger-side"), actions = make("div", "merger-actions");
  const summary = make("p", "merger-summary"), facts = make("dl", "merger-facts"), notes = make("div", "merger-notes");
  const merge = button("Merge", "Make the new checkpoint", () => {}), stop = button("Stop", "Stop the merge; nothing is left of it", () => interrupt?.());
  const progress = make("progress"), words = make("p", "notice"), phase = make("p", "merger-phase");
  let interrupt = null;
  merge.classList.add("generate");
  merge.id = "merger_merge";
  stop.id = "merger_stop";
  words.setAttribute("role", "status");
  facts.setAttribute("aria-label", "The result");
  notes.setAttribute("aria-live", "polite");
  progress.max = 1;
  progress.setAttribute("aria-label", "Progress of the merge");
  words.hidden = progress.hidden = stop.hidden = phase.hidden = true;
  actions.append(merge, stop);
  root.append(facts, notes, actions, progress, phase, words);

  function tell(text, kind = "") {
    words.textContent = text;
    words.hidden = !text;
    words.className = `notice ${kind}`;
  }

  function show({name, size_bytes: bytes, free_bytes: free, notes: sentences, error}) {
    const rows = error ? [] : [["Saved as", name], ["Size", `${size(bytes)} of ${size(free)} that are free`]];
    facts.replaceChildren(...rows.flatMap(([label, value]) => [make("dt", "", label), make("dd", "", value)]));
    notes.replaceChildren(...[error, ...sentences].filter(Boolean).map((text) => make("p", "notice", text)));
    merge.disabled = Boolean(error);
  }

  function setBusy(isBusy, onStop = null) {
    interrupt = onStop;
    progress.hidden = stop.hidden = phase.hidden = !isBusy;
    merge.hidden = isBusy;
    progress.removeAttribute("value");
  }

  function showStatus(status) {
    if (status.steps) progress.value = status.fraction;
    const eta = status.eta_s > 1 ? `, about ${Math.ceil(status.eta_s)} s left` : "";
    phase.textContent = status.phase + (status.steps ? ` ${status.step} of ${status.steps}${eta}` : "");
    if (status.error) tell(status.error, status.state === "failed" ? "error" : "");
  }

  function showSaved(status) {
    const saved = status.notes.find((note) => note.startsWith(SAVED)) ?? "";
    tell(status.notes.join(" "));
    if (!saved) return;
    const use = button("Use this checkpoint", "Make pictures with it", async () => {
      use.disabled = true;
      try {
        publish("model", await call("model", {action: "checkpoint", value: saved.slice(SAVED.length)}));
        use.textContent = "Chosen";
      } catch (error) {
        tell(error.message, "error");
      }
    });
    use.id = "merger_use";
    words.append(" ", use);
  }

  return {root, summary, merge, tell, show, setBusy, showStatus, showSaved};
}

// The depth that a job would use: uploaded or estimated, with the adjustments applied.
import {button, make} from "../core.js";

const DELAY_MS = 200;
const FIELDS = ["init_image", "depth_map", "depth_contrast", "depth_near", "depth_far", "depth_invert"];

// Adds the preview as a control without a value; returns what connects it to the tab.
export function buildDepthPreview({prefix}, controls) {
  const root = make("div", "field depth-preview");
  root.id = `${prefix}_preview`;
  const picture = make("img", "field-picture");
  picture.alt = "Depth as it is used: white is near";
  const caption = make("p", "picture-size", picture.alt);
  const words = make("p", "notice error");
  words.setAttribute("role", "alert");
  words.hidden = true;
  controls.depth_preview = {root, get: () => undefined, set() {}};

  return ({schema, form}) => {
    let turn = 0, timer = 0, asked = "", address = "";
    const values = () => Object.fromEntries(FIELDS.map((name) => [name, form.controls[name].get()]));
    const estimate = button("Estimate depth", "Have the checkpoint estimate the depth of the picture", async () => {
      estimate.disabled = true;
      estimate.textContent = "Estimating …";
      await ask("estimate");
      estimate.disabled = false;
      estimate.textContent = "Estimate depth";
    });
    estimate.id = `${prefix}_estimate`;
    root.append(estimate, picture, caption, words);

    function show(blob, problem = "") {
      if (address) URL.revokeObjectURL(address);
      address = blob ? URL.createObjectURL(blob) : "";
      picture.hidden = caption.hidden = !blob;
      if (blob) picture.src = address;
      words.textContent = problem;
      words.hidden = !problem;
      estimate.hidden = !form.controls.init_image.get() || Boolean(form.controls.depth_map.get());
    }

    async function ask(what) {
      const own = ++turn;
      const response = await fetch(`${window.webuiRoot}/internal/depth/${what}`, {
        method: "POST", headers: {"content-type": "application/json"},
        body: JSON.stringify({task: schema.task, values: values()}),
      }).catch(() => null);
      const problem = !response ? "The server does not answer."
        : response.ok ? "" : (await response.json().catch(() => null))?.detail ?? `The server answered ${response.status}.`;
      const blob = response?.status === 200 ? await response.blob() : null;
      if (own === turn) show(blob, problem);
    }

    function later() {
      const now = JSON.stringify(values());
      if (now === asked) return;
      asked = now;
      clearTimeout(timer);
      if (!form.controls.init_image.get() && !form.controls.depth_map.get()) {
        turn++;
        show(null);
      } else {
        timer = setTimeout(() => ask("preview"), DELAY_MS);
      }
    }

    show(null);
    form.root.addEventListener("form-changed", later);
    later();
  };
}

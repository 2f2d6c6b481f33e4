// "Get the upscalers": next to a list of upscalers, as long as those of the catalogue are not there.
import {button, call, make} from "../core.js";
import {listen, refresh} from "../page_state.js";

export const UPSCALER_LISTS = ["hires upscalers", "image upscalers"];
const POLL_MS = 1000;
const ACTIVE = ["waiting", "running", "checking"];

// What a download is doing, in words.
function describe({state, received, size}) {
  if (state === "checking") return "Converting the files…";
  if (state === "running" && size && received) return `Fetching, ${Math.round(100 * received / size)} %`;
  return "Fetching…";
}

// Follows a download, and returns it once it is over.
async function follow(id, tell) {
  for (;;) {
    const {downloads} = await call("downloads/progress");
    const item = downloads.find((one) => one.id === id);
    if (!item || !ACTIVE.includes(item.state)) return item;
    tell(describe(item));
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

// Adds the button below a field's list.
export function addUpscalerTools(root, id) {
  const tools = make("div", "upscaler-tools");
  const words = make("span", "upscaler-words");
  words.setAttribute("role", "status");
  let wanted = [];
  let isBusy = false;

  async function get() {
    isBusy = true;
    fetcher.disabled = true;
    try {
      for (const entry of wanted) {
        const {id: download} = await call(`downloads/official/${entry}`, {});
        const item = await follow(download, (text) => { words.textContent = text; });
        if (item?.state !== "done") throw new Error(item?.error || "The download was stopped; the Models tab has it.");
      }
      words.textContent = "They are in the list now.";
      await refresh("choices");
    } catch (error) {
      words.textContent = error.message;
    } finally {
      isBusy = false;
      fetcher.disabled = false;
      fetcher.hidden = !wanted.length;
    }
  }

  const fetcher = button("Get the upscalers", "Fetch R-ESRGAN 4x+ for photos and R-ESRGAN 4x+ Anime6B for drawings (46 MB)", get);
  fetcher.id = `${id}_get`;
  tools.append(fetcher, words);
  root.append(tools);
  listen("choices", ({upscalers_to_get: missing = []}) => {
    wanted = missing;
    if (!isBusy) fetcher.hidden = !missing.length;
  });
}

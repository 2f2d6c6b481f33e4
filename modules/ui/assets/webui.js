// The page only displays: jobs live on the server, and everything shown here is derived from their state.
import * as core from "./core.js";
import "./drop_guard.js";
import {openTab, startTabs} from "./tabs.js";
import {startTheme} from "./theme.js";

// Fills an HTML component, once: its template holds no data, which would run as code.
async function mount(script, element) {
  // Gradio's styles for written text would apply to the controls in it.
  for (let box = element; box && box.id !== "tabs"; box = box.parentElement) box.classList.remove("prose", "gradio-style");
  if (script.startsWith("/")) return mountExtension(script, element);
  const module = await import(`./${script}`);
  module.mount(element);
}

// Fills the tab of an extension: its module gets what the page's own modules share. What it throws is shown in its tab.
async function mountExtension(script, element) {
  const root = window.webuiRoot, place = element.querySelector(".extension-tab") ?? element;
  try {
    const module = await import(root + script);
    await module.mount(place, {...core, root});
  } catch (error) {
    place.append(core.make("p", "notice error", `This tab of an extension cannot be shown: ${error.message}`));
  }
}

function start() {
  startTheme();
  startTabs();
  // {job, index, upload}: the tab's modules are large, and loaded when they are needed.
  document.addEventListener("webui-show-process", async ({detail}) => (await import("./process_tab.js")).showProcess(detail));
}

const calls = window.webuiCalls;
window.webui = {mount, start, open: openTab};
for (const [name, args] of calls) window.webui[name](...args);

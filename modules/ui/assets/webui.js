// The page only displays: jobs live on the server, and everything shown here is derived from their state.
import "./drop_guard.js";
import {openTab} from "./tabs.js";

// Fills an HTML component, once: its template holds no data, which would run as code.
async function mount(script, element) {
  const module = await import(`./${script}`);
  module.mount(element);
}

function start() {
  if (window.webuiColours) document.body.classList.toggle("dark", window.webuiColours === "dark");
}

const calls = window.webuiCalls;
window.webui = {mount, start, open: openTab};
for (const [name, args] of calls) window.webui[name](...args);

// Opens tabs, and hands values from one to another.
import {schemas, tabTitles} from "./page_state.js";

const tabs = {};      // prefix -> the generation tab, once it is mounted
const pending = {};   // prefix -> what was sent to a tab that is not mounted yet

let openTitle = "";   // of the tab in sight

// Returns the title of the tab in sight, "" before one is. A change fires "webui-tab" on the document.
export const currentTab = () => openTitle;

// Returns the address of a tab within the page.
export function hashOf(title) {
  return `#${title.replace(/\s+/g, "-")}`;
}

// Opens the tab with that title.
export function openTab(title) {
  if (location.hash === hashOf(title)) show();
  else location.hash = hashOf(title);
}

// Shows the tab that the address names, the first one without. Gradio mounts a tab when it is first opened.
async function show(tries = 50) {
  const titles = await tabTitles;
  const title = titles.find((name) => hashOf(name) === decodeURI(location.hash)) ?? titles[0];
  // Of Gradio's own buttons, which the bar's links stand for; it puts those that do not fit into a menu.
  const own = [...document.querySelectorAll("#tabs > .tab-wrapper :is([role=tab], .overflow-dropdown button)")].find((button) => button.textContent.trim() === title);
  if (own) own.click();
  else if (tries) return setTimeout(() => show(tries - 1), 50);
  openTitle = title;
  document.dispatchEvent(new Event("webui-tab"));
}

export function startTabs() {
  addEventListener("hashchange", () => show());
  show();
}

// Called by a generation tab when it is mounted; returns what was sent to it before.
export function register(prefix, tab) {
  tabs[prefix] = tab;
  const values = pending[prefix];
  delete pending[prefix];
  return values;
}

// Fills a generation tab and opens it. Values are those of `Form.fill`; images are uploads: {id, width, height}.
export async function sendTo(prefix, values) {
  if (tabs[prefix]) tabs[prefix].fill(values);
  else pending[prefix] = {...pending[prefix], ...values};
  openTab((await schemas)[prefix].title);
}

// Returns the generation tab that is in sight, if one is.
export function visibleTab() {
  return Object.values(tabs).find((tab) => tab.root.offsetParent !== null);
}

// Opens tabs, and hands values from one to another.
import {schemas} from "./page_state.js";

const tabs = {};      // prefix -> the generation tab, once it is mounted
const pending = {};   // prefix -> what was sent to a tab that is not mounted yet

// Opens the tab with that title; a tab within a tab is mounted a moment after it.
export function openTab(title, tries = 30) {
  // A narrow page has the last tabs in a menu.
  const tab = [...document.querySelectorAll("button[role=tab], .overflow-dropdown button")]
    .find((button) => button.textContent.trim() === title);
  if (tab) tab.click();
  else if (tries) setTimeout(() => openTab(title, tries - 1), 100);
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

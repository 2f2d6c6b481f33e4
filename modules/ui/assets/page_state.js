// What all tabs know of the server: the lists that fields are chosen from, the settings, and the chosen model.
import {call} from "./core.js";

const listeners = new Map();  // name of a state -> its listeners
const states = {};            // name of a state -> its latest value
const requests = {};          // name of a state -> the request for its first value

// Returns the state with that name, "choices" or "model", as its /internal route answers; asks for it once.
export function load(name) {
  return requests[name] ??= refresh(name);
}

// Asks for a state again, tells its listeners, and returns it.
export async function refresh(name) {
  return publish(name, await call(name));
}

// Tells all listeners of a state about its new value, such as the answer to a change.
export function publish(name, state) {
  states[name] = state;
  requests[name] = Promise.resolve(state);
  for (const listener of listeners.get(name) ?? []) listener(state);
  return state;
}

// Calls back with every value that a state has from now on, and at once if it has one.
export function listen(name, listener) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(listener);
  if (states[name]) listener(states[name]);
}

const page = fetch(`${window.webuiAssets}/page.json`).then((response) => response.json());
// The forms of all generation tabs, by prefix.
export const schemas = page.then(({forms}) => forms);
// The scripts that can be chosen, with their fields, by the name of a task.
export const scriptSchemas = page.then(({scripts}) => scripts);
// The form of the Diffusion process tab.
export const processSchema = page.then(({process}) => process);
// The form of the Checkpoint merger tab.
export const mergerSchema = page.then(({merger}) => merger);
// The preprocessors and control types of ControlNet units.
export const controlSchema = page.then(({control}) => control);
// The names of all tabs, in order.
export const tabTitles = page.then(({tabs}) => tabs);

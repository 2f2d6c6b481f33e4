// Keys of a generation tab: Ctrl+Enter generates, Alt+Enter skips a picture, Esc interrupts.
import {visibleTab} from "../tabs.js";

// While one of these is open, Esc closes it.
const OPEN = "dialog[open], [role=menu]:not([hidden]), [role=listbox]:not([hidden])";
let isListening = false;

function onKey(event) {
  if (event.defaultPrevented || event.isComposing) return;
  const output = visibleTab()?.output;
  const isOpen = [...document.querySelectorAll(OPEN)].some((element) => element.offsetParent !== null || element.open);
  if (!output || isOpen) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) output.run();
  else if (event.key === "Enter" && event.altKey) output.skip();
  else if (event.key === "Escape" && !document.fullscreenElement && output.isBusy()) output.interrupt();
  else return;
  event.preventDefault();
}

export function listenToKeys() {
  if (isListening) return;
  isListening = true;
  document.addEventListener("keydown", onKey);
}

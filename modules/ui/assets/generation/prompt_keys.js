// The keys that edit a prompt: Ctrl+Up and Ctrl+Down weigh words, Alt+Left and Alt+Right move them.
import {load, listen} from "../page_state.js";
import {moveEdit, weightEdit} from "./prompt_edits.js";

let settings = {};
load("choices");
listen("choices", (state) => { settings = state.settings; });

const MANY_LINES = 100;  // browsers take minutes to type thousands of lines

// Replaces a part of a text box as typing does, so that undo brings it back.
export function replaceText(box, from, to, insert) {
  if (from === to && !insert) return;
  box.focus();
  box.setSelectionRange(from, to);
  const isShort = insert.split("\n", MANY_LINES).length < MANY_LINES;
  if (isShort && document.execCommand(insert ? "insertText" : "delete", false, insert)) return;
  box.setRangeText(insert, from, to, "end");
  box.dispatchEvent(new Event("input", {bubbles: true}));
}

function editFor(event, box) {
  const direction = {ArrowUp: 1, ArrowDown: -1, ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!direction || event.shiftKey) return undefined;
  const isVertical = event.key === "ArrowUp" || event.key === "ArrowDown";
  const {value, selectionStart, selectionEnd} = box;
  if (isVertical && (event.ctrlKey || event.metaKey) && !event.altKey) {
    return weightEdit(value, selectionStart, selectionEnd, direction, {
      attention: settings.keyedit_precision_attention, extra: settings.keyedit_precision_extra,
      delimiters: settings.keyedit_delimiters,
    });
  }
  if (!isVertical && event.altKey && !event.ctrlKey && !event.metaKey && settings.keyedit_move) {
    return moveEdit(value, selectionStart, selectionEnd, direction);
  }
  return undefined;
}

// Handles the keys in every prompt below an element, also in those that are built later.
export function attachPromptKeys(root) {
  root.addEventListener("keydown", (event) => {
    const box = event.target;
    if (!box.matches("textarea[id$=prompt]")) return;
    const edit = editFor(event, box);
    if (edit === undefined) return;
    event.preventDefault();  // Alt+Left would leave the page
    if (!edit) return;
    replaceText(box, edit.from, edit.to, edit.insert);
    box.setSelectionRange(edit.start, edit.end);
  });
}

// Generate with its menu; Interrupt and Skip are next to it while a job runs.
import {button, make} from "../core.js";

// actions: {run(where), forever(), interrupt(), skip()}. Returns {root, generate, draw}.
export function buildGenerate(prefix, actions) {
  const root = make("div", "generate-row");
  const generate = button("Generate", "Make pictures (Ctrl+Enter)", () => actions.run());
  generate.id = `${prefix}_generate`;
  generate.className = "generate";
  const interrupt = button("Interrupt", "Stop now; finished pictures are kept (Esc)", actions.interrupt);
  interrupt.id = `${prefix}_interrupt`;
  interrupt.className = "interrupt";
  const skip = button("Skip", "Leave this picture out and go on with the next (Alt+Enter)", actions.skip);
  skip.id = `${prefix}_skip`;
  const opener = button("▾", "More ways to generate", () => menu.hidden ? open() : close());
  opener.className = "generate generate-more";
  opener.setAttribute("aria-haspopup", "menu");
  const menu = make("div", "generate-menu");
  menu.setAttribute("role", "menu");
  menu.setAttribute("aria-label", "More ways to generate");
  menu.hidden = true;
  let state = {isBusy: false, isForever: false};

  function item(label, help, action) {
    const element = button(label, help, () => {
      close();
      action();
    });
    element.setAttribute("role", "menuitem");
    element.tabIndex = -1;
    return element;
  }

  function open() {
    const forever = item(state.isForever ? "Stop generating forever" : "Generate forever",
      state.isForever ? "The running job is the last one" : "Start again whenever a job has ended, until it is interrupted", actions.forever);
    menu.replaceChildren(...(state.isBusy ? [
      item("Add to the queue", "Run it after all that wait (Ctrl+Enter)", () => actions.run()),
      item("Add to the queue, first", "Run it before all that wait", () => actions.run("front")),
    ] : [item("Generate", "Make pictures (Ctrl+Enter)", () => actions.run())]), forever);
    menu.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    menu.firstChild.focus();
    document.addEventListener("pointerdown", onOutside);
  }

  function close(refocus = true) {
    if (menu.hidden) return;
    menu.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", onOutside);
    if (refocus) opener.focus();
  }

  function onOutside(event) {
    if (!root.contains(event.target)) close(false);
  }

  menu.addEventListener("keydown", (event) => {
    const items = [...menu.children], at = items.indexOf(document.activeElement);
    const steps = {ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1};
    if (event.key === "Escape") close();
    else if (event.key === "Tab") return close(false);
    else if (event.key in steps) items[steps[event.key] % items.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  generate.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    open();
  });
  opener.setAttribute("aria-expanded", "false");
  root.append(generate, interrupt, skip, opener, menu);

  // state: {isBusy, isStopping, canSkip, waitingCount, isForever}
  function draw(next) {
    state = next;
    const words = state.isForever ? "Generating forever" : state.isBusy ? "Add to queue" : "Generate";
    generate.textContent = state.waitingCount ? `${words} (${state.waitingCount})` : words;
    const waiting = state.waitingCount ? `; ${state.waitingCount} waiting` : "";
    generate.title = state.isBusy ? `Run this next (Ctrl+Enter)${waiting}` : "Make pictures (Ctrl+Enter)";
    generate.setAttribute("aria-label", `${generate.textContent}: ${generate.title}`);
    interrupt.hidden = !state.isBusy;
    interrupt.disabled = state.isStopping;
    skip.hidden = !state.canSkip;
    root.classList.toggle("busy", state.isBusy);
  }

  draw(state);
  return {root, generate, draw};
}

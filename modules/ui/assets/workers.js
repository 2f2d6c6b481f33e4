// The workers, where there are several: what each is, what it does, and why one is lost. Shown by the bar and the Queue tab.
import {call, make, size} from "./core.js";

const POLL_MS = 1000;
const STATES = {starting: "Starting", idle: "Idle", busy: "Busy", lost: "Lost", refused: "Refused"};

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function memory(worker) {
  if (worker.memory_used === null) return "";
  const total = worker.memory_total === null ? "" : ` of ${size(worker.memory_total)}`;
  return `${size(worker.memory_used)}${total} in use`;
}

function newRow() {
  const row = make("li", "worker"), text = make("div", "worker-text");
  text.append(make("strong", "worker-name"), make("span", "worker-does"), make("span", "worker-facts"));
  row.append(make("span", "state-dot"), text);
  return row;
}

// A worker's name, with its machine: two machines have a cuda:0 each.
export const nameOf = ({name, machine}) => machine ? `${name} on ${machine}` : name;

// Shows workers in a list; rows stay, so that a screen reader and a selection keep their place.
export function showWorkers(list, workers) {
  while (list.children.length > workers.length) list.lastChild.remove();
  workers.forEach((worker, index) => {
    const row = list.children[index] ?? list.appendChild(newRow());
    row.dataset.state = worker.state;
    const {device, checkpoint, activity, reason} = worker;
    setText(row.querySelector(".worker-name"), nameOf(worker));
    setText(row.querySelector(".worker-does"), reason ? `${STATES[worker.state]}: ${reason}` : activity || STATES[worker.state]);
    setText(row.querySelector(".worker-facts"), [device, checkpoint, memory(worker)].filter(Boolean).join(" · "));
  });
}

export function workerList() {
  const list = make("ul", "workers");
  list.setAttribute("aria-label", "Workers");
  list.tabIndex = 0;  // many workers scroll
  return list;
}

// Returns a button-like fold for the bar whose panel lists the workers while it is open; `tell` shows it with a line of words.
export function workersFold() {
  const fold = make("details", "bar-workers"), summary = make("summary"), list = workerList();
  fold.hidden = true;
  fold.append(summary, list);
  let timer = 0;

  async function ask() {
    clearTimeout(timer);
    if (!fold.open || !fold.isConnected) return;
    if (!document.hidden) await call("workers").then((answer) => showWorkers(list, answer.workers), () => {});
    timer = setTimeout(ask, POLL_MS);
  }

  const close = (event) => {
    if (!fold.open || (event.type === "pointerdown" && fold.contains(event.target))) return;
    if (event.type === "keydown" && event.key !== "Escape") return;
    if (fold.contains(document.activeElement)) summary.focus();
    fold.open = false;
  };
  for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, close);
  fold.addEventListener("toggle", ask);
  return {
    root: fold,
    tell(text) {
      fold.hidden = !text;
      const [count, states] = text.split(": ");
      setText(summary, count);
      summary.title = text && `What each worker does (${states})`;
      fold.dataset.trouble = /lost|refused/.test(states ?? "");
    },
  };
}

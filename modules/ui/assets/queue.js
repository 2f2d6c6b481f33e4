// The Queue tab: fetches all jobs once a second while it is visible, and updates what has changed.
import {call, make} from "./core.js";

const POLL_MS = 1000;
const MAX_THUMBNAILS = 12;
const ENDED = ["done", "failed", "cancelled"];
const at = (path) => `${window.webuiRoot}/internal/${path}`;

function button(label, action, help) {
  const element = make("button", "", label);
  element.type = "button";
  element.dataset.queue = action;
  element.title = help;
  element.setAttribute("aria-label", help);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});

function facts(job) {
  const parts = [job.task, `${job.width}×${job.height}`, job.checkpoint, `from the ${job.source === "page" ? "page" : "API"}`];
  if (job.created) parts.push(clock(job.created));
  return parts.filter(Boolean).join(" · ");
}

function statusText(job, position) {
  const count = `${job.images.length} of ${job.image_count} ${job.image_count === 1 ? "picture" : "pictures"}`;
  if (job.state === "queued") return `Waiting, number ${position}`;
  if (job.state === "running") {
    const parts = [job.step ? `${job.phase}: step ${job.step} of ${job.steps}` : job.phase, count];
    if (job.eta_s !== null) parts.push(`${Math.ceil(job.eta_s)} s left`);
    return parts.join(" · ");
  }
  const took = job.started ? ` in ${(job.ended - job.started).toFixed(1)} s` : "";
  const outcome = {done: `Done: ${count}${took}`, failed: "Failed", cancelled: "Cancelled"}[job.state];
  return [outcome, job.error, ...job.notes].filter(Boolean).join(". ").replaceAll("..", ".");
}

function actions(job) {
  if (job.state === "running") {
    const stop = button("Stop", "interrupt", "Stop now");
    return job.image_count > 1 ? [button("Finish picture", "finish", "Finish this picture, then stop"), stop] : [stop];
  }
  if (ENDED.includes(job.state)) return [button("Retry", "retry", "Put it in the queue again, with the same seeds")];
  return [
    button("⤒", "move/front", "To the front"), button("↑", "move/up", "Earlier"), button("↓", "move/down", "Later"),
    button("✕", "interrupt", "Cancel"),
  ];
}

function newRow(job) {
  const row = make("li", "queue-job");
  row.dataset.id = job.id;
  const details = make("div", "queue-told");
  details.append(make("div", "queue-prompt", job.prompt || "(no prompt)"), make("div", "queue-facts", facts(job)),
    make("div", "queue-state"), make("div", "queue-bar"), make("div", "queue-thumbnails"));
  details.querySelector(".queue-bar").append(make("div", "queue-done"));
  const preview = make("img", "queue-preview");
  preview.alt = "Preview of the running picture";
  preview.hidden = true;
  row.append(preview, details, make("div", "queue-actions"));
  return row;
}

function thumbnail(image) {
  const link = make("a", "");
  link.href = at(`images/${image.id}`);
  link.target = "_blank";
  link.rel = "noopener";
  const img = make("img", "");
  img.loading = "lazy";
  img.alt = `Seed ${image.seed}`;
  img.title = img.alt;
  img.onerror = () => link.remove();  // the file was deleted
  img.src = at(`images/${image.id}/thumbnail`);
  link.append(img);
  return link;
}

// Orders the rows, moving only those in a wrong place: a focused button keeps its focus.
function arrange(list, ordered) {
  ordered.forEach((row, index) => {
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
  while (list.children.length > ordered.length) list.lastChild.remove();
}

export function mount(element) {
  const panel = element.querySelector("#queue");
  const rows = {};  // job id -> its element
  let isFetching = false;

  function draw(job, position) {
    const row = rows[job.id] ??= newRow(job);
    if (row.dataset.state !== job.state) {
      row.dataset.state = job.state;
      row.querySelector(".queue-actions").replaceChildren(...actions(job));
    }
    setText(row.querySelector(".queue-state"), statusText(job, position));
    row.querySelector(".queue-bar").hidden = job.state !== "running";
    row.querySelector(".queue-done").style.width = `${Math.round(job.progress * 100)}%`;
    const preview = row.querySelector(".queue-preview");
    preview.hidden = job.state !== "running" || !job.preview;
    const source = at(`jobs/${job.id}/preview?n=${job.preview}`);
    if (!preview.hidden && preview.getAttribute("src") !== source) preview.src = source;
    const thumbnails = row.querySelector(".queue-thumbnails");
    const count = Number(thumbnails.dataset.count ?? 0);
    for (const image of job.images.slice(count, MAX_THUMBNAILS)) thumbnails.append(thumbnail(image));
    thumbnails.dataset.count = Math.min(job.images.length, MAX_THUMBNAILS);
    return row;
  }

  function show(queue) {
    let number = 0;
    const jobs = queue.jobs.map((job) => draw(job, job.state === "queued" ? (number += 1) : 0));
    arrange(panel.querySelector(".queue-jobs"), jobs);
    arrange(panel.querySelector(".queue-past"), queue.past.map((job) => draw(job, 0)));
    const ids = new Set([...queue.jobs, ...queue.past].map((job) => job.id));
    for (const id of Object.keys(rows)) if (!ids.has(id)) delete rows[id];
    const running = queue.jobs.some((job) => job.state === "running");
    const state = queue.paused ? "Paused" : running ? "Running" : "Nothing runs";
    setText(panel.querySelector(".queue-words"), `${state} · ${queue.waiting} waiting`);
    panel.querySelector("[data-queue=pause]").hidden = queue.paused;
    panel.querySelector("[data-queue=resume]").hidden = !queue.paused;
    panel.querySelector("[data-queue=cancel]").disabled = !queue.jobs.length;
    panel.querySelector(".queue-title").hidden = !queue.past.length;
    showRemark(queue.remark);
  }

  function showRemark(text) {
    const remark = panel.querySelector(".queue-remark");
    remark.hidden = !text;
    setText(remark, text);
  }

  async function refresh() {
    if (isFetching || document.hidden || panel.offsetParent === null) return;
    isFetching = true;
    try {
      show(await call("queue"));
    } catch (error) {
      setText(panel.querySelector(".queue-words"), error.message);
    } finally {
      isFetching = false;
    }
  }

  async function act(event) {
    const button = event.target.closest?.("[data-queue]");
    if (!button) return;
    const id = button.closest(".queue-job")?.dataset.id;
    try {
      await call(id ? `jobs/${id}/${button.dataset.queue}` : `queue/${button.dataset.queue}`, {});
      await refresh();
    } catch (error) {
      await refresh();
      showRemark(error.message);
    }
  }

  element.addEventListener("click", act);
  new IntersectionObserver(refresh).observe(panel);  // the tab is opened
  const timer = setInterval(() => element.isConnected ? refresh() : clearInterval(timer), POLL_MS);
}

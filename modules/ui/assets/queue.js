// The Queue tab: fetches all jobs once a second while it is visible, and updates what has changed.
import {button as makeButton, call, make} from "./core.js";
import {openLightbox} from "./lightbox.js";
import {copyButton, downloadLink, sendPicture} from "./output/tools.js";
import {schemas} from "./page_state.js";
import {nameOf, showWorkers, workerList} from "./workers.js";

const POLL_MS = 1000;
const CLEARED = "webui-queue-cleared";  // when the latest job ended that was cleared from this browser's list
const MAX_THUMBNAILS = 12;
const ENDED = ["done", "failed", "cancelled"];
const at = (path) => `${window.webuiRoot}/internal/${path}`;

function button(label, action, help) {
  const element = makeButton(label, help, () => {});  // the panel listens
  element.dataset.queue = action;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});

// What a job is called: its prompt, or its task where that has none.
const titleOf = (job) => job.prompt === null ? job.task[0].toUpperCase() + job.task.slice(1) : job.prompt || "(no prompt)";

function facts(job) {
  const parts = [job.task, job.width && `${job.width}×${job.height}`, job.checkpoint, `from the ${job.source === "page" ? "page" : "API"}`];
  if (job.created) parts.push(clock(job.created));
  return parts.filter(Boolean).join(" · ");
}

function statusText(job, position) {
  const count = job.image_count ? `${job.images.length} of ${job.image_count} ${job.image_count === 1 ? "picture" : "pictures"}` : "";
  if (job.state === "queued") return `Waiting, number ${position}`;
  if (job.state === "running") {
    const parts = [job.step ? `${job.phase}: step ${job.step} of ${job.steps}` : job.phase, count];
    if (job.eta_s !== null) parts.push(`${Math.ceil(job.eta_s)} s left`);
    return parts.filter(Boolean).join(" · ");
  }
  const took = job.started ? ` in ${(job.ended - job.started).toFixed(1)} s` : "";
  const outcome = {done: `Done${count && `: ${count}`}${took}`, failed: "Failed", cancelled: "Cancelled"}[job.state];
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
  details.append(make("div", "queue-prompt", titleOf(job)), make("div", "queue-facts", facts(job)),
    make("div", "queue-state"), make("div", "queue-bar"), make("div", "queue-thumbnails"));
  details.querySelector(".queue-bar").append(make("div", "queue-done"));
  const preview = make("img", "queue-preview");
  preview.alt = "Preview of the running picture";
  preview.hidden = true;
  row.append(preview, details, make("div", "queue-actions"));
  return row;
}

function thumbnail(job, image, index) {
  const opener = makeButton("", `Show picture ${index + 1}, seed ${image.seed}, over the whole page`, () => enlarge(job, index, opener));
  const img = make("img", "");
  img.loading = "lazy";
  img.alt = "";
  img.onerror = () => opener.remove();  // the file was deleted
  img.src = at(`images/${image.id}/thumbnail`);
  opener.append(img);
  return opener;
}

// Shows a job's pictures large, with the details of each and the forms that it can be sent to.
async function enlarge(job, first, opener) {
  const panel = opener.closest("#queue"), remark = panel.querySelector(".queue-remark");
  try {
    const [{pictures}, forms] = await Promise.all([call(`jobs/${job.id}/result`), schemas]);
    const shot = (i) => ({src: at(`images/${pictures[i].id}`), title: `picture ${i + 1}`, name: pictures[i].name});
    const lightbox = openLightbox({
      index: Math.max(0, pictures.findIndex((picture) => picture.id === job.images[first].id)),
      count: () => pictures.length,
      picture: (i) => ({...shot(i), alt: job.prompt || "Picture without a prompt"}),
      tools: (i) => [downloadLink(shot(i)), ...Object.entries(forms).map(([prefix, {title}]) =>
        makeButton(`→ ${title}`, `Use its parameters, and the picture, in ${title}`, () => send(prefix, i)))],
      details: (i) => {
        const box = make("div"), text = pictures[i].infotext;
        box.append(make("pre", "lightbox-infotext", text), copyButton(() => text));
        return text ? box : null;
      },
      onClose: () => opener.focus(),
    });
    const send = async (prefix, i) => {
      lightbox.close();
      await sendPicture(prefix, job.id, pictures[i]).catch(tell);
    };
  } catch (error) {
    tell(error);
  }

  function tell(error) {
    remark.hidden = false;
    remark.textContent = error.message;
  }
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
  const workers = panel.querySelector(".queue-workers"), listed = workerList();
  workers.append(listed);
  let isFetching = false;
  let latest = {jobs: [], past: [], workers: []};

  const cleared = () => Number(localStorage.getItem(CLEARED) ?? 0);

  // Ended jobs go from this browser's list alone: their records serve retries and the Models tab.
  function clearUntil(time) {
    localStorage.setItem(CLEARED, time);
    show(latest);
    panel.querySelector(time ? ".queue-again" : ".queue-clear").focus();
  }

  function draw(job, position) {
    const row = rows[job.id] ??= newRow(job);
    if (row.dataset.state !== job.state) {
      row.dataset.state = job.state;
      row.querySelector(".queue-actions").replaceChildren(...actions(job));
    }
    const doers = latest.workers.filter((worker) => worker.job_id === job.id).map(nameOf);
    setText(row.querySelector(".queue-state"), [statusText(job, position), ...doers].join(" · "));
    row.querySelector(".queue-bar").hidden = job.state !== "running";
    row.querySelector(".queue-done").style.width = `${Math.round(job.progress * 100)}%`;
    const preview = row.querySelector(".queue-preview");
    preview.hidden = job.state !== "running" || !job.preview;
    const source = at(`jobs/${job.id}/preview?n=${job.preview}`);
    if (!preview.hidden && preview.getAttribute("src") !== source) preview.src = source;
    const thumbnails = row.querySelector(".queue-thumbnails");
    const count = Number(thumbnails.dataset.count ?? 0);
    const fresh = job.images.slice(count, MAX_THUMBNAILS);
    thumbnails.append(...fresh.map((image, index) => thumbnail(job, image, count + index)));
    thumbnails.dataset.count = Math.min(job.images.length, MAX_THUMBNAILS);
    return row;
  }

  function show(queue) {
    latest = queue;
    workers.hidden = !queue.workers_text;
    setText(workers.firstChild, queue.workers_text);
    showWorkers(listed, queue.workers);
    let number = 0;
    const jobs = queue.jobs.map((job) => draw(job, job.state === "queued" ? (number += 1) : 0));
    arrange(panel.querySelector(".queue-jobs"), jobs);
    const past = queue.past.filter((job) => job.ended > cleared());
    arrange(panel.querySelector(".queue-past"), past.map((job) => draw(job, 0)));
    const ids = new Set([...queue.jobs, ...past].map((job) => job.id));
    for (const id of Object.keys(rows)) if (!ids.has(id)) delete rows[id];
    const running = queue.jobs.some((job) => job.state === "running");
    const state = queue.paused ? "Paused" : running ? "Running" : "Nothing runs";
    setText(panel.querySelector(".queue-words"), `${state} · ${queue.waiting} waiting`);
    panel.querySelector("[data-queue=pause]").hidden = queue.paused;
    panel.querySelector("[data-queue=resume]").hidden = !queue.paused;
    panel.querySelector("[data-queue=cancel]").disabled = !queue.jobs.length;
    panel.querySelector(".queue-title").hidden = !queue.past.length;
    panel.querySelector(".queue-clear").hidden = !past.length;
    const again = panel.querySelector(".queue-again"), hiddenCount = queue.past.length - past.length;
    again.hidden = !hiddenCount;
    setText(again, `Show ${hiddenCount} cleared`);
    panel.querySelector(".queue-empty").hidden = queue.jobs.length + past.length > 0;
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
  panel.querySelector(".queue-clear").onclick = () => clearUntil(Math.max(...latest.past.map((job) => job.ended)));
  panel.querySelector(".queue-again").onclick = () => clearUntil(0);
  new IntersectionObserver(refresh).observe(panel);  // the tab is opened
  const timer = setInterval(() => element.isConnected ? refresh() : clearInterval(timer), POLL_MS);
}

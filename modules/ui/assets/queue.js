// The Queue tab: asks for all jobs once a second while it is looked at, and redraws what has changed.
window.webuiQueue = (() => {
  const ASK_EVERY_MS = 1000;
  const MOST_THUMBNAILS = 12;
  const ENDED = ["done", "failed", "cancelled"];
  const at = (path) => `${window.webuiRoot ?? ""}/internal/${path}`;
  const rows = {};  // job id -> its element
  let asking = false;

  function make(name, className, text = "") {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  function button(label, action, help) {
    const made = make("button", "", label);
    made.type = "button";
    made.dataset.queue = action;
    made.title = help;
    made.setAttribute("aria-label", help);
    return made;
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

  function words(job, place) {
    const made = `${job.images.length} of ${job.image_count} ${job.image_count === 1 ? "picture" : "pictures"}`;
    if (job.state === "queued") return `Waiting, number ${place}`;
    if (job.state === "running") {
      const parts = [job.step ? `${job.phase}: step ${job.step} of ${job.steps}` : job.phase, made];
      if (job.eta_s !== null) parts.push(`${Math.ceil(job.eta_s)} s left`);
      return parts.join(" · ");
    }
    const took = job.started ? ` in ${(job.ended - job.started).toFixed(1)} s` : "";
    const said = {done: `Done: ${made}${took}`, failed: "Failed", cancelled: "Cancelled"}[job.state];
    return [said, job.error, ...job.notes].filter(Boolean).join(". ").replaceAll("..", ".");
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
    const told = make("div", "queue-told");
    told.append(make("div", "queue-prompt", job.prompt || "(no prompt)"), make("div", "queue-facts", facts(job)),
      make("div", "queue-state"), make("div", "queue-bar"), make("div", "queue-thumbnails"));
    told.querySelector(".queue-bar").append(make("div", "queue-done"));
    const preview = make("img", "queue-preview");
    preview.alt = "Preview of the running picture";
    preview.hidden = true;
    row.append(preview, told, make("div", "queue-actions"));
    return row;
  }

  function thumbnail(image) {
    const link = make("a", "");
    link.href = at(`images/${image.id}`);
    link.target = "_blank";
    link.rel = "noopener";
    const picture = make("img", "");
    picture.loading = "lazy";
    picture.alt = `Seed ${image.seed}`;
    picture.title = picture.alt;
    picture.onerror = () => link.remove();  // the file was deleted
    picture.src = at(`images/${image.id}/thumbnail`);
    link.append(picture);
    return link;
  }

  function draw(job, place) {
    const row = rows[job.id] ??= newRow(job);
    if (row.dataset.state !== job.state) {
      row.dataset.state = job.state;
      row.querySelector(".queue-actions").replaceChildren(...actions(job));
    }
    setText(row.querySelector(".queue-state"), words(job, place));
    row.querySelector(".queue-bar").hidden = job.state !== "running";
    row.querySelector(".queue-done").style.width = `${Math.round(job.progress * 100)}%`;
    const preview = row.querySelector(".queue-preview");
    preview.hidden = job.state !== "running" || !job.preview;
    const source = at(`jobs/${job.id}/preview?n=${job.preview}`);
    if (!preview.hidden && preview.getAttribute("src") !== source) preview.src = source;
    const shown = row.querySelector(".queue-thumbnails");
    const known = Number(shown.dataset.count ?? 0);
    for (const image of job.images.slice(known, MOST_THUMBNAILS)) shown.append(thumbnail(image));
    shown.dataset.count = Math.min(job.images.length, MOST_THUMBNAILS);
    return row;
  }

  // Puts rows in order, moving only those that stand elsewhere: a focused button keeps its focus.
  function place(list, wanted) {
    wanted.forEach((row, index) => {
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    });
    while (list.children.length > wanted.length) list.lastChild.remove();
  }

  function show(panel, queue) {
    let number = 0;
    const jobs = queue.jobs.map((job) => draw(job, job.state === "queued" ? (number += 1) : 0));
    place(panel.querySelector(".queue-jobs"), jobs);
    place(panel.querySelector(".queue-past"), queue.past.map((job) => draw(job, 0)));
    const kept = new Set([...queue.jobs, ...queue.past].map((job) => job.id));
    for (const id of Object.keys(rows)) if (!kept.has(id)) delete rows[id];
    const running = queue.jobs.some((job) => job.state === "running");
    const state = queue.paused ? "Paused" : running ? "Running" : "Nothing runs";
    setText(panel.querySelector(".queue-words"), `${state} · ${queue.waiting} waiting`);
    panel.querySelector("[data-queue=pause]").hidden = queue.paused;
    panel.querySelector("[data-queue=resume]").hidden = !queue.paused;
    panel.querySelector("[data-queue=cancel]").disabled = !queue.jobs.length;
    panel.querySelector(".queue-title").hidden = !queue.past.length;
    say(panel, queue.remark);
  }

  function say(panel, text) {
    const remark = panel.querySelector(".queue-remark");
    remark.hidden = !text;
    setText(remark, text);
  }

  async function ask() {
    const panel = document.getElementById("queue");
    if (asking || document.hidden || !panel || panel.offsetParent === null) return;
    asking = true;
    try {
      const answer = await fetch(at("queue"));
      if (answer.ok) show(panel, await answer.json());
    } catch {
      setText(panel.querySelector(".queue-words"), "The server does not answer");
    } finally {
      asking = false;
    }
  }

  async function act(event) {
    const pressed = event.target.closest?.("#queue [data-queue]");
    if (!pressed) return;
    const id = pressed.closest(".queue-job")?.dataset.id;
    const answer = await fetch(at(id ? `jobs/${id}/${pressed.dataset.queue}` : `queue/${pressed.dataset.queue}`), {method: "POST"});
    await ask();
    if (!answer.ok) say(document.getElementById("queue"), (await answer.json()).detail);
  }

  document.addEventListener("click", (event) => { act(event); setTimeout(ask, 100); });
  setInterval(ask, ASK_EVERY_MS);
  return {ask};
})();

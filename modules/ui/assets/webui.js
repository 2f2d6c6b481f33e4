// The page only displays: jobs live on the server, and everything shown here is derived from their state.
import "./canvas.js";

window.webui = (() => {
  const jobs = {};     // prefix -> id of the job that the tab follows
  const streams = {};  // prefix -> EventSource
  const collected = {};  // prefix -> number of the job's images in the gallery
  const mounted = new Set();  // prefixes of the tabs that are in the page
  const restored = new Set();  // prefixes of the tabs whose form holds the browser's stored values
  let tooltips = {};  // element id -> help text

  const byId = (id) => document.getElementById(id);
  const key = (prefix) => `webui-job-${prefix}`;

  function remember(prefix, id) {
    // Per browser tab first, so that two tabs of one browser do not take each other's job.
    sessionStorage.setItem(key(prefix), id);
    localStorage.setItem(key(prefix), id);
  }

  function forget(prefix) {
    sessionStorage.removeItem(key(prefix));
    localStorage.removeItem(key(prefix));
  }

  function statusText(status) {
    if (!status.step) return status.phase;
    const parts = [`${status.phase}: step ${status.step} of ${status.steps}`];
    const speed = status.steps_per_second;
    if (speed) parts.push(speed >= 1 ? `${speed.toFixed(1)} it/s` : `${(1 / speed).toFixed(1)} s/it`);
    if (status.eta_s !== null) parts.push(`${Math.ceil(status.eta_s)} s left`);
    if (status.image_count > 1) parts.push(`${status.images} of ${status.image_count} pictures`);
    return parts.join(" · ");
  }

  function show(prefix, status) {
    const ended = ["done", "failed", "cancelled"].includes(status.state);
    const panel = byId(`${prefix}_progress`).querySelector(".progress");
    panel.hidden = ended;
    byId(`${prefix}_generate`).classList.toggle("away", !ended);
    byId(`${prefix}_interrupt`).classList.toggle("away", ended);
    byId(`${prefix}_skip`).classList.toggle("away", ended || status.image_count < 2);
    if (ended) byId(`${prefix}_interrupt`).disabled = false;
    panel.querySelector(".done").style.width = `${Math.round(status.fraction * 100)}%`;
    panel.querySelector(".words").textContent = statusText(status);
    const preview = panel.querySelector(".preview");
    preview.hidden = !status.preview;
    if (status.preview) preview.src = `${window.webuiRoot}/internal/jobs/${status.id}/preview?n=${status.preview}`;
    document.title = ended ? "Stable Diffusion WebUI" : `${Math.round(status.fraction * 100)}% · Stable Diffusion WebUI`;
    if (ended || status.images > (collected[prefix] ?? 0)) {
      collected[prefix] = status.images;
      byId(`${prefix}_collect`).click();
    }
    return ended;
  }

  function follow(prefix, id) {
    if (!id) return;
    streams[prefix]?.close();
    jobs[prefix] = id;
    collected[prefix] = 0;
    remember(prefix, id);
    const stream = new EventSource(`${window.webuiRoot}/internal/jobs/${id}/events`);
    streams[prefix] = stream;
    stream.onmessage = (event) => {
      if (show(prefix, JSON.parse(event.data))) stream.close();
    };
  }

  async function reattach(prefix) {
    const id = sessionStorage.getItem(key(prefix)) ?? localStorage.getItem(key(prefix));
    if (!id) return;
    const response = await fetch(`${window.webuiRoot}/internal/jobs/${id}`);
    if (response.ok) follow(prefix, id);
    else if (response.status === 404) forget(prefix);
  }

  async function interrupt(prefix) {
    const button = byId(`${prefix}_interrupt`);
    button.disabled = true;
    byId(`${prefix}_progress`).querySelector(".words").textContent = "Stopping";
    await fetch(`${window.webuiRoot}/internal/jobs/${jobs[prefix]}/interrupt`, {method: "POST"});
  }

  function skip(prefix) {
    fetch(`${window.webuiRoot}/internal/jobs/${jobs[prefix]}/skip`, {method: "POST"});
  }

  // Opens the tab with that title; a tab within a tab is mounted a moment after it.
  function open(title, tries = 30) {
    // A narrow page has the last tabs in a menu.
    const tab = [...document.querySelectorAll("button[role=tab], .overflow-dropdown button")]
      .find((button) => button.textContent.trim() === title);
    if (tab) tab.click();
    else if (tries) setTimeout(() => open(title, tries - 1), 100);
  }

  async function showState() {
    let delayMs = 1000;
    try {
      const state = await (await fetch(`${window.webuiRoot}/internal/state`)).json();
      const box = byId("engine_state").querySelector(".state");
      const device = state.device ? ` · ${state.device}` : "";
      box.textContent = state.phase === "ready" ? `Ready${device}` : state.text;
      box.dataset.phase = state.phase;
      const banner = byId("banner").querySelector(".banner");
      const lines = [state.warning, state.demo].filter(Boolean);
      if (banner.dataset.lines !== lines.join("\n")) {
        banner.dataset.lines = lines.join("\n");
        banner.replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), {textContent: line})));
      }
      banner.hidden = !lines.length;
      if (state.phase === "ready") delayMs = 4000;
    } catch {
      const box = byId("engine_state")?.querySelector(".state");
      if (box) {
        box.textContent = "The server does not answer";
        box.dataset.phase = "failed";
      }
    }
    setTimeout(showState, delayMs);
  }

  function onKey(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const buttons = [...document.querySelectorAll(".generate")];
    const visible = buttons.find((button) => button.offsetParent !== null);
    if (visible) {
      event.preventDefault();
      // A text box sends its last change to the server when it loses the focus.
      const box = document.activeElement;
      box?.blur();
      box?.focus();
      setTimeout(() => visible.click(), 50);
    }
  }

  // Gradio mounts a tab when it is first opened.
  function enterTabs() {
    webuiCanvas.enter();
    for (const button of document.querySelectorAll(".generate")) {
      const prefix = button.id.replace("_generate", "");
      if (mounted.has(prefix)) continue;
      mounted.add(prefix);
      for (const [id, help] of Object.entries(tooltips)) byId(id)?.setAttribute("title", help);
      for (const name of ["interrupt", "skip"]) byId(`${prefix}_${name}`).classList.add("away");
      markFilled(prefix);
      reattach(prefix);
    }
  }

  function start(helpTexts) {
    tooltips = helpTexts;
    if (window.webuiColours) document.body.classList.toggle("dark", window.webuiColours === "dark");
    document.addEventListener("keydown", onKey, true);
    showState();
    enterTabs();
    new MutationObserver(enterTabs).observe(document.body, {childList: true, subtree: true});
  }

  function markFilled(prefix) {
    const button = byId(`${prefix}_generate`);
    if (button && restored.has(prefix)) button.dataset.filled = "yes";
  }

  // The form now holds the stored values: from here on nothing overwrites what the user types.
  function filled(prefix) {
    restored.add(prefix);
    markFilled(prefix);
  }

  // Fills an HTML component, once: its template holds no data, which would run as code.
  async function mount(script, element) {
    const module = await import(`${window.webuiAssets}/${script}`);
    module.mount(element);
  }

  return {start, mount, filled, follow, interrupt, skip, open, job: (prefix) => jobs[prefix] ?? ""};
})();

for (const [name, args] of window.webuiCalls) window.webui[name](...args);

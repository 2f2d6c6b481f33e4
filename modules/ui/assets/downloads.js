// The downloads of the Models tab: catalogue, any address, tokens, and what is on its way.
import {button, call, make, size} from "./core.js";

const POLL_MS = 1000;
const ACTIVE = ["waiting", "running", "checking"];
const STATES = {waiting: "Waiting", running: "Downloading", checking: "Checking the file", paused: "Paused", failed: "Failed", done: "Done"};

function words(item, speed) {
  const total = item.size ? ` of ${size(item.size)}` : "";
  const parts = [STATES[item.state], item.kind];
  if (item.state !== "done") parts.push(`${size(item.received)}${total}`);
  if (item.state === "running" && speed > 0) {
    parts.push(`${size(speed)}/s`);
    if (item.size) parts.push(`${Math.ceil((item.size - item.received) / speed)} s left`);
  }
  return parts.join(" · ");
}

export function showDownloads(panel, tell, onDone) {
  const part = (name) => panel.querySelector(`.models-${name}`);
  const before = {};  // of each download: state, bytes, time
  let isActive = false;

  async function act(path, body = {}) {
    try {
      await call(path, body);
      tell(null);
      await update();
      return true;
    } catch (error) {
      tell(error);
      return false;
    }
  }

  function newRow(item) {
    const row = make("li", "models-download");
    row.dataset.id = item.id;
    row.dataset.state = item.state;
    const bar = make("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", `Progress of ${item.name}`);
    const path = `downloads/items/${item.id}`;
    const tools = make("div", "models-actions");
    if (ACTIVE.includes(item.state)) tools.append(button("Pause", `Pause ${item.name}`, () => act(`${path}/pause`)));
    if (["paused", "failed"].includes(item.state)) tools.append(button("Resume", `Go on with ${item.name}`, () => act(`${path}/resume`)));
    const removing = item.state === "done" ? `Take ${item.name} from this list; the file stays` : `Cancel ${item.name} and delete what has arrived`;
    tools.append(button(item.state === "done" ? "Hide" : "Cancel", removing, () => act(`${path}/remove`)));
    row.append(make("strong", "", item.name), make("span", "models-state"), bar, make("p", "models-error", item.error || item.note), tools);
    row.querySelector(".models-error").hidden = !(item.error || item.note);
    return row;
  }

  function show(items) {
    const list = part("downloads");
    const rows = items.map((item) => {
      const old = list.querySelector(`[data-id="${item.id}"]`);
      const row = old?.dataset.state === item.state ? old : newRow(item);
      const past = before[item.id];
      const speed = past && past.received <= item.received ? (item.received - past.received) / ((Date.now() - past.time) / 1000) : 0;
      row.querySelector(".models-state").textContent = words(item, speed);
      const bar = row.querySelector("progress");
      bar.hidden = item.state === "done";
      if (item.size) bar.value = item.received / item.size;
      else bar.removeAttribute("value");
      if (past && past.state !== "done" && item.state === "done") onDone();
      before[item.id] = {state: item.state, received: item.received, time: Date.now()};
      return row;
    });
    if (rows.length !== list.children.length || rows.some((row, index) => list.children[index] !== row)) list.replaceChildren(...rows);
    isActive = items.some((item) => ACTIVE.includes(item.state));
  }

  async function update() {
    show((await call("downloads/progress")).downloads);
  }

  function newEntry(entry, {installed, is_allowed}) {
    const isInstalled = installed.includes(entry.id);
    const row = make("li", "models-entry");
    const link = make("a", "", entry.name);
    link.href = entry.page;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    const facts = [entry.kind, size(entry.size_bytes), entry.licence, entry.note].filter(Boolean).join(" · ");
    const get = button(isInstalled ? "Installed" : "Download", `Download ${entry.name}`, () => act(`downloads/official/${entry.id}`));
    get.disabled = isInstalled || !is_allowed;
    row.append(link, make("span", "models-facts", facts), make("code", "", entry.file), get);
    return row;
  }

  function showTokens(stored) {
    const host = panel.querySelector("[name=host]").value;
    part("token-words").textContent = stored.includes(host) ? "is stored; a new one, or empty to remove it" : "none is stored";
    panel.querySelector("[name=host]").dataset.stored = stored.join(" ");
  }

  async function load() {
    try {
      const overview = await call("downloads");
      part("forbidden").hidden = overview.is_allowed;
      for (const name of ["address", "token"]) part(name).hidden = !overview.is_allowed;
      part("catalogue").replaceChildren(...overview.catalogue.map((entry) => newEntry(entry, overview)));
      const hosts = panel.querySelector("[name=host]");
      if (!hosts.length) hosts.append(...overview.token_hosts.map((host) => make("option", "", host)));
      showTokens(overview.tokens);
      show(overview.downloads);
    } catch (error) {
      tell(error);
    }
  }

  part("get").addEventListener("toggle", () => part("get").open && load());
  part("address").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    if (await act("downloads/address", Object.fromEntries(new FormData(form)))) {
      for (const name of ["url", "name", "sha256"]) form.elements[name].value = "";
    }
  });
  panel.querySelector("[name=host]").addEventListener("change", (event) => showTokens(event.target.dataset.stored.split(" ")));
  part("token").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = Object.fromEntries(new FormData(event.target));
    event.target.elements.token.value = "";
    if (await act("downloads/token", body)) load();
  });
  new IntersectionObserver(([entry]) => entry.isIntersecting && update().catch(tell)).observe(panel.querySelector(".models-head"));
  const timer = setInterval(() => {
    if (!panel.isConnected) clearInterval(timer);
    else if (isActive && !document.hidden && panel.offsetParent !== null) update().catch(tell);
  }, POLL_MS);
}

// The Extensions tab: each with its state now and at the next start, its errors, and how to install more.
import {button, call, make} from "./core.js";

const KINDS = {folder: "Folder", script: "Script", package: "Package"};
const STATES = {loaded: "Loaded", failed: "Failed", disabled: "Disabled", installed: "Installed", removed: "Removed"};

// Returns what the next start does that this one has not done, "" if nothing.
function nextStart(row) {
  if (!row.waits_for_restart) return "";
  if (row.state === "removed") return "gone after a restart";
  return row.is_enabled ? "loaded after a restart" : "disabled after a restart";
}

export function mount(element) {
  const panel = element.querySelector("#extensions");
  const part = (name) => panel.querySelector(`.extensions-${name}`);
  const dialog = part("warning");
  const open = new Set();  // ids of the rows whose details are open
  let mayChange = false;

  function tell(text) {
    part("remark").hidden = !text;
    part("remark").textContent = text;
  }

  const say = (text) => { part("words").textContent = text; };

  // Runs a change and shows the list as it is then; an error is shown as the server words it.
  async function change(path, body, message) {
    try {
      const answer = await call(`extensions/${path}`, body);
      tell("");
      await refresh();
      say(typeof message === "function" ? message(answer) : message);
    } catch (error) {
      tell(error.message);
      await refresh();
    }
  }

  // Shows what an extension may do; resolves to whether the user trusts it all the same.
  function warn(subject) {
    part("subject").textContent = subject;
    dialog.returnValue = "";
    dialog.showModal();
    dialog.querySelector("[data-choice=cancel]").focus();
    return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "accept"), {once: true}));
  }

  function installed(answer) {
    const needs = answer.needs ? ` It lists packages; install them first: ${answer.needs}` : "";
    return `Installed ${answer.name}. Restart the server to load it.${needs}`;
  }

  function facts(row) {
    const list = make("dl");
    const named = [
      ["Where", row.path], ["Adds", row.adds.join(", ")], ["Time to load", row.state === "loaded" ? `${row.seconds} s` : ""],
      ["Why", row.reason], ["Needs packages", row.needs],
    ];
    for (const [name, value] of named) if (value) list.append(make("dt", "", name), make("dd", "", value));
    return list;
  }

  function draw(row) {
    const item = make("li", "extensions-row");
    item.dataset.state = row.state;
    const head = make("div", "extensions-line"), label = make("label", "extensions-name"), box = make("input");
    Object.assign(box, {type: "checkbox", checked: row.is_enabled, disabled: !mayChange || row.state === "removed"});
    box.addEventListener("change", () => change("enable", {id: row.id, is_enabled: box.checked},
      `${row.name} is ${box.checked ? "enabled" : "disabled"} from the next start on.`));
    label.append(box, make("strong", "", row.name));
    head.append(label);
    const badges = [KINDS[row.kind], row.version, STATES[row.state], nextStart(row)].filter(Boolean);
    for (const badge of badges) head.append(make("span", "extensions-badge", badge));
    if (mayChange && row.kind !== "package" && row.state !== "removed") {
      head.append(button("Remove", `Remove ${row.name}: its files move into a folder .trash beside it`, () => {
        if (confirm(`Remove ${row.name}? Its files move into a folder .trash beside it.`)) {
          change("remove", {id: row.id}, ({kept_as}) => `Removed ${row.name}; its files are kept in ${kept_as}.`);
        }
      }));
    }
    item.append(head);
    for (const problem of row.problems) item.append(make("p", "extensions-error", problem.sentence));
    const details = make("details"), tracebacks = row.problems.filter((problem) => problem.traceback);
    details.append(make("summary", "", tracebacks.length ? "Details and traceback" : "Details"), facts(row));
    for (const problem of tracebacks) {
      const text = make("pre", "", problem.traceback);
      text.tabIndex = 0;
      details.append(text);
    }
    details.open = open.has(row.id);
    details.addEventListener("toggle", () => (details.open ? open.add(row.id) : open.delete(row.id)));
    item.append(details);
    return item;
  }

  async function refresh() {
    try {
      const listing = await call("extensions");
      const rows = listing.extensions, waiting = rows.filter((row) => row.waits_for_restart).length;
      mayChange = listing.may_change;
      part("list").replaceChildren(...rows.map(draw));
      part("none").hidden = rows.length > 0;
      part("none").textContent = `No extensions yet. They lie in ${listing.folder}, or in scripts beside it.`;
      part("elsewhere").hidden = mayChange;
      part("get").hidden = !mayChange;
      part("git").hidden = !listing.may_download;
      part("forbidden").hidden = listing.may_download;
      const all = part("all").querySelector("input");
      Object.assign(all, {checked: listing.all_disabled, disabled: !mayChange});
      part("restart").hidden = !listing.can_restart;
      const count = rows.length === 1 ? "1 extension" : `${rows.length} extensions`;
      const off = listing.none_loaded ? "; the command line says to start without any" : "";
      say(count + (waiting ? `, ${waiting} of them wait${waiting === 1 ? "s" : ""} for a restart` : "") + off);
    } catch (error) {
      tell(error.message);
    }
  }

  async function sendFile(file) {
    const body = new FormData();
    body.append("file", file, file.name);
    body.append("accepts_code", "true");
    const response = await fetch(`${window.webuiRoot}/internal/extensions/upload`, {method: "POST", body}).catch(() => null);
    if (!response) throw new Error("The server does not answer.");
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.detail ?? `The server answered ${response.status}.`);
    return answer;
  }

  // Asks, then installs; the form's button waits so long.
  function installs(name, subject, install) {
    const form = part(name);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!await warn(subject(form))) return;
      const submit = form.querySelector("button");
      submit.disabled = true;
      say("Installing…");
      try {
        const answer = await install(form);
        tell("");
        form.reset();
        await refresh();
        say(installed(answer));
      } catch (error) {
        tell(error.message);
        await refresh();
      } finally {
        submit.disabled = false;
      }
    });
  }

  installs("git", (form) => `From ${form.address.value}`, (form) => call("extensions/install", {address: form.address.value, accepts_code: true}));
  installs("folder", (form) => `From ${form.path.value}`, (form) => call("extensions/install", {path: form.path.value, accepts_code: true}));
  installs("file", (form) => `From ${form.file.files[0].name}`, (form) => sendFile(form.file.files[0]));
  for (const choice of dialog.querySelectorAll("[data-choice]")) choice.addEventListener("click", () => dialog.close(choice.dataset.choice));
  part("all").querySelector("input").addEventListener("change", ({target}) => change("disable-all", {are_disabled: target.checked},
    target.checked ? "The next start loads no extension." : "The next start loads those that are enabled."));
  part("restart").addEventListener("click", async () => {
    if (!confirm("Restart the server? Running jobs stop; waiting ones go on afterwards.")) return;
    try {
      await call("extensions/restart", {});
      say("Restarting…");
      document.addEventListener("webui-server-back", () => location.reload(), {once: true});
    } catch (error) {
      tell(error.message);
    }
  });
  document.addEventListener("webui-server-back", refresh);
  new IntersectionObserver(([entry]) => entry.isIntersecting && refresh()).observe(part("head"));
}

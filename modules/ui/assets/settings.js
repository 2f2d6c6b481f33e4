// The Settings tab: builds a control for each option that the server declares; changes are saved at once.
import {call, make} from "./core.js";

const plain = (value) => value === true ? "on" : value === false ? "off" : value === "" ? "empty" : String(value);

function control(option) {
  if (option.kind === "choice") {
    const list = make("select");
    for (const choice of option.choices) list.append(new Option(choice, choice));
    return list;
  }
  const box = make("input");
  box.type = option.kind === "switch" ? "checkbox" : option.kind === "text" ? "text" : "number";
  if (box.type === "number") {
    box.step = option.kind === "integer" ? "1" : "any";
    if (option.min !== null) box.min = option.min;
    if (option.max !== null) box.max = option.max;
  }
  return box;
}

function read(option, box) {
  if (option.kind === "switch") return box.checked;
  if (option.kind === "integer" || option.kind === "number") return box.value === "" ? option.default : Number(box.value);
  return box.value;
}

export function mount(element) {
  const rows = {};  // option name -> its element
  const panel = element.querySelector("#settings"), search = panel.querySelector(".settings-find");

  async function send(path, body, row) {
    const message = panel.querySelector(".settings-words");
    const problem = row?.querySelector(".settings-problem") ?? message;
    try {
      const data = await call(`settings${path}`, body);
      problem.textContent = "";
      message.textContent = `Saved in ${data.file}.`;
      show(data);
    } catch (error) {
      problem.textContent = error.message;
    }
  }

  function newRow(option) {
    const row = make("div", "settings-option");
    row.dataset.words = `${option.label} ${option.help} ${option.name}`.toLowerCase();
    const label = make("label", "settings-label", option.label);
    const box = control(option);
    box.id = label.htmlFor = `option_${option.name}`;
    box.title = option.name;
    box.onchange = () => send("", {changes: {[option.name]: read(option, box)}}, row);
    const reset = make("button", "settings-back", "↺");
    reset.type = "button";
    reset.title = `Back to the default: ${plain(option.default)}`;
    reset.setAttribute("aria-label", reset.title);
    reset.onclick = () => send("/reset", {names: [option.name]}, row);
    const problem = make("div", "settings-problem");
    problem.setAttribute("role", "alert");
    row.append(label, box, reset, make("div", "settings-help", option.help), make("div", "settings-flag"), problem);
    return row;
  }

  function update(option) {
    const row = rows[option.name], box = row.querySelector("input, select");
    if (option.kind === "switch") box.checked = option.value;
    else if (document.activeElement !== box || box.value !== String(option.value)) box.value = option.value;
    const changed = option.value !== option.default;
    row.classList.toggle("changed", changed);
    row.querySelector(".settings-back").disabled = !changed;
    row.querySelector(".settings-flag").textContent = option.flag ? `Set by ${option.flag} for this run.` : "";
  }

  function show(data) {
    const list = panel.querySelector(".settings-list"), links = panel.querySelector(".settings-sections");
    for (const section of data.sections) {
      const id = `settings_${section.name}`;
      let block = document.getElementById(id);
      if (!block) {
        block = make("section", "settings-section");
        block.id = id;
        block.append(make("h3", "", section.title));
        list.append(block);
        const link = make("button", "", section.title);
        link.type = "button";
        link.onclick = () => block.scrollIntoView({behavior: "smooth", block: "start"});
        links.append(link);
      }
      for (const option of section.options) {
        if (!rows[option.name]) block.append(rows[option.name] = newRow(option));
        update(option);
      }
    }
    const remark = panel.querySelector(".settings-remark");
    const flags = data.flags.map((entry) => `${entry.flag} ${entry.value} sets “${entry.label}” for this run.`);
    remark.textContent = [data.remark, ...flags].filter(Boolean).join(" ");
    remark.hidden = !remark.textContent;
  }

  function find(query) {
    for (const block of panel.querySelectorAll(".settings-section")) {
      const options = [...block.querySelectorAll(".settings-option")];
      for (const row of options) row.hidden = !query.split(/\s+/).every((part) => row.dataset.words.includes(part));
      block.hidden = options.every((row) => row.hidden);
    }
    const hasNoMatch = [...panel.querySelectorAll(".settings-section")].every((block) => block.hidden);
    panel.querySelector(".settings-words").textContent = hasNoMatch ? `No option matches “${query}”.` : "";
  }

  async function load() {
    try {
      show(await call("settings"));
      find(search.value.trim().toLowerCase());  // typed before the answer
    } catch (error) {
      panel.querySelector(".settings-words").textContent = error.message;
    }
  }

  search.oninput = () => find(search.value.trim().toLowerCase());
  panel.querySelector(".settings-reset").onclick = () => {
    if (window.confirm("Reset every option to its default?")) send("/reset", {}, null);
  };
  load();
}

// The Settings tab: builds a control for each option that the server declares; changes are saved at once.
import {call, make} from "./core.js";
import {makeField, numberProblem} from "./generation/fields.js";
import {listen, refresh} from "./page_state.js";

const plain = (value) => value === true ? "on" : value === false ? "off" : value === "" ? "empty" : String(value);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export function mount(element) {
  const rows = {};  // option name -> its {row, control}
  const panel = element.querySelector("#settings"), search = panel.querySelector(".settings-find");

  async function send(path, body, row) {
    const message = panel.querySelector(".settings-words");
    const problem = row?.querySelector(".settings-problem") ?? message;
    try {
      const data = await call(`settings${path}`, body);
      problem.textContent = "";
      message.textContent = `Saved in ${data.file}.`;
      show(data);
      for (const state of ["choices", "model"]) refresh(state);
    } catch (error) {
      problem.textContent = error.message;
    }
  }

  function newRow(option) {
    const row = make("div", "settings-option");
    row.dataset.words = `${option.label} ${option.help} ${option.name}`.toLowerCase();
    const control = makeField({...option, help: ""}, `option_${option.name}`, {});
    control.root.title = option.name;
    // A check or a choice is saved at once, a text when it is left.
    control.root.addEventListener("change", () => save(option, control, row));
    if (option.kind === "choices") control.root.addEventListener("input", () => save(option, control, row));
    const reset = make("button", "settings-back icon", "↺");
    reset.type = "button";
    reset.title = `Back to the default: ${plain(option.default)}`;
    reset.setAttribute("aria-label", `${option.label}: back to the default, ${plain(option.default)}`);
    reset.onclick = () => send("/reset", {names: [option.name]}, row);
    const problem = make("div", "settings-problem");
    problem.setAttribute("role", "alert");
    row.append(control.root, reset, make("div", "settings-help", option.help), make("div", "settings-flag"), problem);
    return {row, control};
  }

  function save(option, control, row) {
    const value = control.get();
    const problem = numberProblem(option, value);
    row.querySelector(".settings-problem").textContent = problem;
    if (!problem) send("", {changes: {[option.name]: value}}, row);
  }

  function update(option) {
    const {row, control} = rows[option.name];
    if (!row.contains(document.activeElement) || !same(control.get(), option.value)) control.set(option.value);
    const changed = !same(option.value, option.default);
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
        block.append(make("h2", "", section.title));
        list.append(block);
        const link = make("button", "", section.title);
        link.type = "button";
        link.onclick = () => {
          search.value = "";
          find("");
          block.scrollIntoView({behavior: "smooth", block: "start"});
        };
        links.append(link);
      }
      for (const option of section.options) {
        if (!rows[option.name]) block.append((rows[option.name] = newRow(option)).row);
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
    const words = panel.querySelector(".settings-words");
    if (hasNoMatch) words.textContent = `No option matches “${query}”.`;
    // What has been saved stays there while the options are read again.
    else if (words.textContent.startsWith("No option matches")) words.textContent = "";
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
  document.addEventListener("webui-server-back", load);
  listen("model", load);  // the bar changes options, too
}

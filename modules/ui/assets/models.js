// The Models tab: the installed files with what can be done to them. Downloads are in downloads.js.
import {button, call, make, size} from "./core.js";
import {showDownloads} from "./downloads.js";

const ROWS_AT_ONCE = 100;
const at = (path) => `${window.webuiRoot}/internal/${path}`;

function fillSelect(select, all, names) {
  const chosen = select.value;
  const options = [["", all], ...names.map((name) => [name, name])].map(([value, text]) => {
    const option = make("option", "", text);
    option.value = value;
    return option;
  });
  select.replaceChildren(...options);
  if (names.includes(chosen)) select.value = chosen;
}

const matches = (file, words, kind, family) => (!kind || file.kind === kind) && (!family || file.family === family)
  && words.every((word) => file.name.toLowerCase().includes(word) || file.hash.startsWith(word));

export function mount(element) {
  const panel = element.querySelector("#models");
  const part = (name) => panel.querySelector(`.models-${name}`);
  let files = [];
  let rows = {};  // of each file its row and what it shows, so that an open one stays open
  let shown = ROWS_AT_ONCE;
  let isFetching = false;
  let isStale = false;  // something changed while the list was on its way

  function tell(error) {
    part("remark").hidden = !error;
    part("remark").textContent = error ? error.message : "";
  }

  function say(text, undo) {
    part("words").replaceChildren(text);
    if (undo) part("words").append(" ", button("Undo", "Put the file back", undo));
  }

  // Runs a change and shows the list as it is then; an error is shown as the server words it.
  async function change(path, body, message, undoFor) {
    try {
      const answer = await call(path, body);
      tell(null);
      await refresh();
      if (message) say(message, undoFor?.(answer));
    } catch (error) {
      tell(error);
    }
  }

  function actions(file) {
    const path = `models/files/${file.id}`;
    const list = [];
    const rename = make("form", "models-rename");
    const input = make("input");
    input.value = file.name.split("/").pop();
    input.setAttribute("aria-label", `New name of ${file.name}`);
    const submit = make("button", "", "Rename");
    rename.append(input, submit);
    rename.addEventListener("submit", (event) => {
      event.preventDefault();
      change(`${path}/rename`, {name: input.value}, `Renamed ${file.name}.`);
    });
    if (!file.is_shipped) list.push(rename);
    const isMisplaced = file.kind !== "Checkpoint" || file.error.includes("belongs in");
    if (!file.is_shipped && isMisplaced) {
      list.push(button("Move to the right folder", `Move ${file.name} to the folder of what it is`,
        () => change(`${path}/move`, {}, `Moved ${file.name}.`)));
    }
    if (file.kind === "Checkpoint" && !file.error && file.name.toLowerCase().endsWith(".ckpt")) {
      list.push(button("Convert to .safetensors", `Write ${file.name} as .safetensors beside it`, () => {
        say(`Converting ${file.name}…`);
        change(`${path}/convert`, {}, `Converted ${file.name}.`);
      }));
    }
    if (!file.is_shipped) {
      list.push(button("Delete", `Move ${file.name} to the trash`, () => change(`${path}/delete`, {},
        `${file.name} is in the trash.`, (entry) => () => change(`models/trash/${entry.id}/restore`, {}, `${file.name} is back.`))));
    }
    return list;
  }

  // The notes as a field, where they may be written; saved with its button.
  function notes(file, text) {
    const form = make("form", "models-notes"), label = make("label", "", "Notes"), box = make("textarea"), save = make("button", "", "Save notes");
    Object.assign(box, {value: text, rows: 3, readOnly: file.is_shipped});
    box.setAttribute("aria-label", `Notes about ${file.name}`);
    label.append(box);
    save.hidden = file.is_shipped;
    form.hidden = file.is_shipped && !text;
    form.append(label, save);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      change(`models/files/${file.id}/notes`, {notes: box.value}, `The notes about ${file.name} are saved.`);
    });
    return form;
  }

  async function open(details, file) {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = "yes";
    const body = make("div", "models-told");
    details.append(body);
    try {
      const answer = await call(`models/files/${file.id}`);
      const facts = [["File", answer.path], [".yaml", answer.config], ["Predicts", answer.prediction], ["Description", answer.description], ["Warning", answer.warning]];
      const list = make("dl");
      for (const [name, value] of facts) if (value) list.append(make("dt", "", name), make("dd", "", value));
      const digest = make("dd", "models-digest");
      digest.append(button("Compute", `Compute the SHA-256 of ${file.name}`, async () => {
        digest.textContent = "Reading the file…";
        try {
          const answer = await call(`models/files/${file.id}/hash`, {});
          digest.textContent = answer.sha256 || "Still being computed; open it again in a while.";
        } catch (error) {
          digest.textContent = error.message;
        }
      }));
      list.append(make("dt", "", "SHA-256"), digest);
      const row = make("div", "models-actions");
      row.append(...actions(file));
      body.append(list, notes(file, answer.notes), row);
    } catch (error) {
      body.textContent = error.message;
    }
  }

  function newRow(file) {
    const row = make("li", "models-file");
    row.dataset.id = file.id;
    const picture = make(file.has_preview ? "img" : "span", "models-preview", file.has_preview ? "" : file.kind[0]);
    if (file.has_preview) {
      picture.loading = "lazy";
      picture.alt = "";
      picture.src = at(`models/files/${file.id}/preview`);
    } else {
      picture.setAttribute("aria-hidden", "true");
    }
    const badges = make("div", "models-badges");
    const words = [file.family || file.kind, size(file.size), file.hash, file.has_config && ".yaml",
      file.is_loaded && "loaded", file.is_shipped && "demo",
      file.last_used && `last used ${new Date(file.last_used * 1000).toLocaleDateString()}`];
    for (const word of words.filter(Boolean)) badges.append(make("span", "models-badge", word));
    const details = make("details", "models-details");
    details.append(make("summary", "", file.name));
    details.addEventListener("toggle", () => open(details, file));
    const column = make("div", "models-body");
    column.append(details, badges);
    if (file.error) column.append(make("p", "models-error", file.error));
    row.append(picture, column);
    return row;
  }

  function draw(file) {
    const content = JSON.stringify(file);
    if (rows[file.id]?.content !== content) rows[file.id] = {content, row: newRow(file)};
    return rows[file.id].row;
  }

  function show() {
    const words = part("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = files.filter((file) => matches(file, words, part("kind").value, part("family").value));
    const drawn = found.slice(0, shown).map(draw);
    const list = part("list");
    if (drawn.length !== list.children.length || drawn.some((row, index) => list.children[index] !== row)) list.replaceChildren(...drawn);
    part("more").hidden = found.length <= shown;
    const all = files.length === 1 ? "1 file" : `${files.length} files`;
    say(found.length === files.length ? all : `${found.length} of ${all}`);
  }

  function showTrash(trash) {
    part("trash").hidden = !trash.length;
    part("deleted").replaceChildren(...trash.map((entry) => {
      const row = make("li", "models-trashed");
      row.append(make("span", "", `${entry.name} · ${entry.kind} · ${size(entry.size_bytes)}`),
        button("Restore", `Put ${entry.name} back`, () => change(`models/trash/${entry.id}/restore`, {}, `${entry.name} is back.`)),
        button("Delete for good", `Delete ${entry.name} for good`, () => {
          if (confirm(`Delete ${entry.name} for good?`)) change(`models/trash/${entry.id}/erase`, {}, `${entry.name} is deleted.`);
        }));
      return row;
    }));
  }

  async function refresh(isFull = false) {
    if (isFetching) {
      isStale = true;
      return;
    }
    isFetching = true;
    isStale = false;
    try {
      const overview = await (isFull ? call("models/refresh", {}) : call("models"));
      files = overview.files;
      rows = Object.fromEntries(files.filter((file) => rows[file.id]).map((file) => [file.id, rows[file.id]]));
      fillSelect(part("kind"), "All kinds", overview.kinds);
      fillSelect(part("family"), "All families", [...new Set(files.map((file) => file.family).filter(Boolean))].sort());
      const kinds = panel.querySelector("[name=kind]");
      if (!kinds.length) kinds.append(...overview.kinds.map((kind) => make("option", "", kind)));
      if (kinds.value && !kinds.dataset.set) kinds.value = kinds.dataset.set = "Checkpoint";
      part("trash").open &&= overview.trash.length > 0;
      showTrash(overview.trash);
      show();
    } catch (error) {
      tell(error);
    } finally {
      isFetching = false;
    }
    if (isStale) await refresh();
  }

  function showFromStart() {
    shown = ROWS_AT_ONCE;
    show();
  }

  document.addEventListener("webui-server-back", () => {
    tell(null);
    refresh();
  });
  part("find").addEventListener("input", showFromStart);
  for (const name of ["kind", "family"]) part(name).addEventListener("change", showFromStart);
  part("refresh").addEventListener("click", () => refresh(true));
  part("more").addEventListener("click", () => {
    shown += ROWS_AT_ONCE;
    show();
  });
  new IntersectionObserver(([entry]) => entry.isIntersecting && refresh()).observe(panel.querySelector(".models-head"));
  showDownloads(panel, tell, refresh);
}

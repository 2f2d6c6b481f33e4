// Many pictures through one form: chosen files, uploaded at once, or a folder on the server.
import {button, call, make, upload} from "../core.js";
import {acceptDrops, dropZone} from "./images.js";

// Adds the files as a control whose value is [{id, name}]; returns what connects them to the tab.
export function buildFileBatch({prefix}, controls) {
  const id = `${prefix}_batch_files`;
  const root = make("div", "field batch-files");
  root.id = id;
  const zone = dropZone(id, "Pictures", "Drop or choose many pictures");
  zone.input.multiple = true;
  const list = make("ul", "batch-list");
  const words = make("p", "batch-words"), problem = make("p", "notice error");
  words.setAttribute("role", "status");
  problem.setAttribute("role", "alert");
  const empty = button("Remove all", "Remove all pictures of the batch", () => change([]));
  let files = [];

  function show() {
    list.replaceChildren(...files.map((file, index) => {
      const row = make("li", "", file.name);
      const remove = button("✕", `Remove ${file.name}`, () => change(files.filter((_, other) => other !== index)));
      remove.classList.add("icon");
      row.append(remove);
      return row;
    }));
    empty.hidden = !files.length;
    words.textContent = files.length ? `${files.length} ${files.length === 1 ? "picture" : "pictures"}` : "";
  }

  function change(next) {
    files = next;
    show();
    root.dispatchEvent(new Event("input", {bubbles: true}));
  }

  async function take(chosen) {
    const all = [...chosen], refused = [];
    problem.hidden = true;
    for (const [index, file] of all.entries()) {
      words.textContent = `Uploading ${index + 1} of ${all.length} …`;
      try {
        const {id: upload_id} = await upload(file);
        files = [...files, {id: upload_id, name: file.name}];
      } catch (error) {
        refused.push(`${file.name}: ${error.message}`);
      }
    }
    change(files);
    problem.textContent = refused.join(" ");
    problem.hidden = !refused.length;
  }

  zone.input.onchange = () => {
    take([...zone.input.files]);
    zone.input.value = "";
  };
  zone.input.addEventListener("input", (event) => event.stopPropagation());
  acceptDrops(root, take);
  problem.hidden = true;
  root.append(zone.root, list, words, empty, problem);
  show();
  controls.batch_files = {root, get: () => files, set: (value) => { files = [...value ?? []]; show(); }};

  return ({schema, form, output}) => {
    const failure = make("p", "notice error");
    failure.setAttribute("role", "alert");
    failure.hidden = true;
    const start = button("Generate the batch", schema.generates ? "Make a picture of every file, with the values of this form" : "Do this with every file", async () => {
      failure.hidden = true;
      start.disabled = true;
      try {
        output.follow((await call("batches", {task: schema.task, values: form.values()})).id);
      } catch (error) {
        failure.textContent = error.message;
        failure.hidden = false;
      }
      start.disabled = false;
    });
    start.id = `${prefix}_batch`;
    start.className = "batch-start";
    root.closest("details").append(start, failure);
  };
}

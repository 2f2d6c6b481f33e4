// Fields that hold an image: dropped, pasted or chosen, uploaded at once, known by the id that the server gives it.
import {button, call, make, upload} from "../core.js";

// Value: {id, width, height} of an upload, or null. The request gets the id.
export function imageField(field, id) {
  const root = make("div", "field field-image");
  root.id = id;
  const label = make("span", "field-label", field.label);
  const picture = make("img", "field-picture");
  picture.alt = field.label;
  const words = make("p", "notice error");
  words.setAttribute("role", "alert");
  const input = make("input");
  input.type = "file";
  input.accept = "image/*";
  input.setAttribute("aria-label", field.label);
  const remove = button("✕", `Remove: ${field.label}`, () => change(null));
  let value = null;

  function show(problem = "") {
    words.textContent = problem;
    words.hidden = !problem;
    picture.hidden = remove.hidden = !value;
    if (value) picture.src = `${window.webuiRoot}/internal/uploads/${value.id}/image`;
    root.dispatchEvent(new CustomEvent("image-changed", {detail: value}));
  }

  function change(next, problem = "") {
    value = next;
    show(problem);
    root.dispatchEvent(new Event("input", {bubbles: true}));
  }

  async function take(file) {
    try {
      change(await upload(file));
    } catch (error) {
      show(error.message);
    }
  }

  input.onchange = () => { if (input.files[0]) take(input.files[0]); };
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  root.append(label, picture, input, remove, words);
  show();
  return {
    root, take,
    get: () => value?.id ?? null,
    image: () => value,
    set: async (next) => {
      // A value kept by the browser is an id alone; its file may be gone by now.
      value = typeof next === "string" ? await call(`uploads/${next}`).catch(() => null) : next;
      show();
    },
  };
}

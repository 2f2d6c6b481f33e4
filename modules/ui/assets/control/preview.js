// The control picture of a unit before Generate: what its preprocessor makes of the picture, beside it.
import {button, call, make} from "../core.js";

// Returns {root, forget}. `values()` are those of the unit with the size of the result; `use(upload)` takes the control picture
// as the picture of the unit. "control-preview" on the root tells of every one that is made: {image, pose}.
export function buildPreview(id, values, use) {
  const root = make("div", "unit-preview"), figure = make("figure"), picture = make("img", "field-picture"), words = make("p", "notice error");
  const caption = make("figcaption", "field-help");
  let turn = 0, made = null;
  words.setAttribute("role", "alert");
  picture.alt = "Control picture as the model sees it";
  const ask = button("Preview", "Show what the preprocessor makes of the picture", async () => {
    const own = ++turn;
    ask.disabled = true;
    ask.textContent = "Preprocessing …";
    const answer = await call("control/preview", values()).catch((error) => ({problem: error.message}));
    ask.disabled = false;
    ask.textContent = "Preview";
    if (own === turn) show(answer);
  });
  ask.id = `${id}_preview`;
  const take = button("Use as the picture", "Make it the picture of this unit, with no preprocessor", () => use(made.image));
  const hide = button("Hide", "Hide the control picture", () => show({}));
  const tools = make("div", "field-tools");
  tools.append(take, hide);
  figure.append(picture, caption, tools);
  root.append(ask, words, figure);

  function show({image = null, pose = null, problem = ""}) {
    made = image && {image, pose};
    figure.hidden = !image;
    words.hidden = !problem;
    words.textContent = problem;
    if (!image) return;
    picture.src = `${window.webuiRoot}/internal/uploads/${image.id}/image`;
    caption.textContent = `${image.width} × ${image.height}`;
    root.dispatchEvent(new CustomEvent("control-preview", {detail: made}));
  }

  show({});
  return {root, forget() { turn++; show({}); }};
}

// A1111's Interrogate: describes the picture of a form in words, and puts them into its prompt.
import {call, make} from "../core.js";
import {iconButton} from "../icons.js";

// Adds the button to the tools below Generate, and its words below the prompts: without a model they say which to install.
export function addInterrogate(schema, form, tools, top) {
  const words = make("p", "notice interrogate-words");
  words.setAttribute("role", "status");
  words.hidden = true;
  const start = iconButton("words", "Interrogate: describe the picture in words, and use them as the prompt", run);
  start.id = `${schema.prefix}_interrogate`;

  function tell(text) {
    words.textContent = text;
    words.hidden = !text;
  }

  async function run() {
    const upload = form.controls.init_image.get();
    if (!upload) return tell("Choose a picture first.");
    start.disabled = true;
    tell("The picture is being described.");
    try {
      const {prompt} = await call("interrogate", {upload});
      form.fill({prompt});
      tell("");
    } catch (error) {
      tell(error.message);
    } finally {
      start.disabled = false;
    }
  }

  form.controls.init_image.root.addEventListener("image-changed", () => tell(""));
  tools.append(start);
  top.append(words);
}

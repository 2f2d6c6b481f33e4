// The output of a tab: Generate, progress, images, their infotext, and what can be done with them.
import {button, call, make} from "../core.js";

// Builds {root, generate}: the panel, and the buttons that stand beside the prompts.
// `submit()` starts a job and resolves to its id.
export function buildOutput(schema, submit) {
  const {prefix} = schema;
  const root = make("div", "output");
  const words = make("p", "output-words");
  words.setAttribute("role", "status");
  const problem = make("p", "notice error");
  problem.setAttribute("role", "alert");
  problem.hidden = true;
  const picture = make("div", "output-picture");
  root.append(picture, words, problem);

  async function run() {
    problem.hidden = true;
    try {
      follow(await submit());
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  function follow(id) {
    const stream = new EventSource(`${window.webuiRoot}/internal/jobs/${id}/events`);
    stream.onmessage = (event) => {
      const status = JSON.parse(event.data);
      words.textContent = status.phase;
      if (!["done", "failed", "cancelled"].includes(status.state)) return;
      stream.close();
      picture.replaceChildren(...Array.from({length: status.images}, (_, index) => {
        const image = make("img");
        image.src = `${window.webuiRoot}/internal/images/${id}.${index}`;
        return image;
      }));
    };
  }

  const generate = button("Generate", "Make pictures (Ctrl+Enter)", run);
  generate.id = `${prefix}_generate`;
  generate.className = "generate";
  return {root, generate, run, follow};
}

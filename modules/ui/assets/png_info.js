// The PNG Info tab: what a picture's file says, sent to the other tabs, or made again and compared.
import {button, call, copyText, make} from "./core.js";
import {imageField} from "./generation/images.js";
import {load, schemas} from "./page_state.js";
import {sendTo} from "./tabs.js";

const ENDED = ["done", "failed", "cancelled"];
const KEPT = "webui-png-info";  // the id of the picture that the tab shows

export async function mount(element) {
  const root = element.querySelector(".png-info");
  const field = {kind: "image", label: "Picture (PNG, JPEG, WebP, AVIF or GIF, as it was saved)", help: "Its file may hold the parameters that it was made with"};
  const picture = imageField(field, "png_info_image");
  const send = make("div", "png-info-send"), words = make("p", "notice"), verdict = make("div", "png-info-verdict");
  const progress = make("progress", "png-info-progress"), made = make("div", "png-info-made");
  const facts = make("div", "png-info-facts"), left = make("div", "png-info-left");
  words.setAttribute("role", "status");
  progress.max = 1;
  progress.setAttribute("aria-label", "Progress");
  const reproduce = button("Reproduce", "Make the picture again from what its file says, and compare the two", start);
  reproduce.classList.add("generate");
  reproduce.id = "png_info_generate";
  const interrupt = button("Interrupt", "Stop", () => call(`jobs/${job}/interrupt`, {}));
  interrupt.id = "png_info_interrupt";
  left.append(picture.root, send, reproduce, interrupt, progress, words, verdict, made);
  let job = "", stream = null;

  for (const [prefix, schema] of Object.entries(await schemas)) {
    const to = button(`→ ${schema.title}`, schema.generates ? `Fill ${schema.title} with what the file says` : `Use the picture in ${schema.title}`, () => fill(prefix, schema));
    to.id = `png_info_to_${prefix}`;
    send.append(to);
  }

  function tell(text, kind = "") {
    words.textContent = text;
    words.hidden = !text;
    words.className = `notice ${kind}`;
  }

  function setRunning(isRunning) {
    progress.hidden = interrupt.hidden = !isRunning;
    reproduce.hidden = isRunning;
  }

  async function attempt(action) {
    try {
      tell("");
      await action();
    } catch (error) {
      tell(error.message, "error");
    }
  }

  const fill = (prefix, schema) => attempt(async () => {
    const upload = picture.image();
    if (!upload) throw new Error("There is no picture yet: drop or choose one above.");
    if (!schema.generates) return sendTo(prefix, {[schema.picture]: upload});
    const controls = Object.keys(schema.fields).filter((name) => schema.fields[name].override);
    const {values, chips} = await call("infotext", {task: schema.task, upload: upload.id, controls});
    sendTo(prefix, {...values, chips, ...(schema.picture ? {[schema.picture]: upload} : {})});
  });

  function start() {
    attempt(async () => {
      const upload = picture.image();
      if (!upload) throw new Error("There is no picture yet: drop or choose one above.");
      follow((await call("reproduce", {upload: upload.id})).id);
    });
  }

  function follow(id) {
    job = id;
    stream?.close();
    verdict.replaceChildren();
    made.replaceChildren();
    setRunning(true);
    stream = new EventSource(`${window.webuiRoot}/internal/jobs/${id}/events`);
    stream.onmessage = (event) => {
      const status = JSON.parse(event.data);
      progress.value = status.fraction;
      if (!ENDED.includes(status.state)) return;
      stream.close();
      setRunning(false);
      attempt(async () => showVerdict(await call(`reproduce/${id}`)));
    };
  }

  function showVerdict(result) {
    verdict.replaceChildren(make("p", "verdict", result.sentence));
    if (result.has_difference && !result.is_identical) {
      const brightened = result.gain > 1 ? `, brightened ${result.gain} times` : "";
      verdict.append(make("p", "", `The third picture shows where they differ${brightened}.`));
    }
    if (result.caveats.length) {
      const list = make("ul");
      list.append(...result.caveats.map((text) => make("li", "", text)));
      verdict.append(make("p", "", "What could not be matched:"), list);
    }
    const pictures = [["The picture", `uploads/${result.upload}/image`], ["Made again", `images/${result.image}`]];
    if (result.has_difference) pictures.push(["The difference", `reproduce/${job}/difference`]);
    made.replaceChildren(...pictures.map(([label, path]) => {
      const figure = make("figure"), image = make("img");
      image.src = `${window.webuiRoot}/internal/${path}`;
      image.alt = label;
      figure.append(image, make("figcaption", "", label));
      return figure;
    }));
  }

  function showFacts(data) {
    const parts = [];
    if (!data.text) parts.push(make("p", "notice", "This picture's file contains no generation parameters."));
    for (const sentence of data.missing_files) parts.push(make("p", "notice error", sentence));
    for (const sentence of data.differences) parts.push(make("p", "notice", sentence));
    if (data.text) {
      const text = make("pre", "infotext", data.text);
      text.id = "png_info_infotext";
      text.tabIndex = 0;
      parts.push(text, button("Copy", "Copy the infotext", () => copyText(data.text)), table(data));
    }
    facts.replaceChildren(...parts);
  }

  function table(data) {
    const element = make("table", "fields");
    element.append(make("caption", "", `Written by ${data.origin}`), ...data.fields.map((row) => {
      const line = make("tr", row.reason ? "refused" : "");
      const key = make("th", "", row.key);
      key.scope = "row";
      line.append(key, make("td", "", row.value), make("td", "", row.reason));
      return line;
    }));
    return element;
  }

  // A new picture: what was said about the one before goes.
  async function changed() {
    const upload = picture.image();
    stream?.close();
    setRunning(false);
    for (const part of [verdict, made, facts]) part.replaceChildren();
    tell("");
    if (upload) sessionStorage.setItem(KEPT, upload.id);
    else sessionStorage.removeItem(KEPT);
    for (const control of [...send.children, reproduce]) control.disabled = !upload;
    if (upload) attempt(async () => showFacts(await call("png_info", {upload: upload.id})));
  }

  picture.root.addEventListener("image-changed", changed);
  const kept = sessionStorage.getItem(KEPT);
  if (kept) picture.set(kept);
  else changed();
  root.append(left, facts);  // at last: a picture that is dropped earlier would be lost
}

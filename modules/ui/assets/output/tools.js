// What can be done with the picture that is shown: save, send to another form, see how it was made; and its infotext.
import {button, call, copyText, make, upload} from "../core.js";
import {schemas, tabTitles} from "../page_state.js";
import {sendTo} from "../tabs.js";

const PROCESS_TAB = "Diffusion process";
const SAID_MS = 2500;

// Makes a link save a shot's file.
export function downloadLink(shot, link = make("a", "button", "Download")) {
  link.title = `Download ${shot.title} (${shot.name})`;
  link.href = shot.src;
  link.download = shot.name;
  return link;
}

// A button that copies a text, and says so.
export function copyButton(text) {
  const copy = button("Copy", "Copy the infotext, which tells how the picture was made", async () => {
    await copyText(text());
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, SAID_MS);
  });
  return copy;
}

// Fills a form with a job's image {id, position} and what it was made with; `upload()` uploads another picture instead.
export async function sendPicture(target, job, image, upload = null) {
  const {picture: field, generates} = (await schemas)[target];
  const [values, picture] = await Promise.all([
    generates ? call(`jobs/${job}/values/${image.position}`) : {},
    !field ? null : upload ? upload() : call("uploads/finished", {image: image.id}),
  ]);
  await sendTo(target, field ? {...values, [field]: picture} : values);
}

// options: {prefix, generates, current() -> {job, shot, shots, chosen, opensFolders}, onProblem(text)}. Returns {root, infotext, draw}.
export function buildTools({prefix, generates, current, onProblem}) {
  const root = make("div", "output-tools");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "What to do with the picture");
  const infotext = make("div", "output-about"), text = make("pre", "output-infotext");
  infotext.id = `${prefix}_infotext`;
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", "Infotext");
  const place = make("p", "output-place"), file = make("a");
  file.target = "_blank";
  file.rel = "noopener";
  const copy = copyButton(() => current().shot.image.infotext);
  place.append(file, copy);
  infotext.append(place, text);

  async function attempt(work) {
    try {
      await work();
    } catch (error) {
      onProblem(error.message);
    }
  }

  const download = make("a", "button", "Download");
  const zip = button("Zip", "Save all pictures in one archive", () => {
    const {job, shots, chosen} = current();
    const images = shots.filter((shot) => shot.kind === "image" && (!chosen.size || chosen.has(shot.src)));
    const link = make("a");
    link.href = `${window.webuiRoot}/internal/jobs/${job}/zip?images=${images.map((shot) => shot.image.position).join(",")}`;
    link.download = "pictures.zip";
    link.click();
  });
  const folder = button("Folder", "Open the folder of the picture on this machine",
    () => attempt(() => call("open-folder", {image: imageOf(current()).id})));
  const how = button("How it was made", "Show the steps of this picture in the tab Diffusion process", () => {
    const {job, shot, shots} = current();
    const detail = {job, index: imageOf({shot, shots}).position};
    document.dispatchEvent(new CustomEvent("webui-show-process", {detail}));
  });
  how.id = `${prefix}_how`;
  const sends = make("span", "output-sends");
  root.append(download, zip, folder, sends, how);

  // The image that belongs to a shot: to a grid the first one.
  function imageOf({shot, shots}) {
    return shot.image ?? shots.find((other) => other.kind === "image").image;
  }

  function send(target) {
    const {job, shot, shots} = current();
    return sendPicture(target, job, imageOf({shot, shots}), shot.kind === "image" ? null : () => uploadShot(shot));
  }

  async function uploadShot(shot) {
    const response = await fetch(shot.src).catch(() => null);
    if (!response?.ok) throw new Error("The picture is no longer there.");
    return upload(new File([await response.blob()], shot.name));
  }

  // Every form that takes a picture is a target.
  schemas.then((forms) => {
    for (const [target, schema] of Object.entries(forms)) {
      if (!schema.picture) continue;
      const help = `Use the picture${schema.generates ? " and its prompt" : ""} in ${schema.title}`;
      const element = button(`→ ${schema.title}`, help, () => attempt(() => send(target)));
      element.id = `${prefix}_to_${target}`;
      sends.append(element);
    }
  });

  function draw() {
    const {shot, shots, chosen, opensFolders} = current();
    root.hidden = infotext.hidden = !shot;
    if (!shot) return;
    const image = imageOf({shot, shots});
    downloadLink(shot, download);
    const count = shots.filter((other) => other.kind === "image").length;
    zip.hidden = count < 2;
    zip.textContent = chosen.size ? `Zip (${chosen.size})` : "Zip";
    zip.title = chosen.size ? "Save the chosen pictures in one archive" : "Save all pictures in one archive";
    zip.setAttribute("aria-label", `${zip.textContent}: ${zip.title}`);
    folder.hidden = !opensFolders;
    text.textContent = image.infotext;
    file.textContent = shot.file || image.file;
    file.href = shot.kind === "depth map" ? `${window.webuiRoot}/internal/images/${image.id}` : shot.src;
    if (shot.kind === "depth map") file.textContent = image.file;
    file.title = "Open the file in a tab of its own";
  }

  tabTitles.then((titles) => { how.hidden = !generates || !titles.includes(PROCESS_TAB); });

  draw();
  return {root, infotext, draw};
}

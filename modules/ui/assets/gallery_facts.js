// What the gallery tells about one picture, and the comparison of two.
import {compareSlider} from "./compare_slider.js";
import {call, make} from "./core.js";

const at = (path) => `${window.webuiRoot}/internal/gallery/${path}`;
export const fileAddress = (image) => at(`images/${image.id}?v=${image.v}`);
export const thumbnailAddress = (image) => at(`images/${image.id}/thumbnail?v=${image.v}`);
export const downloadAddress = (image) => at(`images/${image.id}?download=true&v=${image.v}`);
export const fetchFacts = (image) => call(`gallery/images/${image.id}/facts`);

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// Returns [name, value] pairs, prompts first.
function rows(facts) {
  const prompts = [["Prompt", facts.prompt], ["Negative prompt", facts.negative]].filter(([, value]) => value);
  return [...prompts, ...facts.pairs];
}

function table(head, body) {
  const element = make("table", "pic-table");
  if (head.length) {
    const row = make("tr");
    row.append(...head.map((text) => Object.assign(make("th", "", text), {scope: "col"})));
    element.append(make("thead"));
    element.firstChild.append(row);
  }
  const tbody = make("tbody");
  for (const [name, ...values] of body) {
    const row = make("tr"), title = make("th", "", name);
    title.scope = "row";
    row.append(title, ...values.map((value) => make("td", "", value)));
    tbody.append(row);
  }
  element.append(tbody);
  return element;
}

// Returns an element that fills as soon as the server has answered.
export function details(image, onFacts) {
  const box = make("div", "pic-facts", "…");
  fetchFacts(image).then((facts) => {
    const when = new Date(facts.modified * 1000).toLocaleString();
    const file = make("p", "pic-file", `${facts.file} · ${facts.width}×${facts.height} · ${size(facts.bytes)} · ${when}`);
    const parameters = rows(facts);
    box.replaceChildren(file, parameters.length ? table([], parameters)
      : make("p", "", "This picture has no infotext: it does not tell how it was made."));
    onFacts(facts);
  }).catch((error) => { box.textContent = error.message; });
  return box;
}

// Opens a dialog with two pictures under a slider, and a table of what differs.
export async function compare(left, right) {
  const [a, b] = await Promise.all([fetchFacts(left), fetchFacts(right)]);
  const dialog = make("dialog", "lightbox pic-compare");
  dialog.setAttribute("aria-label", "Two pictures compared");
  const {root: stage, slider} = compareSlider(
    {src: fileAddress(left), alt: `Left: ${left.name}`}, {src: fileAddress(right), alt: `Right: ${right.name}`});

  const values = [new Map([["Picture size", `${a.width}×${a.height}`], ...rows(a)]),
    new Map([["Picture size", `${b.width}×${b.height}`], ...rows(b)])];
  const names = [...new Set([...values[0].keys(), ...values[1].keys()])];
  const differing = names.filter((name) => values[0].get(name) !== values[1].get(name));
  const body = differing.map((name) => [name, values[0].get(name) ?? "–", values[1].get(name) ?? "–"]);
  const bar = make("div", "lightbox-bar"), close = make("button", "", "✕");
  Object.assign(close, {type: "button", title: "Close (Esc)", onclick: () => dialog.close()});
  close.setAttribute("aria-label", "Close (Esc)");
  bar.append(make("span", "lightbox-title", `${left.name} and ${right.name}`), close);
  const below = make("div", "pic-differences");
  below.tabIndex = 0;
  below.append(body.length ? table(["", left.name, right.name], body)
    : make("p", "", `All ${names.length} parameters are the same.`));
  dialog.append(bar, stage, below);
  dialog.addEventListener("close", () => dialog.remove());
  document.querySelector(".gradio-container").append(dialog);
  dialog.showModal();
  slider.focus();
}

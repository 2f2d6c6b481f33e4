// The viewer of a recorded diffusion process. It gets all frames and numbers once; an exported page has them, and this
// module, inlined: so what it shows of a recording asks no server.
import {button, call, make} from "./core.js";
import {chart, formulas, number} from "./process_figures.js";

const SPEEDS = [1, 2, 4, 8, 16, 30];  // frames per second
const SOURCES = ["core.js", "process_figures.js", "process.js"];  // of an exported page, in the order of their imports
const STRIP_HEIGHT = 256;  // pixels of a picture in a PNG strip
const ANIMATED = ["denoised", "x"];  // the views first offered

function viewerButton(label, help, act, name = "") {
  const element = button(label, help, act);
  element.className = `pv-button ${name}`;
  return element;
}

function select(help, choices, name) {
  const element = make("select", `pv-select ${name}`);
  element.title = help;
  element.setAttribute("aria-label", help);
  element.append(...choices.map(([value, text]) => Object.assign(make("option", "", text), {value})));
  return element;
}

// Returns the words of a frame, such as "Evaluation 3 of 20: sigma 4.1, timestep 801".
function words(half, frame, count, hasPasses) {
  if (half === "forward") return `t = ${frame.number}: ᾱ ${number(frame.alpha_bar)}, β ${number(frame.beta)}, SNR ${number(frame.snr)}`;
  const pass = hasPasses ? `${frame.pass === 1 ? "First pass" : "Hires pass"}, evaluation` : "Evaluation";
  return `${pass} ${frame.number} of ${count}: sigma ${frame.sigma.toFixed(3)}, timestep ${frame.timestep.toFixed(0)}`;
}

function save(blob, name) {
  const link = make("a", "");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Shows a recording in an element; returns a function that ends what runs there.
export function show(root, recording, id = "") {
  const half = recording.kind;
  const tracks = recording.tracks;
  const frames = tracks[0].frames;
  const hasPasses = frames.at(-1).pass > 1;
  const last = frames.length - 1;
  let index = half === "forward" ? 0 : last;
  let playing = 0;  // number of the animation frame request

  const caption = make("output", "pv-words");
  const slider = Object.assign(make("input", "pv-slider"), {type: "range", min: 1, max: Math.max(last + 1, 2), step: 1});
  slider.setAttribute("aria-label", half === "forward" ? "Timestep shown" : "Step shown");
  const speed = select("Pictures per second", SPEEDS.map((value) => [value, `${value}/s`]), "pv-speed");
  speed.value = 4;
  const play = viewerButton("▶", "Play (space)", toggle, "pv-play");
  const figures = tracks.map(buildTrack);
  const strip = make("div", "pv-strip");
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", "All steps; press one to enlarge it");
  const formulaBox = make("div", "pv-formulas");
  const charts = buildCharts();
  const large = buildDialog();
  const full = viewerButton("⤢", "Full screen (f)", fullScreen, "pv-full");
  full.hidden = !document.fullscreenEnabled;

  function buildTrack(track) {
    const section = make("section", "pv-track");
    const head = make("p", "pv-facts");
    head.append(make("strong", "", track.name), ` ${track.facts}`);
    const views = make("div", "pv-views");
    const pictures = Object.entries(track.views).map(([view, label]) => {
      const figure = make("figure", "pv-view");
      const img = make("img", "");
      img.dataset.view = view;
      const open = viewerButton("", `Enlarge: ${label}`, () => enlarge(track, view), "pv-open");
      open.append(img);
      figure.append(open, make("figcaption", "", label));
      views.append(figure);
      return {view, label, img, figure};
    });
    section.append(head, views);
    return {track, section, pictures};
  }

  function buildCharts() {
    const lines = (key) => tracks.map((track) => ({name: track.name, values: track.frames.map((frame) => frame[key])}));
    if (half === "forward") {
      const axis = ["t: steps taken", frames[0].number, frames[last].number];
      return [chart("ᾱ: share of the picture's variance that is left", axis, lines("alpha_bar"), false),
        chart("σ: noise relative to the picture (logarithmic)", axis, lines("sigma"), true)];
    }
    const axis = ["evaluation of the network", 1, frames.length];
    return [chart("σ: noise level (logarithmic)", axis, lines("sigma"), true),
      chart("d: how far x̂₀ is from the end of its pass", axis, lines("distance"), false)];
  }

  function buildDialog() {
    const dialog = make("dialog", "pv-dialog");
    const img = make("img", "");
    const text = make("p", "");
    const bar = make("div", "pv-bar");
    bar.append(viewerButton("◀", "Step before (←)", () => go(index - 1)), viewerButton("▶", "Next step (→)", () => go(index + 1)),
      viewerButton("✕", "Close (Esc)", () => dialog.close()));
    dialog.append(img, text, bar);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    return {dialog, img, text, track: tracks[0], view: ""};
  }

  // The frame of another run at the same share of its way.
  const frameOf = (track) => track.frames[last ? Math.round(index / last * (track.frames.length - 1)) : 0];
  const passCount = (track, frame) => track.frames.filter((other) => other.pass === frame.pass).at(-1).number;

  function go(to) {
    index = Math.min(Math.max(to, 0), last);
    const frame = frames[index];
    const text = words(half, frame, passCount(tracks[0], frame), hasPasses);
    caption.textContent = text;
    slider.value = index + 1;
    slider.setAttribute("aria-valuetext", text);
    for (const {track, pictures} of figures) {
      const {images} = frameOf(track);
      for (const {view, label, img, figure} of pictures) {
        figure.hidden = !images[view];
        if (images[view]) img.src = images[view];
        img.alt = label;
      }
    }
    for (const [position, item] of [...strip.children].entries()) item.setAttribute("aria-current", position === index);
    centre();
    formulaBox.replaceChildren(...formulas(half, frame));
    for (const {mark} of charts) mark(index);
    drawLarge();
  }

  // Scrolls the strip alone, so that its current picture is in sight.
  function centre() {
    const current = strip.children[index];
    strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.clientWidth) / 2;
  }

  function drawLarge() {
    if (!large.dialog.open) return;
    const frame = frameOf(large.track);
    large.img.src = frame.images[large.view] ?? "";
    large.img.alt = large.track.views[large.view];
    large.text.textContent = `${large.track.views[large.view]} · ${words(half, frame, passCount(large.track, frame), hasPasses)}`;
  }

  function enlarge(track, view) {
    Object.assign(large, {track, view});
    if (!large.dialog.open) large.dialog.showModal();
    drawLarge();
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.textContent = "▶";
    play.title = "Play (space)";
    play.setAttribute("aria-label", play.title);
  }

  function toggle() {
    if (playing) return stop();
    if (index === last) go(0);
    let shown = performance.now();
    play.textContent = "▮▮";
    play.title = "Pause (space)";
    play.setAttribute("aria-label", play.title);
    const tick = (now) => {
      if (!root.isConnected) return stop();
      if (now - shown >= 1000 / speed.value) {
        shown = now;
        go(index + 1);
        if (index === last) return stop();
      }
      playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  }

  function fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen?.();
  }

  function onKey(event) {
    const onField = event.target.matches("select, input:not([type=range])");
    if (onField || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last};
    if (event.key in moves) go(moves[event.key]);
    else if (event.key === " " && !event.target.closest("button")) toggle();
    else if (event.key === "f") fullScreen();
    else return;
    event.preventDefault();
  }

  function fillStrip() {
    const view = ANIMATED.find((name) => name in tracks[0].views);
    strip.replaceChildren(...frames.map((frame, position) => {
      const text = words(half, frame, passCount(tracks[0], frame), hasPasses);
      const item = viewerButton("", text, () => { go(position); enlarge(tracks[0], view); }, "pv-item");
      const img = Object.assign(make("img", ""), {src: frame.images[view], alt: ""});
      item.append(img, make("span", "", half === "forward" ? `t = ${frame.number}` : `${hasPasses ? `${frame.pass}·` : ""}${frame.number}`));
      return item;
    }));
    // Widths are known once the pictures are decoded.
    Promise.allSettled([...strip.querySelectorAll("img")].map((img) => img.decode())).then(centre);
  }

  const bar = make("div", "pv-bar");
  bar.append(viewerButton("|◀", "First step (Home)", () => go(0)), viewerButton("◀", "Step before (←)", () => go(index - 1)), play,
    viewerButton("▶|", "Next step (→)", () => go(index + 1)), slider, speed, full);
  const stage = make("div", "pv-stage");
  stage.append(...figures.map(({section}) => section));
  const layout = make("div", "pv-beside");
  layout.append(stage, formulaBox);
  const drawn = make("div", "pv-charts");
  drawn.append(...charts.map(({figure}) => figure),
    ...recording.charts.map(({title, axis, lines, is_logarithmic}) => chart(title, axis, lines, is_logarithmic).figure));
  const head = make("p", "pv-title", recording.prompt);
  const remark = make("p", "pv-remark", id ? `${recording.remark} ${recording.form_remark}`.trim() : recording.remark);
  root.replaceChildren(head, remark, bar, caption, layout, strip, drawn, buildExports(root, recording, id, stop), large.dialog);
  head.hidden = !recording.prompt;
  remark.hidden = !recording.remark;
  root.tabIndex = 0;
  root.setAttribute("aria-label", "Steps of the process; the arrow keys move through them");
  slider.addEventListener("input", () => { stop(); go(slider.value - 1); });
  root.onkeydown = onKey;
  fillStrip();
  go(index);
  return stop;
}

function buildExports(root, recording, id) {
  const {tracks} = recording;
  const panel = make("div", "pv-exports");
  const names = ["denoised", "x", "noise", "difference"].filter((view) => view in tracks[0].views);
  const view = select("View to save", names.map((name) => [name, tracks[0].views[name].split(":")[0]]), "pv-view-choice");
  const track = select("Run to save", tracks.map(({name}, position) => [position, name]), "pv-track-choice");
  const format = select("Format of the animation", recording.formats.map((name) => [name, name]), "pv-format");
  const message = make("p", "pv-message");
  message.setAttribute("role", "status");
  const result = make("div", "pv-result");
  const title = `diffusion-${recording.kind}`;

  const guard = (act) => async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    message.textContent = "Working…";
    try {
      await act();
      message.textContent = "";
    } catch (error) {
      message.textContent = error.message;
    } finally {
      pressed.disabled = false;
    }
  };

  async function animate() {
    const path = `process/${id}/animation/${track.value}/${view.value}/${format.value}`;
    const response = await fetch(`${window.webuiRoot}/internal/${path}`).catch(() => null);
    if (!response) throw new Error("The server does not answer.");
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.detail ?? `The server answered ${response.status}.`);
    const blob = await response.blob();
    const isVideo = blob.type.startsWith("video/");
    const shown = make(isVideo ? "video" : "img", "pv-animation");
    if (isVideo) Object.assign(shown, {controls: true, loop: true, muted: true, autoplay: true});
    else shown.alt = "The animation";
    shown.src = URL.createObjectURL(blob);
    const link = make("a", "pv-save", `Save the animation (${Math.ceil(blob.size / 1024)} kB)`);
    link.href = shown.src;
    link.download = `${title}-${view.value}.${format.value.toLowerCase()}`;
    const previous = result.querySelector(".pv-animation")?.src;
    if (previous) URL.revokeObjectURL(previous);
    result.replaceChildren(shown, link);
  }

  async function savePage() {
    const page = await makePage(recording);
    save(new Blob([page], {type: "text/html"}), `${title}.html`);
  }

  const saveStrip = async () => save(await drawStrip(recording, tracks[track.value], view.value), `${title}-${view.value}.png`);
  track.hidden = tracks.length < 2;
  panel.append(make("span", "", "Save"), view, track);
  if (id) panel.append(format, viewerButton("Animation", "Make an animation and show it", guard(animate), "pv-animate"));
  panel.append(viewerButton("PNG strip", "Save all steps side by side as one picture", guard(saveStrip), "pv-png"));
  if (id) panel.append(viewerButton("HTML page", "Save this viewer with its pictures as one file, to put online", guard(savePage), "pv-page"));
  panel.append(message, result);
  return panel;
}

// Returns all steps of one view side by side, with their numbers, as a PNG file.
async function drawStrip(recording, track, view) {
  const frames = track.frames.filter((frame) => frame.images[view]);
  const images = await Promise.all(frames.map(async (frame) => {
    const image = new Image();
    image.src = frame.images[view];
    await image.decode();
    return image;
  }));
  const width = Math.max(...images.map((image) => Math.round(image.width * STRIP_HEIGHT / image.height)));
  const canvas = Object.assign(document.createElement("canvas"), {width: (width + 8) * images.length + 8, height: STRIP_HEIGHT + 56});
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#111";
  context.font = "16px sans-serif";
  for (const [position, image] of images.entries()) {
    const left = 8 + position * (width + 8);
    const frame = frames[position];
    context.drawImage(image, left, 8, width, STRIP_HEIGHT);
    const lines = recording.kind === "forward" ? [`t = ${frame.number}`, `ᾱ = ${number(frame.alpha_bar)}`]
      : [`${frame.pass > 1 ? "hires " : ""}${frame.number}: σ = ${number(frame.sigma)}`, `t = ${frame.timestep.toFixed(0)}`];
    lines.forEach((line, row) => context.fillText(line, left, STRIP_HEIGHT + 28 + 20 * row));
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error(`A strip of ${images.length} pictures is too wide for this browser. Save an animation instead.`);
  return blob;
}

// Returns this viewer with its recording as one HTML file that asks no other.
async function makePage(recording) {
  const read = async (name) => {
    const response = await fetch(new URL(`./${name}`, import.meta.url)).catch(() => null);
    if (!response?.ok) throw new Error("The server does not answer.");
    return response.text();
  };
  const style = await read("process.css");
  const code = (await Promise.all(SOURCES.map(read))).join("\n").replace(/^import .*$/gm, "").replace(/^export /gm, "");
  const data = JSON.stringify(recording).replaceAll("<", "\\u003c");
  const end = "<" + "/script>";
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>Diffusion process</title><style>${style}</style></head><body class="pv-page-body"><h1>Diffusion process</h1>`,
    `<div class="process-viewer" id="viewer"></div><script type="application/json" id="recording">${data}${end}`,
    `<script type="module">${code}\nshow(document.getElementById("viewer"), JSON.parse(document.getElementById("recording").textContent));${end}</body></html>`,
  ].join("\n");
}

// Shows the recordings of one half in an element: {load(id), setBusy(isBusy)}; the latest one comes back after a reload.
export function makeViewer(root, half) {
  const key = `webui-process-${half}`;
  let shown = "";
  let stop = () => {};

  function setBusy(isBusy) {
    root.classList.toggle("pv-busy", isBusy);
    root.setAttribute("aria-busy", isBusy);
  }

  async function load(id, isRestored = false) {
    try {
      if (id && id !== shown) {
        const recording = await call(`process/${id}`);
        stop();
        stop = show(root, recording, id);
        shown = id;
        sessionStorage.setItem(key, id);
      }
    } catch (error) {
      if (isRestored) sessionStorage.removeItem(key);
      else root.replaceChildren(make("p", "notice error", error.message));
    } finally {
      setBusy(false);
    }
  }

  root.append(make("p", "pv-empty", `The steps appear here: press “Show the ${half} process”.`));
  load(sessionStorage.getItem(key), true);
  return {load, setBusy};
}

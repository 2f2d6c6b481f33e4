// The output of a tab: runs and follows its jobs, one after another, and shows what they made.
import {button, call, make} from "../core.js";
import {listen} from "../page_state.js";
import {buildGenerate} from "../output/generate.js";
import {followJob, hasEnded, recallJobs, rememberJobs} from "../output/job.js";
import {listenToKeys} from "../output/keyboard.js";
import {notify, prepareToNotify, showShare} from "../output/notify.js";
import {buildTools, copyButton, downloadLink} from "../output/tools.js";
import {buildTable} from "../output/table.js";
import {buildView} from "../output/view.js";

const LOST = "The server does not answer. This page goes on by itself when it does.";
const pictures = (count) => `${count} ${count === 1 ? "picture" : "pictures"}`;

// What is shown of a job's result: its grid first, as in A1111, its pictures, its depth map.
function shotsOf(result) {
  const at = (path) => `${window.webuiRoot}/internal/${path}`;
  const shots = result.pictures.filter(({kind}) => kind !== "image" || result.shows_cells).map((image, i) => ({
    kind: image.kind, image, src: at(`images/${image.id}`), thumbnail: at(`images/${image.id}/thumbnail`), file: image.file,
    name: image.name, size: [image.width, image.height], title: image.kind === "grid" ? "the grid" : `picture ${i + 1}`,
    alt: image.infotext.split("\n")[0].slice(0, 200) || "Picture without a prompt",
  }));
  shots.sort((a, b) => (a.kind !== "grid") - (b.kind !== "grid"));
  const extra = (kind, path, title, size, file) => ({
    kind, image: null, src: at(path), thumbnail: at(path), file, name: file.split(/[\\/]/).pop() || `${path.split("/").pop()}.png`, size, title, alt: title,
  });
  if (result.grid) shots.unshift(extra("grid", `jobs/${result.id}/grid`, "the grid", [0, 0], result.grid));
  if (result.has_depth_map) shots.push(extra("depth map", `jobs/${result.id}/depth-map`, "the depth map", [0, 0], ""));
  return shots;
}

function notice(kind, text) {
  const element = make("p", kind === "error" ? "notice error" : "notice", text);
  element.setAttribute("role", kind === "error" ? "alert" : "status");
  return element;
}

// Builds the output of a form. `submit()` starts a job with its values and resolves to the job's id; `fill(values)` sets
// some of them. Returns {root, side, generate, run, follow, interrupt, skip, isBusy, selected}: `root` is the panel, `side`
// is placed next to the prompts, `follow(id)` goes on with any job or group of jobs once those before it have ended.
export function buildOutput(schema, submit, fill) {
  const {prefix} = schema;
  const root = make("div", "output"), refusal = make("div", "output-messages"), messages = make("div", "output-messages");
  messages.id = `${prefix}_message`;
  let current = null;      // id of the job that is followed
  let shown = null;        // the result whose pictures are shown
  let waiting = [];        // ids of this tab's jobs that come after it
  let link = null;         // to the current job
  let size = [0, 0];       // of the current job's pictures
  let table = null;        // of the current or last job, if it is a script with a table of its cells
  let isInSight = true, sending = 0, isForever = false, isStopping = false, stopsWhenSent = false, canSkip = false, fetching = null;

  const view = buildView({
    empty: buildEmpty(),
    onSelect: () => {
      tools.draw();
      root.dispatchEvent(new Event("picture-shown"));
    },
    tools: (shot) => [downloadLink(shot)],
    details: (shot) => {
      const box = make("div"), text = shot.image?.infotext ?? "";
      box.append(make("pre", "lightbox-infotext", text), copyButton(() => text));
      return text ? box : null;
    },
  });
  const tools = buildTools({
    prefix,
    generates: schema.generates,
    current: () => ({
      job: shown?.id, shot: view?.shot() ?? null, shots: view.shots(), chosen: view.chosen(), opensFolders: shown?.opens_folders,
    }),
    onProblem: (text) => refuse(text),
  });
  const buttons = buildGenerate(prefix, {run, forever, interrupt, skip});

  function buildEmpty() {
    const box = make("div", "output-empty");
    const what = !schema.generates ? "Choose a picture and an upscaler" : schema.picture ? "Choose a picture, type a prompt" : "Type a prompt";
    box.append(make("p", "", `${what} and press Generate`));
    if (schema.picture) return box;
    const chips = make("div", "output-demos");
    box.append(chips);
    listen("choices", ({demo_prompts: demos = []}) => chips.replaceChildren(...demos.map((demo) => {
      const chip = button(demo, "Use this prompt", () => fill({prompt: demo}));
      chip.className = "chip";
      return chip;
    })));
    return box;
  }

  const isBusy = () => current !== null || sending > 0;

  function draw() {
    buttons.draw({isBusy: isBusy(), isStopping: isStopping || stopsWhenSent, canSkip: canSkip && current !== null, waitingCount: waiting.length, isForever});
  }

  function remember() {
    const first = current ?? shown?.id;
    rememberJobs(prefix, [first, ...waiting].filter(Boolean));
  }

  function refuse(text) {
    refusal.replaceChildren(...(text ? [notice("error", text)] : []));
    if (text) refusal.scrollIntoView({block: "nearest"});
  }

  // Starts a job with the form's values; `where` is "front" to have it run before those that wait.
  async function run(where = "back") {
    prepareToNotify();
    refuse("");
    sending += 1;
    if (!current) {
      messages.replaceChildren();
      view.begin("Starting");
    }
    draw();
    try {
      const id = await submit();
      if (!id) {  // somebody has thought better of it
        isForever = false;
        if (!current) view.end();
        return;
      }
      if (where === "front") await call(`jobs/${id}/move/front`, {}).catch(() => {});  // it runs already
      add(id, where);
    } catch (error) {
      isForever = false;
      if (!current) view.end();
      refuse(error.message);
    } finally {
      sending -= 1;
      if (stopsWhenSent && current) interrupt();
      stopsWhenSent = false;
      draw();
    }
  }

  function add(id, where = "back") {
    if (!current) return start(id);
    if (where === "front") waiting.unshift(id);
    else waiting.push(id);
    remember();
    draw();
  }

  function start(id) {
    current = id;
    isStopping = canSkip = false;
    size = [0, 0];
    if (!sending) view.begin("Starting");
    remember();
    draw();
    const ready = fetchResult(id).then((result) => {
      size = result.size;
      if (result.has_table && current === id) openTable(result, true);
    }).catch(() => {});
    let seen = 0;
    link = followJob(id, {
      onStatus: (status) => {
        canSkip = status.image_count > 1 && status.state === "running";
        if (hasEnded(status)) return finish(id, status);
        view.advance(status, size);
        showShare(prefix, status.fraction);
        draw();
        if (table?.job === id) table.refresh();
        else if (status.images > seen) {
          seen = status.images;
          ready.then(() => table?.job === id || showResult(id, true)).catch(() => {});
        }
      },
      onLost: () => view.say(LOST, true),
      onGone: () => finish(id, {state: "gone", images: 0, error: "This job is no longer known."}),
    });
    link.setInSight(isInSight);
  }

  // Shows the table of a script's cells in place of single pictures.
  function openTable(result, isLive) {
    if (table?.job !== result.id) table = buildTable({id: result.id, size: result.size, schema, fill, onProblem: refuse});
    view.setTable(table.root, isLive);
    return table.refresh(true);
  }

  const fetchResult = (id) => call(`jobs/${id}/result`);

  // Shows the pictures that there are; the later of two answers counts.
  async function showResult(id, isLive) {
    const request = fetchResult(id);
    fetching = request;
    const result = await request;
    if (fetching !== request || (isLive && !result.pictures.length)) return result;
    shown = result;
    if (!result.has_table) view.setTable(null);
    await view.show(shotsOf(result), isLive);
    return result;
  }

  async function finish(id, status) {
    let result = null;
    if (status.state !== "gone") result = await showEnd(id);
    const failed = status.state === "failed" || status.state === "gone";
    messages.replaceChildren(...(status.notes ?? []).map((text) => notice("note", text)),
      ...(status.error ? [notice(failed ? "error" : "note", status.error)] : []));
    current = link = null;
    isStopping = canSkip = false;
    showShare(prefix, null);
    const next = waiting.shift();
    if (next) start(next);
    else if (isForever && status.state === "done") run();
    else {
      isForever = false;
      view.end();
      const text = status.error || `Finished: ${pictures(result?.pictures.length ?? 0)}`;
      view.announce(text);
      notify(text);
    }
    remember();
    draw();
  }

  async function showEnd(id) {
    fetching = null;
    try {
      const result = await fetchResult(id);
      if (result.pictures.length || !view.shots().length) await showEnded(result);
      return result;
    } catch (error) {
      refuse(error.message);
      return null;
    }
  }

  async function showEnded(result) {
    shown = result;
    if (result.has_table) await openTable(result, false);
    else view.setTable(null);
    await view.show(shotsOf(result), false);
  }

  function forever() {
    isForever = !isForever;
    if (isForever && !isBusy()) run();
    draw();
  }

  async function interrupt() {
    isForever = false;
    if (!current) {
      stopsWhenSent = sending > 0;
    } else if (!isStopping) {
      isStopping = true;
      view.say("Stopping");
      await call(`jobs/${current}/interrupt`, {}).catch(() => { isStopping = false; });
    }
    draw();
  }

  function skip() {
    if (current && canSkip) call(`jobs/${current}/skip`, {}).catch((error) => refuse(error.message));
  }

  // Goes on with the jobs of this tab's last visit, and shows the last one that has ended.
  async function reattach() {
    const ids = recallJobs(prefix);
    while (ids.length) {
      const response = await fetch(`${window.webuiRoot}/internal/jobs/${ids[0]}/result`).catch(() => null);
      if (response?.ok) {
        const result = await response.json();
        if (!hasEnded(result)) break;
        if (current || sending) return;
        await showEnded(result);
      } else if (response?.status !== 404) break;
      ids.shift();
    }
    for (const id of ids) add(id);
    if (!current) remember();
  }

  new IntersectionObserver(([entry]) => {
    isInSight = entry.isIntersecting || root.offsetParent !== null;
    link?.setInSight(isInSight);
  }).observe(root);

  // The picture takes what the window leaves below the prompts.
  const observer = new ResizeObserver(() => {
    const columns = root.parentElement;
    if (columns?.offsetParent) root.style.setProperty("--output-top", `${Math.round(columns.getBoundingClientRect().top + window.scrollY)}px`);
  });
  for (const element of [document.body, root]) observer.observe(element);

  root.append(view.root, refusal, tools.root, messages, tools.infotext);
  listenToKeys();
  draw();
  reattach();
  return {
    root, side: buttons.root, generate: buttons.generate, run: () => run(), follow: (id) => add(id), interrupt, skip, isBusy,
    forget: () => refuse(""),
    selected: () => {
      const shot = view.shot();
      const image = shot?.image ?? view.shots().find((other) => other.kind === "image")?.image;
      return image ? {job: shown.id, ...image} : null;
    },
  };
}

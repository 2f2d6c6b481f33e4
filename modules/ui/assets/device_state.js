// The state of the device as a dot with words, and what the server has to say in a banner that can be closed.
import {button, call, make} from "./core.js";
import {workersFold} from "./workers.js";

const QUICK_MS = 1000, SLOW_MS = 4000;
const closedKey = (line) => `webui-closed-${line}`;

export function showState(place, banner) {
  const state = make("span", "state");
  const words = make("span", "state-words");
  state.setAttribute("role", "status");
  state.tabIndex = 0;
  state.append(make("span", "state-dot"), words);
  const workers = workersFold();
  place.append(state, workers.root);

  function tell(phase, text, isQuiet) {
    if (words.textContent !== text) words.textContent = text;
    state.dataset.phase = phase;
    state.title = text;
    words.classList.toggle("unseen", isQuiet);
  }

  function showBanner(lines) {
    const open = lines.filter((line) => localStorage.getItem(closedKey(line)) === null);
    if (banner.dataset.lines === open.join("\n")) return;
    banner.dataset.lines = open.join("\n");
    banner.replaceChildren(...open.map((line) => {
      const row = make("p", "bar-note"), text = make("span", "bar-note-text", line);
      text.title = line;
      text.onclick = () => text.classList.toggle("whole");  // a narrow page shows its beginning
      const close = button("✕", "Close this for good", () => {
        localStorage.setItem(closedKey(line), "");
        row.remove();
      });
      close.classList.add("icon");
      row.append(text, close);
      return row;
    }));
  }

  let isLost = false;

  // An answer after none fires "webui-server-back" on the document.
  async function ask() {
    let delay = QUICK_MS;
    try {
      const status = await call("state");
      const isReady = status.phase === "ready";
      if (isLost) document.dispatchEvent(new Event("webui-server-back"));
      isLost = false;
      tell(status.phase, isReady ? `Ready${status.device ? ` · ${status.device}` : ""}` : status.text, isReady);
      workers.tell(status.workers);
      showBanner([status.warning, status.demo, ...status.extension_errors].filter(Boolean));
      if (isReady) delay = SLOW_MS;
    } catch {
      isLost = true;
      tell("failed", "The server does not answer", false);
    }
    timer = setTimeout(ask, document.hidden ? SLOW_MS : delay);
  }

  let timer = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    clearTimeout(timer);
    ask();
  });
  ask();
}

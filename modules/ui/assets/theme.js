// Light, dark, or as the system says; chosen by a button, kept by the browser. A flag sets it until somebody chooses.
import {button} from "./core.js";

const KEY = "webui-theme";
const MODES = [["system", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];
const system = matchMedia("(prefers-color-scheme: dark)");

const chosen = () => localStorage.getItem(KEY) ?? window.webuiColours ?? "system";

function apply() {
  const mode = chosen();
  document.body.classList.toggle("dark", mode === "dark" || (mode === "system" && system.matches));
}

export function startTheme() {
  apply();
  system.addEventListener("change", apply);
}

export function themeButton() {
  const element = button("◐", "Colours", () => {
    const index = MODES.findIndex(([mode]) => mode === chosen());
    localStorage.setItem(KEY, MODES[(index + 1) % MODES.length][0]);
    show();
  });
  element.classList.add("icon");
  element.id = "theme_button";
  function show() {
    apply();
    const [, sign, words] = MODES.find(([mode]) => mode === chosen()) ?? MODES[0];
    element.textContent = sign;
    element.title = `Colours: ${words}. Click for the next.`;
    element.setAttribute("aria-label", element.title);
  }
  show();
  return element;
}

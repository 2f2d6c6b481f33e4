// The bar above the tabs: the checkpoint, the options chosen as quicksettings, the device's state, and the tabs' names.
import {makeCombobox} from "./combobox.js";
import {button, call, make} from "./core.js";
import {makeField} from "./generation/fields.js";
import {listen, load, publish, refresh, tabTitles} from "./page_state.js";
import {currentTab, hashOf, visibleTab} from "./tabs.js";
import {themeButton} from "./theme.js";
import {showState} from "./device_state.js";

const OPTIONS_ON_PHONES = "(max-width: 800px)";

export function mount(element) {
  const root = element.querySelector(".top-bar");
  const bar = make("div", "bar-row");
  const checkpoint = makeCombobox("setting_sd_model_checkpoint", "Stable Diffusion checkpoint");
  const options = make("div", "bar-options");
  const more = make("details", "bar-more");
  const words = make("p", "notice bar-words");
  words.hidden = true;
  words.setAttribute("role", "status");

  async function change(path, body) {
    root.setAttribute("aria-busy", "true");
    try {
      const state = publish("model", await call(path, body));
      tell(state.words ?? "");
      if (body.action === "refresh") refresh("choices");
    } catch (error) {
      tell(error.message, "error");
      refresh("model");  // shows what is chosen still
    }
    root.removeAttribute("aria-busy");
  }

  function tell(text, kind = "") {
    words.textContent = text;
    words.hidden = !text;
    words.className = `notice bar-words ${kind}`;
  }

  checkpoint.root.title = "The checkpoint (model) that makes the pictures; type to filter the list";
  checkpoint.root.addEventListener("change", () => change("model", {action: "checkpoint", value: checkpoint.get()}));
  const rescan = button("↻", "Look for new model files", () => change("model", {action: "refresh"}));
  rescan.id = "refresh_checkpoints";
  rescan.className = "icon";
  const convert = button("To .safetensors", "Write this .ckpt as .safetensors beside it: opens quicker, and can hold no program", () =>
    change("model", {action: "convert"}));
  convert.id = "convert_checkpoint";
  more.append(make("summary", "", "⋯"), options);
  more.firstChild.title = "Further options of the model";
  more.firstChild.setAttribute("aria-label", more.firstChild.title);
  const closeMore = (event) => { if (event.key === "Escape" || (event.type === "pointerdown" && !more.contains(event.target))) more.open = false; };
  for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, closeMore);
  const state = make("span", "bar-state");
  state.id = "engine_state";
  const narrow = matchMedia(OPTIONS_ON_PHONES);
  const place = () => {
    more.hidden = !narrow.matches;
    if (narrow.matches) more.append(options);
    else rescan.after(options);
  };
  bar.append(checkpoint.root, rescan, more, make("span", "bar-gap"), state, themeButton());
  place();
  narrow.addEventListener("change", place);
  const banner = make("div", "bar-banner");
  banner.id = "banner";
  root.append(skipLink(), make("h1", "unseen", "Stable Diffusion WebUI"), bar, banner, words, tabBar());

  function showOptions(model) {
    const fields = model.options.filter((option) => !model.without_effect.includes(option.name)).map((option) => {
      const isVae = option.name === "sd_vae";
      const control = makeField({...option, choices: isVae ? model.vaes : option.choices}, `setting_${option.name}`, {});
      control.set(option.value);
      control.root.addEventListener("change", () => change("model/option", {name: option.name, value: control.get()}));
      return control.root;
    });
    if (model.predictions.length) {
      const field = {kind: "choice", label: "Predicts", default: null, choices: model.predictions,
        help: "What the network predicts; a wrong choice gives grey or burnt pictures"};
      const control = makeField(field, "setting_prediction", {});
      control.set(model.prediction);
      control.root.addEventListener("change", () => change("model", {action: "prediction", value: control.get()}));
      fields.push(control.root);
    }
    if (model.can_convert) fields.push(convert);
    options.replaceChildren(...fields);
  }

  listen("model", (model) => {
    checkpoint.offer(model.checkpoints);
    checkpoint.set(model.checkpoint);
    // A field that is being used is not taken away; the next change shows the rest.
    if (!options.contains(document.activeElement)) showOptions(model);
  });
  load("model");
  showState(state, banner);
}

// The page's first stop for the keyboard: leads past bar and tabs to the prompt, or to the first control of the tab in sight.
function skipLink() {
  const link = make("a", "skip-link");
  link.addEventListener("click", (event) => {
    event.preventDefault();  // the address names the tab
    const tab = visibleTab();
    const target = tab ? tab.root.querySelector("textarea")
      : [...document.querySelectorAll(`#tabs > .tabitem :is(a[href], button, input, select, textarea, [tabindex="0"])`)]
        .find((control) => control.offsetParent !== null && !control.disabled);
    target?.focus();
  });
  const name = () => {
    link.textContent = visibleTab() ? "To the prompt" : "To the tab's content";
    link.href = location.hash || "#";
  };
  document.addEventListener("webui-tab", name);
  link.addEventListener("focus", name);
  name();
  return link;
}

// The names of all tabs, as links: a tab has an address, and Back leads to the one before.
function tabBar() {
  const nav = make("nav", "tab-bar");
  nav.setAttribute("aria-label", "Tabs");
  const mark = () => {
    for (const link of nav.children) {
      const isOpen = link.textContent === currentTab();
      if (!isOpen) link.removeAttribute("aria-current");
      else link.setAttribute("aria-current", "page");
      if (isOpen) link.scrollIntoView({block: "nearest", inline: "nearest"});
    }
  };
  tabTitles.then((titles) => {
    nav.append(...titles.map((title) => {
      const link = make("a", "", title);
      link.href = hashOf(title);
      return link;
    }));
    mark();
  });
  document.addEventListener("webui-tab", mark);
  return nav;
}

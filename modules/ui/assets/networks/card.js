// One card of a network: its picture, its name, and what is the matter with it.
import {make} from "../core.js";
import {fits} from "./filter.js";

const address = (card) => `${window.webuiRoot}/internal/networks/${card.id}/thumbnail?${card.picture}`;

// Returns an element with a card's picture, or the first letter of its name where it has none.
export function cardPicture(card) {
  const letter = make("span", "network-letter", [...card.name][0]?.toUpperCase() ?? "?");
  letter.setAttribute("aria-hidden", "true");
  if (!card.picture) return letter;
  const image = make("img", "network-picture");
  image.alt = "";
  image.draggable = false;
  image.decoding = "async";
  image.onerror = () => { if (image.getAttribute("src")) image.replaceWith(letter); };
  image.src = address(card);
  return image;
}

function remarks(card, family) {
  const found = [];
  if (card.error) found.push(["network-bad", "⚠ broken", card.error]);
  if (card.family && card.kind !== "Checkpoint" && !fits(card, family)) {
    found.push(["network-misfit", card.family, `It was made for ${card.family}, the chosen checkpoint is ${family}.`]);
  }
  return found;
}

// Builds a card. `pick()` and `details()` are called by its two buttons.
export function buildCard(card, family, {pick, details}) {
  const root = make("div", "network-card"), choose = make("button", "network-pick"), more = make("button", "network-more", "i");
  const name = make("span", "network-name", card.name);
  const told = remarks(card, family);
  choose.type = more.type = "button";
  choose.append(cardPicture(card), name);
  for (const [style, text] of told) choose.append(make("span", `network-badge ${style}`, text));
  choose.title = [card.folder ? `${card.folder}/${card.name}` : card.name, card.description, ...told.map(([, , text]) => text)].filter(Boolean).join("\n");
  choose.setAttribute("aria-label", [card.name, ...told.map(([, , text]) => text)].join(": "));
  more.title = `About ${card.name} (I)`;
  more.setAttribute("aria-label", `About ${card.name}`);
  choose.addEventListener("click", pick);
  more.addEventListener("click", details);
  root.append(choose, more);
  return root;
}

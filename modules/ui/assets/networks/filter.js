// Which cards are listed, and in which order. Cards in, cards out.

export const SORTS = {
  name: ["Name", (one, other) => one.order.localeCompare(other.order)],
  date: ["Newest first", (one, other) => other.modified - one.modified],
  used: ["Last used", (one, other) => other.used - one.used || one.order.localeCompare(other.order)],
};

// Adds to each card what it is found and sorted by.
export function prepare(cards) {
  for (const card of cards) {
    card.order = card.name.toLowerCase();
    card.text = [card.name, card.alias, card.folder, card.description, card.activation_text, card.hash].join(" ").toLowerCase();
  }
  return cards;
}

// Returns whether a card can be used with checkpoints of a family; one of an unknown family can.
export function fits(card, family) {
  return card.kind === "Checkpoint" || !family || !card.family || card.family.split(", ").includes(family);
}

// Returns the folders that hold cards of a kind, with those above them.
export function foldersOf(cards, kind) {
  const folders = new Set();
  for (const card of cards) {
    if (card.kind !== kind) continue;
    const parts = card.folder.split("/").filter(Boolean);
    parts.forEach((_, index) => folders.add(parts.slice(0, index + 1).join("/")));
  }
  return [...folders].sort((one, other) => one.localeCompare(other));
}

// Returns {cards, hidden}: those to list in their order, and how many are left out because of their family.
export function choose(cards, {kind, words, folder, sort, family, showsAll}) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const isIn = (card) => !folder || card.folder === folder || card.folder.startsWith(`${folder}/`);
  const found = cards.filter((card) => card.kind === kind && isIn(card) && wanted.every((word) => card.text.includes(word)));
  const fitting = showsAll ? found : found.filter((card) => fits(card, family));
  const [, compare] = SORTS[sort] ?? SORTS.name;
  return {cards: fitting.sort(compare), hidden: found.length - fitting.length};
}

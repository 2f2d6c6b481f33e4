// The lists that the gallery is narrowed with; folders are nested.
import {call} from "./core.js";

const ALL = {folder: "All folders", model: "All models", sampler: "All samplers", size: "All sizes"};
const TOP_FOLDER = "(top folder)";
const INDENT = "\u2003";  // a select shows no other kind of space at the beginning

// Returns [[folder, pictures in it and below]], parents before what is in them; among those of one parent the last first,
// which is the latest day.
export function nest(folders) {
  const counts = new Map();
  for (const [path, count] of folders) {
    const parts = path.split("/");
    for (let depth = 1; depth <= parts.length; depth++) {
      const folder = parts.slice(0, depth).join("/");
      counts.set(folder, (counts.get(folder) ?? 0) + count);
    }
  }
  const compare = (one, other) => {
    const [a, b] = [one.split("/"), other.split("/")];
    const at = a.findIndex((part, i) => part !== b[i]);
    if (at < 0 || b[at] === undefined) return a.length - b.length;
    return (at ? -1 : 1) * a[at].localeCompare(b[at], undefined, {numeric: true});
  };
  return [...counts].sort(([one], [other]) => compare(one, other));
}

function folderOptions(folders) {
  const named = folders.filter(([path]) => path);
  const options = nest(named).map(([path, count]) => {
    const parts = path.split("/");
    return new Option(`${INDENT.repeat(parts.length - 1)}${parts[parts.length - 1]} (${count})`, path);
  });
  const atTop = folders.find(([path]) => !path);
  if (atTop && named.length) options.unshift(Object.assign(new Option(`${TOP_FOLDER} (${atTop[1]})`, ""), {disabled: true}));
  return options;
}

// Asks what occurs, and offers it; what is chosen stays.
export async function fillFilters(panel) {
  const facets = await call("gallery/facets").catch(() => null);
  for (const [name, values] of Object.entries(facets ?? {})) {
    const box = panel.querySelector(`select[data-filter=${name}]`), value = box.value;
    const found = name === "folder" ? folderOptions(values) : values.map(([text, count]) => new Option(`${text} (${count})`, text));
    box.replaceChildren(new Option(ALL[name], ""), ...found);
    box.value = value;
    if (box.selectedIndex < 0) box.selectedIndex = 0;
    box.hidden = found.length < 2 && !value;
  }
}

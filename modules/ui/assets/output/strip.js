// The strip of thumbnails below the picture: one to look at, any number to take into an archive.
import {button, make} from "../core.js";

// actions: {onSelect(index), onTiles(), onChoose()}. Returns {root, draw, chosen, current}.
export function buildStrip(actions) {
  const root = make("div", "output-strip");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Pictures of this job");
  root.hidden = true;
  const tiles = button("⊞", "Show all side by side", actions.onTiles);
  tiles.className = "icon output-all";
  const cells = new Map();  // address of a picture -> its cell
  const chosen = new Set();  // addresses

  function newCell(shot) {
    const cell = make("span", "output-cell");
    const open = button("", `Show ${shot.title}`, null);
    const image = make("img");
    Object.assign(image, {src: shot.thumbnail, alt: ""});
    open.append(image);
    cell.append(open);
    if (shot.kind !== "image") {
      cell.append(make("span", "output-kind", shot.kind === "grid" ? "Grid" : "Depth"));
      return cell;
    }
    const check = make("input");
    Object.assign(check, {type: "checkbox", title: "Choose for Zip"});
    check.setAttribute("aria-label", `Choose ${shot.title} for Zip`);
    check.onchange = () => {
      if (check.checked) chosen.add(shot.src);
      else chosen.delete(shot.src);
      root.classList.toggle("choosing", chosen.size > 0);
      actions.onChoose();
    };
    cell.append(check);
    return cell;
  }

  // `current` is the index of the shot that is shown alone, or -1; `isExpected` says that there will be more than one.
  function draw(shots, current, canTile, isExpected) {
    root.hidden = shots.length < 2 && !isExpected;
    for (const address of cells.keys()) {
      if (shots.some((shot) => shot.src === address)) continue;
      cells.delete(address);
      chosen.delete(address);
    }
    root.classList.toggle("choosing", chosen.size > 0);
    tiles.hidden = !canTile;
    tiles.setAttribute("aria-pressed", String(current < 0));
    const wanted = [tiles, ...shots.map((shot, index) => {
      const key = shot.src;
      if (!cells.has(key)) cells.set(key, newCell(shot));
      const cell = cells.get(key), open = cell.querySelector("button");
      open.onclick = () => actions.onSelect(index);
      if (index === current) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
      return cell;
    })];
    wanted.forEach((cell, i) => { if (root.children[i] !== cell) root.insertBefore(cell, root.children[i] ?? null); });
    while (root.children.length > wanted.length) root.lastChild.remove();
    const open = root.querySelector("[aria-current]");
    if (!open) return;
    const [box, place] = [root.getBoundingClientRect(), open.getBoundingClientRect()];  // scrollIntoView moves the page, too
    root.scrollLeft += Math.max(0, place.right - box.right) - Math.max(0, box.left - place.left);
  }

  return {
    root, draw,
    chosen: () => chosen,
    current: () => root.querySelector("[aria-current]"),
  };
}

// The cells of a script in a table, axis labels as headers. They fill in as pictures finish; a click shows one large.
import {button, call, make} from "../core.js";
import {openLightbox} from "../lightbox.js";
import {copyButton, downloadLink} from "./tools.js";

const REFRESH_MS = 1000;
const REFRESH_MS_PER_CELL = 2;  // thousands of cells are asked for less often
const ENDED_WITHOUT = {failed: "✕", cancelled: "–"};

// Builds the table of a job. `fill(values)` sets some of the form's values. Returns {job, root, refresh}; `refresh(true)`
// asks at once.
export function buildTable({id, size, schema, fill, onProblem}) {
  const root = make("div", "cells");
  root.tabIndex = 0;
  root.setAttribute("role", "region");
  root.setAttribute("aria-label", "Cells of the script");
  if (size[0] && size[1]) root.style.setProperty("--ratio", `${size[0]} / ${size[1]}`);
  const places = new Map();  // "column,row,table" -> its <td>
  let titleOf = () => "", cells = [], timer = 0, asking = null, isStale = false;

  const address = (position) => `${window.webuiRoot}/internal/images/${id}.${position}`;
  // The pictures of all cells: {cell, position}.
  const finished = () => cells.flatMap((cell) =>
    Array.from({length: cell.image_count}, (_, i) => ({cell, position: cell.first_image + i})));

  function layOut({columns, rows, tables}) {
    root.style.setProperty("--columns", columns.length);
    root.style.setProperty("--rows", rows.length);
    root.replaceChildren(...tables.map((title, z) => {
      const element = make("table"), head = make("thead"), body = make("tbody"), top = make("tr");
      if (title) element.append(make("caption", "", title));
      const hasRowLabels = rows.some(Boolean);
      if (hasRowLabels) top.append(make("td"));
      top.append(...columns.map((label) => Object.assign(make("th", "", label), {scope: "col"})));
      if (columns.some(Boolean)) head.append(top);
      body.append(...rows.map((label, y) => {
        const row = make("tr");
        if (hasRowLabels) row.append(Object.assign(make("th", "", label), {scope: "row"}));
        row.append(...columns.map((_, x) => {
          const place = make("td", "cell");
          places.set([x, y, z].join(), place);
          return place;
        }));
        return row;
      }));
      element.append(head, body);
      return element;
    }));
    titleOf = ([x, y, z]) => [columns[x], rows[y], tables[z]].filter(Boolean).join(" · ") || "the picture";
  }

  function draw(cell) {
    const place = places.get(cell.place.join());
    const look = [cell.state, cell.first_image, cell.image_count].join();
    if (place.dataset.look === look) return;
    place.dataset.look = look;
    place.classList.toggle("waiting", cell.state === "running" && !cell.image_count);
    const title = titleOf(cell.place);
    if (cell.image_count) {
      const open = button("", `Show ${title} over the whole page`, () => enlarge(cell));
      const image = make("img");
      Object.assign(image, {src: `${address(cell.first_image)}/thumbnail`, alt: title, loading: "lazy"});
      open.append(image);
      if (cell.image_count > 1) open.append(make("span", "cell-count", String(cell.image_count)));
      place.replaceChildren(open);
    } else if (ENDED_WITHOUT[cell.state]) {
      place.replaceChildren(make("span", "cell-error", ENDED_WITHOUT[cell.state]));
      place.title = cell.error;
      place.setAttribute("aria-label", `${title}: ${cell.error || cell.state}`);
    }
  }

  async function ask() {
    const answer = await call(`jobs/${id}/cells`).catch(() => null);  // the next status asks again
    asking = null;
    if (!answer) return;
    if (!places.size) layOut(answer);
    cells = answer.cells;
    cells.forEach(draw);
  }

  function refresh(isNow = false) {
    if (isNow) {
      clearTimeout(timer);
      timer = 0;
      asking = ask();
      return asking;
    }
    if (timer || asking) {
      isStale = true;
      return asking;
    }
    asking = ask();
    timer = setTimeout(() => {
      timer = 0;
      if (isStale) refresh();
      isStale = false;
    }, Math.max(REFRESH_MS, cells.length * REFRESH_MS_PER_CELL));
    return asking;
  }

  function enlarge(chosen) {
    const shot = (i) => {
      const {cell, position} = finished()[i], title = titleOf(cell.place), src = address(position);
      return {kind: "image", title, alt: title, src, placeholder: `${src}/thumbnail`, name: `${title}.png`};
    };
    const lightbox = openLightbox({
      index: finished().findIndex(({position}) => position === chosen.first_image),
      count: () => finished().length,
      picture: shot,
      tools: (i) => [
        downloadLink(shot(i)),
        button("Use its settings", "Fill the form with what this picture was made with", async () => {
          lightbox.close();
          await useSettings(finished()[i]).catch((error) => onProblem(error.message));
        }),
      ],
      details: (i) => describe(finished()[i]),
      onClose: (i) => places.get(finished()[i]?.cell.place.join())?.querySelector("button")?.focus(),
    });
  }

  const imageOf = ({position}) => call(`jobs/${id}/images/${position}`);

  function describe(picture) {
    const box = make("div"), text = make("pre", "lightbox-infotext");
    imageOf(picture).then((image) => { text.textContent = image.infotext; }, (error) => { text.textContent = error.message; });
    box.append(text, copyButton(() => text.textContent));
    return box;
  }

  async function useSettings(picture) {
    const {infotext: text} = await imageOf(picture);
    const controls = Object.keys(schema.fields).filter((name) => schema.fields[name].override);
    const {values, chips} = await call("infotext", {task: schema.task, controls, text});
    fill({...values, ...chips && {chips}});
  }

  return {job: id, root, refresh};
}

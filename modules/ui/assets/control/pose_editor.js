// The editor of poses: people of 18 points, as OpenPose names them, dragged or moved by the arrow keys over the picture.
//
// To open it: `openPoseEditor({image, width, height, pose}, (upload) => …)`. `image` is the upload {id, width, height} of
// the picture below the points, or null for an empty canvas of that width and height; `pose` is what
// /internal/control/preview found, or null for a figure. Done draws the pose and calls back with its upload
// {id, width, height} and the pose itself: the unit takes it as its picture, with the module none. Cancel and Esc call nothing.
import {button, call, make} from "../core.js";

const SVG = "http://www.w3.org/2000/svg";
const NAMES = ["Nose", "Neck", "Right shoulder", "Right elbow", "Right wrist", "Left shoulder", "Left elbow", "Left wrist",
  "Right hip", "Right knee", "Right ankle", "Left hip", "Left knee", "Left ankle", "Right eye", "Left eye", "Right ear", "Left ear"];
const COLOURS = ["#ff0000", "#ff5500", "#ffaa00", "#ffff00", "#aaff00", "#55ff00", "#00ff00", "#00ff55", "#00ffaa", "#00ffff",
  "#00aaff", "#0055ff", "#0000ff", "#5500ff", "#aa00ff", "#ff00ff", "#ff00aa", "#ff0055"];
const LIMBS = [[1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13], [1, 0],
  [0, 14], [14, 16], [0, 15], [15, 17]];
// A standing person who fills the canvas: x and y as shares of its height, x from the middle.
const FIGURE = [[0, 0.15], [0, 0.24], [-0.09, 0.24], [-0.12, 0.38], [-0.13, 0.5], [0.09, 0.24], [0.12, 0.38], [0.13, 0.5],
  [-0.055, 0.52], [-0.06, 0.72], [-0.06, 0.92], [0.055, 0.52], [0.06, 0.72], [0.06, 0.92], [-0.02, 0.13], [0.02, 0.13],
  [-0.045, 0.14], [0.045, 0.14]];
const STEP = 1, LARGE_STEP = 10;  // pixels by an arrow key, and with Shift
// What hangs on a point and moves with it: the parts of a person's other networks, by their names in the JSON.
const HANGING = {0: "face_keypoints_2d", 4: "hand_right_keypoints_2d", 7: "hand_left_keypoints_2d"};
const PART_NAMES = Object.values(HANGING);
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

// Opens the editor over the page; see above.
export function openPoseEditor(options, onDone) {
  const editor = new PoseEditor(options, onDone);
  document.body.append(editor.root);
  editor.root.showModal();
  return editor;
}

// Returns the people of a pose in pixels: {body: [[x, y] or null, …18], parts: {name: [[x, y] or null, …]}}.
function readPeople(pose, width, height) {
  const across = width / (pose.canvas_width || width), down = height / (pose.canvas_height || height);
  const read = (numbers) => {
    const triples = [];
    for (let at = 0; at + 2 < (numbers ?? []).length; at += 3) triples.push(numbers.slice(at, at + 3));
    const seen = triples.filter(([, , score]) => score > 0);
    const isShare = seen.length && seen.every(([x, y]) => Math.abs(x) <= 1 && Math.abs(y) <= 1);
    const [toX, toY] = isShare ? [width, height] : [across, down];
    return triples.map(([x, y, score]) => score > 0 ? [x * toX, y * toY] : null);
  };
  return pose.people.map((person) => ({
    body: NAMES.map((_, index) => read(person.pose_keypoints_2d)[index] ?? null),
    parts: Object.fromEntries(PART_NAMES.map((name) => [name, read(person[name])])),
  }));
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

class PoseEditor {
  constructor({image = null, width, height, pose = null}, onDone) {
    [this.width, this.height] = image ? [image.width, image.height] : [width, height];
    this.image = image;
    this.onDone = onDone;
    this.people = pose ? readPeople(pose, this.width, this.height) : [this.#figure()];
    this.chosen = 0;
    this.#build();
    this.#show();
  }

  #figure(shift = 0) {
    const {width, height} = this;
    const body = FIGURE.map(([x, y]) => [this.#inside(width / 2 + x * height + shift, width), y * height]);
    return {body, parts: Object.fromEntries(PART_NAMES.map((name) => [name, []]))};
  }

  #inside(value, side) {
    return Math.min(side - 1, Math.max(0, Math.round(value)));
  }

  #build() {
    this.root = make("dialog", "ui pose-editor");
    this.root.setAttribute("aria-labelledby", "pose_editor_title");
    const title = make("h2", "", "Pose");
    title.id = "pose_editor_title";
    const help = make("p", "notice", "Drag a point, or choose it and press the arrow keys (Shift: 10 pixels). Delete hides it.");
    this.stage = shape("svg", {viewBox: `0 0 ${this.width} ${this.height}`, class: "pose-stage", role: "group", "aria-label": "Points of the pose"});
    this.stage.style.aspectRatio = `${this.width} / ${this.height}`;
    if (this.image) {
      this.stage.append(shape("image", {href: `${window.webuiRoot}/internal/uploads/${this.image.id}/image`,
        width: this.width, height: this.height, opacity: 0.5, preserveAspectRatio: "none"}));
    }
    this.layer = shape("g", {});
    this.stage.append(this.layer);
    this.words = make("p", "notice");
    this.words.setAttribute("role", "status");
    this.person = make("select");
    this.person.id = "pose_editor_person";
    this.person.addEventListener("change", () => this.#choose(Number(this.person.value)));
    const label = make("label", "field-label", "Person");
    label.htmlFor = this.person.id;
    this.add = button("Add a person", "Add a person who stands in the middle", () => this.#addPerson());
    this.remove = button("Remove the person", "Remove the person that is chosen", () => this.#removePerson());
    this.find = button("Find poses", "Find the poses of the people in the picture", () => this.#findPoses());
    this.find.hidden = !this.image;
    this.boxes = make("fieldset", "pose-points");
    this.done = button("Done", "Use this pose as the unit's picture", () => this.#finish());
    this.done.classList.add("generate");
    const side = make("div", "pose-side"), row = make("div", "pose-buttons"), end = make("div", "pose-buttons");
    row.append(this.add, this.remove, this.find);
    end.append(this.done, button("Cancel", "Close without a change (Esc)", () => this.root.close()));
    side.append(label, this.person, row, this.boxes, this.words, end);
    const columns = make("div", "pose-columns");
    columns.append(this.stage, side);
    this.root.append(title, help, columns);
    this.root.addEventListener("keydown", (event) => event.stopPropagation());  // Esc closes the editor and stops no job
    this.root.addEventListener("input", (event) => event.stopPropagation());  // nothing of it is a value of the form
    this.root.addEventListener("close", () => this.root.remove());
  }

  // Draws everything anew, and keeps the focus on the point that has it.
  #show(focus = null) {
    const radius = Math.max(this.width, this.height) / 100 + 2;
    this.layer.replaceChildren();
    this.people.forEach((person, number) => {
      const group = shape("g", {opacity: number === this.chosen ? 1 : 0.45});
      LIMBS.forEach(([from, to], limb) => {
        const [a, b] = [person.body[from], person.body[to]];
        if (a && b) group.append(shape("line", {x1: a[0], y1: a[1], x2: b[0], y2: b[1], stroke: COLOURS[limb],
          "stroke-width": radius, "stroke-linecap": "round", opacity: 0.6}));
      });
      for (const points of Object.values(person.parts)) {
        for (const point of points) if (point) group.append(shape("circle", {cx: point[0], cy: point[1], r: radius / 4, fill: "#ffffff"}));
      }
      person.body.forEach((point, index) => { if (point) group.append(this.#dot(number, index, point, radius)); });
      this.layer.append(group);
    });
    this.#showSide();
    if (focus) this.layer.querySelector(`[data-point="${focus}"]`)?.focus();
  }

  #dot(number, index, [x, y], radius) {
    const dot = shape("circle", {cx: x, cy: y, r: radius, fill: COLOURS[index], class: "pose-point", tabindex: 0, role: "button",
      "data-point": `${number}.${index}`, "aria-label": `${NAMES[index]} of person ${number + 1}: ${Math.round(x)}, ${Math.round(y)}`});
    const title = shape("title", {});
    title.textContent = NAMES[index];
    dot.append(title);
    dot.addEventListener("keydown", (event) => this.#onKey(event, number, index));
    dot.addEventListener("focus", () => { if (this.chosen !== number) this.#choose(number, `${number}.${index}`); });
    dot.addEventListener("pointerdown", (event) => this.#drag(event, number, index));
    return dot;
  }

  #showSide() {
    const options = this.people.map((_, number) => new Option(`Person ${number + 1}`, number, false, number === this.chosen));
    this.person.replaceChildren(...options);
    this.person.disabled = this.remove.disabled = !this.people.length;
    const person = this.people[this.chosen];
    const legend = make("legend", "", "Points that are seen");
    this.boxes.replaceChildren(legend, ...(person ? NAMES : []).map((name, index) => {
      const label = make("label", "pose-name"), box = make("input");
      box.type = "checkbox";
      box.checked = Boolean(person.body[index]);
      box.dataset.seen = index;
      box.addEventListener("change", () => {
        person.body[index] = box.checked ? this.#place(person, index) : null;
        this.#show();
        this.boxes.querySelector(`[data-seen="${index}"]`)?.focus();
      });
      label.append(box, document.createTextNode(name));
      return label;
    }));
  }

  // Where a point comes that was hidden: as far from the neck as it is in the figure, or where the figure has it.
  #place(person, index) {
    const figure = this.#figure().body, neck = person.body[1];
    const [dx, dy] = neck ? [neck[0] - figure[1][0], neck[1] - figure[1][1]] : [0, 0];
    return [this.#inside(figure[index][0] + dx, this.width), this.#inside(figure[index][1] + dy, this.height)];
  }

  #choose(number, focus = null) {
    this.chosen = number;
    this.#say("");
    this.#show(focus);
  }

  #move(number, index, x, y) {
    const person = this.people[number], before = person.body[index];
    const after = [this.#inside(x, this.width), this.#inside(y, this.height)];
    person.body[index] = after;
    const hanging = person.parts[HANGING[index]] ?? [];
    for (const point of hanging) {
      if (!point) continue;
      point[0] += after[0] - before[0];
      point[1] += after[1] - before[1];
    }
  }

  #onKey(event, number, index) {
    const arrow = ARROWS[event.key];
    if (arrow) {
      const [x, y] = this.people[number].body[index], step = event.shiftKey ? LARGE_STEP : STEP;
      this.#move(number, index, x + arrow[0] * step, y + arrow[1] * step);
      this.#show(`${number}.${index}`);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.people[number].body[index] = null;
      this.#show();
      this.boxes.querySelector(`[data-seen="${index}"]`)?.focus();
      this.#say(`${NAMES[index]} is hidden.`);
    } else {
      return;
    }
    event.preventDefault();
  }

  #drag(event, number, index) {
    event.preventDefault();
    const move = (moved) => {
      const toStage = this.stage.getScreenCTM().inverse();
      const {x, y} = new DOMPoint(moved.clientX, moved.clientY).matrixTransform(toStage);
      this.#move(number, index, x, y);
      this.chosen = number;
      this.#show(`${number}.${index}`);
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
    };
    // On the window: the dot that is dragged is drawn anew with each move.
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
    this.#choose(number, `${number}.${index}`);
  }

  #addPerson() {
    this.people.push(this.#figure(this.people.length * this.width / 12));
    this.#choose(this.people.length - 1, `${this.people.length - 1}.0`);
  }

  #removePerson() {
    this.people.splice(this.chosen, 1);
    this.#choose(Math.max(0, this.chosen - 1));
    this.add.focus();
    this.#say("The person is removed.");
  }

  async #findPoses() {
    await this.#wait(this.find, async () => {
      const {pose} = await call("control/preview", {image: this.image.id, module: "openpose_full", processor_res: 512});
      if (!pose?.people.length) return this.#say("No people were found in the picture.");
      this.people = readPeople({...pose, canvas_width: 0, canvas_height: 0}, this.width, this.height);
      this.#choose(0);
      this.#say(`People found: ${this.people.length}.`);
    });
  }

  async #finish() {
    await this.#wait(this.done, async () => {
      const pose = this.#toJson();
      const {image} = await call("control/pose", {pose});
      this.root.close();
      this.onDone(image, pose);
    });
  }

  #toJson() {
    const numbers = (points) => points.flatMap((point) => point ? [point[0], point[1], 1] : [0, 0, 0]);
    return {
      canvas_width: this.width, canvas_height: this.height,
      people: this.people.map(({body, parts}) => ({
        pose_keypoints_2d: numbers(body),
        ...Object.fromEntries(Object.entries(parts).map(([name, points]) => [name, points.length ? numbers(points) : null])),
      })),
    };
  }

  async #wait(element, action) {
    element.disabled = true;
    this.#say("");
    try {
      await action();
    } catch (error) {
      this.#say(error.message, true);
    } finally {
      element.disabled = false;
    }
  }

  #say(text, isError = false) {
    this.words.textContent = text;
    this.words.classList.toggle("error", isError);
  }
}

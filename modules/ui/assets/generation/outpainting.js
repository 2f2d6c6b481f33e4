// The size of the result follows the sides that outpainting adds; notes below the sides say what it is.
const SIDES = {width: ["outpaint_left", "outpaint_right"], height: ["outpaint_top", "outpaint_bottom"]};
const STEP = 8, LEAST = 64;  // pixels of a side of the result

// Returns whether the sides leave a picture its proportions, as nearly as multiples of 8 allow.
function fits(picture, [width, height]) {
  const factor = Math.max(width / picture.width, height / picture.height);
  return Math.max(picture.width * factor - width, picture.height * factor - height) < STEP;
}

const valid = (side) => Math.max(LEAST, Math.round(side / STEP) * STEP);

// Changes width and height with the sides that the user sets. A picture that has its proportions keeps its place in the
// result; any other gets its own size, times "Resize by".
export function followOutpainting(form) {
  const {controls} = form;
  if (!controls.outpaint_left) return;
  const added = (axis) => SIDES[axis].reduce((sum, name) => sum + controls[name].get(), 0);
  const axes = Object.keys(SIDES);
  let before = Object.fromEntries(axes.map((axis) => [axis, added(axis)]));

  function follow(event) {
    const now = Object.fromEntries(axes.map((axis) => [axis, added(axis)]));
    const last = before;
    before = now;
    const isSide = Object.values(SIDES).flat().some((name) => controls[name].root.contains(event?.target));
    const picture = controls.init_image.image();
    if (!isSide || !picture?.width || controls.inpaint_full_res.get()) return;
    if (axes.every((axis) => now[axis] === last[axis])) return;
    const inner = axes.map((axis) => controls[axis].get() - last[axis]);
    const scaled = fits(picture, inner) ? inner : axes.map((axis) => Math.round(picture[axis] * controls.scale_by.get()));
    form.fill(Object.fromEntries(axes.map((axis, index) => [axis, valid(scaled[index] + now[axis])])));
  }

  form.root.addEventListener("input", follow);
  form.root.addEventListener("form-changed", () => follow(null));
}

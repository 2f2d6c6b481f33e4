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
  const axes = Object.keys(SIDES);
  const names = Object.values(SIDES).flat();
  const added = () => axes.map((axis) => SIDES[axis].reduce((sum, name) => sum + controls[name].get(), 0));
  let before = added();

  function follow(event) {
    const last = before, now = added();
    const picture = controls.init_image.image();
    if (!names.some((name) => controls[name].root.contains(event.target))) return;
    if (!picture?.width || controls.inpaint_full_res.get() || now.join() === last.join()) return;
    before = now;
    const inner = axes.map((axis, index) => controls[axis].get() - last[index]);
    const scaled = fits(picture, inner) ? inner : axes.map((axis) => Math.round(picture[axis] * controls.scale_by.get()));
    form.fill(Object.fromEntries(axes.map((axis, index) => [axis, valid(scaled[index] + now[index])])));
  }

  form.root.addEventListener("input", follow);
  // Whatever else sets the sides sets the size, too. The form tells of a change before `follow` is called.
  form.root.addEventListener("form-changed", () => setTimeout(() => { before = added(); }));
}

// The button of a unit that opens the editor of poses: with the pose of the last preview, the one that was edited last, or a
// standing figure.
import {button} from "../core.js";
import {openPoseEditor} from "./pose_editor.js";

// Returns {root, found, showFor}. `picture()` is the unit's picture {id, width, height} or null, `size()` the {width, height} of
// the result; `use(upload)` takes the drawing as the unit's picture, without a preprocessor.
export function buildPoseButton(id, picture, size, use) {
  let known = {id: "", pose: null};  // the pose of the picture with that id
  const root = button("Edit the pose", "Move the points of a pose, whose drawing becomes the picture of this unit", () => {
    const image = picture();
    const pose = image && image.id === known.id ? known.pose : null;
    openPoseEditor({image: image?.width ? image : null, ...size(), pose}, (upload, edited) => {
      known = {id: upload.id, pose: edited};
      use(upload);
    });
  });
  root.id = `${id}_pose`;
  root.hidden = true;
  return {
    root,
    // Keeps what a preview has found.
    found({pose}) { if (pose) known = {id: picture()?.id ?? "", pose}; },
    showFor(type, module) { root.hidden = type !== "OpenPose" && !module.includes("openpose"); },
  };
}

"""Preview of the depth map that a job would use: the uploaded or an estimated one, with the adjustments applied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from PIL import Image

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.images.depth_levels import DepthLevels
from modules.images.resize import scale_size
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, to_rgb
from modules.params.param import params_of, validate
from modules.params.requests.depth import DepthRequest
from modules.ui.forms.form import Form, Upload, read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

_LONGEST_SIDE = 768  # of an estimate's preview; the network's input has 384
ADJUSTMENTS = ("depth_contrast", "depth_near", "depth_far", "depth_invert")


def build_depth_preview(engine: Engine, form: Form, height: int) -> None:
    """Build the button, the preview and the adjustments in the current Gradio context, and connect their events.

    Args:
        engine: Estimates the depth.
        form: Has its init image and depth map already, and gets the fields of the adjustments.
        height: Height of the preview.
    """
    with gr.Column(elem_classes="pictures"):
        button = gr.Button("Estimate depth", elem_id=f"{form.prefix}_estimate", size="sm")
        message = gr.HTML("", elem_id=f"{form.prefix}_estimate_message", padding=False)
        image = gr.Image(
            label="Depth as it is used: white is near",
            format="png",
            interactive=False,
            buttons=["download", "fullscreen"],
            height=height,
            elem_id=f"{form.prefix}_preview",
        )
    for name in ADJUSTMENTS:
        form.add_field(name)
    preview = DepthPreview(engine, form)
    components = [form.components[name] for name in ("init_image", "depth_map", *ADJUSTMENTS)]
    inputs: set[Block] = set(components)
    outputs = [image, message]
    button.click(
        preview.estimate,
        inputs,
        outputs,
        preprocess=False,
        show_progress="full",
        show_progress_on=image,
        api_visibility="private",
    )
    changes = [component.change for component in components]  # pyright: ignore[reportAttributeAccessIssue]
    gr.on(
        changes,
        preview.show,
        set(components),
        outputs,
        preprocess=False,
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )


@dataclass(frozen=True)
class DepthPreview:
    """Event handlers of the preview; estimates are files, so that a reload shows them again.

    Args:
        engine: Estimates the depth.
        form: Has the init image, the depth map and the adjustments.
    """

    engine: Engine
    form: Form

    def estimate(self, values: Mapping[Component, Any]) -> tuple[Any, str]:
        """Estimate and store the init image's depth; return preview and message."""
        upload = values[self.form.components["init_image"]]
        try:
            if upload is None:
                raise UserError(
                    "There is no picture whose depth could be estimated.", "Upload one."
                )
            image = ImageField.from_bytes(read_upload_bytes(upload))
            factor = min(1.0, _LONGEST_SIDE / max(image.size))
            depth = self.engine.estimate_depth(
                image, scale_size(image.size, factor, params_of(DepthRequest)["width"])
            )
        except WebUIError as error:
            return gr.skip(), notice("error", str(error))
        path = self.estimate_path(upload["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        depth.save(path)
        return self.show(values)

    def show(self, values: Mapping[Component, Any]) -> tuple[Any, str]:
        """Return the preview with the adjustments applied, and the message."""
        components = self.form.components
        try:
            depth = self.read_depth(
                values[components["init_image"]], values[components["depth_map"]]
            )
            if depth is None:
                return None, ""
            adjustments = {name: values[components[name]] for name in ADJUSTMENTS}
            if adjustments["depth_near"] <= adjustments["depth_far"]:
                raise UserError("Depth near is not larger than depth far.", "Move them apart.")
            levels = DepthLevels.from_request(validate(DepthRequest, adjustments))
            return levels.adjust_image(depth), ""
        except WebUIError as error:
            return None, notice("error", str(error))

    def read_depth(self, init_image: Upload, depth_map: Upload) -> Image.Image | None:
        """Return the uploaded depth map, else the init image's estimate, in L; None if there is neither.

        Raises:
            UserError: the depth map is not an image, or no longer exists.
        """
        if depth_map is not None:
            depth = ImageField.from_bytes(read_upload_bytes(depth_map), DEPTH).to_pil()
            return to_rgb(depth).convert("L")
        if init_image is None:
            return None
        path = self.estimate_path(str(init_image["path"]))
        if not path.is_file():
            return None
        with Image.open(path) as image:
            return image.convert("L")

    def estimate_path(self, image_path: str) -> Path:
        """Return the path of an upload's estimate: the same after a reload, different for every upload."""
        name = hashlib.sha256(image_path.encode()).hexdigest()
        return self.engine.paths.gradio_temp / "depth" / f"{name}.png"

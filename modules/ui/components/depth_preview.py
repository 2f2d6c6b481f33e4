"""The depth that a picture would be repainted by: given or estimated, shown as it is adjusted, to be looked at and saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from PIL import Image

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.images.depth_levels import DepthLevels
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, to_rgb
from modules.params.param import params_of, validate
from modules.params.requests.depth import DepthRequest
from modules.ui.components.size import scale_size
from modules.ui.forms.form import Form, read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

_LONGEST_SIDE = 768  # of an estimate that is shown; the network itself looks at 384
ADJUSTMENTS = ("depth_contrast", "depth_near", "depth_far", "depth_invert")


def build_depth_preview(engine: Engine, form: Form, height: int) -> None:
    """Make the button, the picture of the depth and what adjusts it where the page stands; wire them.

    Args:
        engine: Estimates.
        form: Has its picture and depth map already, and gets the fields of the adjustment.
        height: Of the depth's picture.
    """
    with gr.Column(elem_classes="pictures"):
        estimate = gr.Button("Estimate depth", elem_id=f"{form.prefix}_estimate", size="sm")
        message = gr.HTML("", elem_id=f"{form.prefix}_estimate_message", padding=False)
        preview = gr.Image(
            label="Depth as it is used: white is near",
            format="png",
            interactive=False,
            buttons=["download", "fullscreen"],
            height=height,
            elem_id=f"{form.prefix}_preview",
        )
    for name in ADJUSTMENTS:
        form.add_field(name)
    picture, given = form.components["init_image"], form.components["depth_map"]
    sliders = [form.components[name] for name in ADJUSTMENTS]
    folder = engine.paths.gradio_temp / "depth"

    def ask(values: Mapping[Component, Any]) -> tuple[Any, str]:
        file = values[picture]
        try:
            if file is None:
                raise UserError(
                    "There is no picture whose depth could be estimated.", "Put one in."
                )
            image = ImageField.from_bytes(read_upload_bytes(file))
            factor = min(1.0, _LONGEST_SIDE / max(image.size))
            depth = engine.estimate_depth(
                image, scale_size(image.size, factor, params_of(DepthRequest)["width"])
            )
        except WebUIError as error:
            return gr.skip(), notice("error", str(error))
        folder.mkdir(parents=True, exist_ok=True)
        depth.save(_estimate_of(folder, file["path"]))
        return show(values)

    def show(values: Mapping[Component, Any]) -> tuple[Any, str]:
        try:
            depth = _depth(folder, values[picture], values[given])
            if depth is None:
                return None, ""
            read = {name: values[form.components[name]] for name in ADJUSTMENTS}
            if read["depth_near"] <= read["depth_far"]:
                raise UserError("Depth near is not larger than depth far.", "Move them apart.")
            return DepthLevels.from_request(validate(DepthRequest, read)).adjust_image(depth), ""
        except WebUIError as error:
            return None, notice("error", str(error))

    inputs: set[Block] = {picture, given, *sliders}
    outputs = [preview, message]
    estimate.click(
        ask,
        inputs,
        outputs,
        preprocess=False,
        show_progress="full",
        show_progress_on=preview,
        api_visibility="private",
    )
    changes = [component.change for component in (picture, given, *sliders)]  # pyright: ignore[reportAttributeAccessIssue]
    gr.on(
        changes,
        show,
        {picture, given, *sliders},
        outputs,
        preprocess=False,
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )


def _estimate_of(folder: Path, picture: str) -> Path:
    """Return where the estimate of an uploaded picture lies, so that a reload finds it and no other picture has it."""
    return folder / f"{hashlib.sha256(picture.encode()).hexdigest()}.png"


def _depth(
    folder: Path, picture: Mapping[str, Any] | None, given: Mapping[str, Any] | None
) -> Image.Image | None:
    """Return the depth that was given, else the picture's estimate, in L; None when there is neither."""
    if given is not None:
        depth = ImageField.from_bytes(read_upload_bytes(given), DEPTH).to_pil()
        return to_rgb(depth).convert("L")
    if picture is None:
        return None
    estimate = _estimate_of(folder, str(picture["path"]))
    if not estimate.is_file():
        return None
    with Image.open(estimate) as image:
        return image.convert("L")

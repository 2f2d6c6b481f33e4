"""Routes of a ControlNet unit on the page: its control picture before Generate, and the drawing of a pose."""

from __future__ import annotations

import io
from typing import Any

from fastapi import APIRouter
from PIL import Image
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.engine.control_images import PixelPerfect, preview_control_image
from modules.engine.engine import Engine
from modules.engine.page.control_units import paint_upload
from modules.engine.page.uploads import Upload, make_upload_store
from modules.images.preprocessors.poses import Pose
from modules.images.strokes import MAX_TEXT_LENGTH
from modules.params.requests.control_unit import ResizeMode

_MAX_SIDE = 8192


class PreviewValues(BaseModel):
    """Values of a unit, with its picture as the id of an upload."""

    image: str | None = Field(None, max_length=200)
    image_strokes: str = Field("", max_length=MAX_TEXT_LENGTH)
    paints_mask: bool = False
    module: str = Field("none", max_length=200)
    processor_res: int = -1
    threshold_a: float = -1
    threshold_b: float = -1
    pixel_perfect: bool = False
    resize_mode: ResizeMode = "Crop and Resize"
    width: int = Field(512, ge=1, le=_MAX_SIDE, description="Of the form.")
    height: int = Field(512, ge=1, le=_MAX_SIDE, description="Of the form.")


class PoseValues(BaseModel):
    """A pose in OpenPose's form."""

    pose: dict[str, Any]


def control_router(engine: Engine) -> APIRouter:
    """Return the routes of ControlNet units, below /internal."""
    router = CheckedRouter(prefix="/internal/control", include_in_schema=False)
    uploads = make_upload_store(engine)

    @router.post("/preview")
    def preview(body: PreviewValues) -> dict[str, Any]:
        """Make the control picture, and answer with its upload and, for poses, their points."""
        size = PixelPerfect((body.width, body.height), body.resize_mode)
        drawing = "" if body.paints_mask else body.image_strokes
        upload, made = preview_control_image(
            engine,
            paint_upload(uploads, body.image or "", drawing),
            body.module,
            (body.processor_res, body.threshold_a, body.threshold_b),
            size if body.pixel_perfect else None,
        )
        return {"image": _upload_json(upload), "pose": made.pose}

    @router.post("/pose")
    def draw_pose(body: PoseValues) -> dict[str, Any]:
        """Draw a pose, and answer with its upload."""
        buffer = io.BytesIO()
        Image.fromarray(Pose.from_json(body.pose).draw()).save(buffer, "PNG", compress_level=1)
        return {"image": _upload_json(uploads.add(buffer.getvalue()))}

    return router


def _upload_json(upload: Upload) -> dict[str, Any]:
    return {"id": upload.id, "width": upload.width, "height": upload.height}

"""POST /controlnet/detect and render_openpose_json, compatible with clients of sd-webui-controlnet."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any

from fastapi import APIRouter, Body
from PIL import Image
from pydantic import BaseModel, ConfigDict

from modules.api.json_check import CheckedRouter
from modules.core.errors import NotFound, UserError
from modules.engine.control_images import make_control_image
from modules.engine.engine import Engine
from modules.images.preprocessors.poses import Pose
from modules.params.image import ImageField
from modules.plan.units.preprocessing import plan_preprocessing

_MAX_IMAGES = 64


class DetectBody(BaseModel):
    """Pictures and how to make control pictures of them; -1 is the preprocessor's default."""

    model_config = ConfigDict(extra="ignore")

    controlnet_module: str = "none"
    controlnet_input_images: list[str] = []
    controlnet_processor_res: int = -1
    controlnet_threshold_a: float = -1
    controlnet_threshold_b: float = -1
    controlnet_masks: list[str] = []
    low_vram: bool = False


def control_detection_router(engine: Engine) -> APIRouter:
    """Return the routes that make control pictures."""
    router = CheckedRouter(prefix="/controlnet", tags=["ControlNet"])

    @router.post("/detect")
    def detect(body: DetectBody) -> dict[str, Any]:
        """Make the control picture of each picture; the answer is sent when all are finished.

        Pictures are base64, never paths or addresses. Masks and low_vram have no effect.
        """
        numbers = (
            body.controlnet_processor_res,
            body.controlnet_threshold_a,
            body.controlnet_threshold_b,
        )
        try:
            preprocessing = plan_preprocessing(engine.models, body.controlnet_module, numbers)
        except NotFound as error:
            raise UserError(f"Module not available: {error}") from error
        if not body.controlnet_input_images:
            raise UserError("No image selected.", "Put base64 into controlnet_input_images.")
        _check_count(len(body.controlnet_input_images))
        images = [ImageField.from_base64(text) for text in body.controlnet_input_images]
        made = [make_control_image(engine, preprocessing, image) for image in images]
        poses = [result.pose for result in made if result.pose is not None]
        return {
            "images": [_to_base64(result.image) for result in made],
            "info": "Success",
            **({"poses": poses} if poses else {}),
        }

    @router.post("/render_openpose_json")
    def render(poses: Annotated[list[dict[str, Any]], Body()]) -> dict[str, Any]:
        """Draw poses in OpenPose's form, with points in pixels or as shares of the canvas."""
        if not poses:
            return {"info": "No pose data detected."}
        _check_count(len(poses))
        drawn = [Pose.from_json(pose).draw() for pose in poses]
        images = [_to_base64(Image.fromarray(pixels)) for pixels in drawn]
        return {"images": images, "info": "Success"}

    return router


def _check_count(count: int) -> None:
    if count > _MAX_IMAGES:
        raise UserError(
            f"{count} pictures in one request are more than {_MAX_IMAGES}.",
            "Send several requests.",
        )


def _to_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")

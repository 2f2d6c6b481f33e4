"""Parses the body of img2img: A1111's fields for init images and masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from modules.api.sdapi.requests.parsing import NO_NAMES, SamplerNames, parse_request
from modules.api.sdapi.requests.schema import INPAINT_DEFAULTS
from modules.core.errors import NotFound, UserError
from modules.images.resize import nearest_valid_size
from modules.params.image import is_no_image, make_reader
from modules.params.image_kinds import IMAGE
from modules.params.requests.base import MAX_BATCH_SIZE
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import (
    Img2ImgRequest,
    OutpaintingFields,
)
from modules.params.requests.init_image import InitImageRequest

# A1111's clients send "" or [""] for an image that was not chosen.
_IMAGE_FIELDS = ("init_images", "mask", "latent_mask", "depth_map")


def choose_request_type(
    body: Mapping[str, Any], *, is_depth_checkpoint: bool
) -> type[InitImageRequest]:
    """Return the request type of a body.

    Args:
        body: JSON.
        is_depth_checkpoint: Whether the checkpoint is a depth2img one.
    """
    # A mask means inpainting, which a depth checkpoint then refuses with an explanation.
    has_depth_map, has_mask = (not is_no_image(body.get(name)) for name in ("depth_map", "mask"))
    uses_depth = has_depth_map or (is_depth_checkpoint and not has_mask)
    return DepthRequest if uses_depth else Img2ImgRequest


def parse_img2img_request(
    body: Mapping[str, Any], request_type: type[InitImageRequest], names: SamplerNames = NO_NAMES
) -> tuple[InitImageRequest, list[str]]:
    """Return the request in a body for img2img and its warnings.

    The first of init_images is the init image; `further_init_images` returns the others.

    Raises:
        UserError: a value is not valid.
        NotFound: there is no init image.
    """
    values = {
        key: value
        for key, value in body.items()
        if key != "include_init_images"
        and value is not None
        and not (key in _IMAGE_FIELDS and is_no_image(value))
    }
    init_images = values.pop("init_images", [])
    if not isinstance(init_images, list):
        raise UserError("init_images is not a list.", "Put the image into a list.")
    images = _without_empty(init_images)
    if not images:
        raise NotFound(
            "Init image not found: init_images is empty.", "Put a base64-encoded image into it."
        )
    if issubclass(request_type, Img2ImgRequest):
        # Not the sampler's default: it would win over the older field sampler_index.
        values = {**INPAINT_DEFAULTS, **values}
        _merge_blur(values)
    request, notes = parse_request({**values, "init_image": images[0]}, request_type, names)
    if isinstance(request, Img2ImgRequest):
        request = _expand_to_outpaint(request, values)
    return request, notes


def further_init_images(body: Mapping[str, Any]) -> list[str]:
    """Return the init images after the first one, checked.

    Raises:
        UserError: one is not an image in base64, or there are more than a batch has room for.
    """
    init_images = body.get("init_images")
    images = _without_empty(init_images) if isinstance(init_images, list) else []
    if len(images) > MAX_BATCH_SIZE:
        raise UserError(
            f"init_images has {len(images)} images; at most {MAX_BATCH_SIZE} fit into a batch.",
            "Send them in several requests.",
        )
    for number, image in enumerate(images[1:], 2):
        _check_image(image, f"Picture {number} of init_images")
    return images[1:]


def _check_image(image: Any, subject: str) -> None:
    try:
        make_reader(IMAGE)(image)
    except ValueError as error:
        raise UserError(f"{subject}: {error}") from error


def _without_empty(init_images: Any) -> list[Any]:
    # JSON: anything; the request validates it
    return [image for image in cast("list[Any]", init_images) if not is_no_image(image)]


def _merge_blur(values: dict[str, Any]) -> None:
    """Merge mask_blur_x and mask_blur_y into mask_blur, and mask_blur_y where it differs; mask_blur has priority."""
    blur_x, blur_y = values.pop("mask_blur_x", 4), values.pop("mask_blur_y", 4)
    if "mask_blur" not in values:
        values["mask_blur"] = blur_x
        if blur_y != blur_x:
            values["mask_blur_y"] = blur_y


def _expand_to_outpaint(request: Img2ImgRequest, values: Mapping[str, Any]) -> Img2ImgRequest:
    """Return the request sized to the init image and its new sides, if outpainting is requested without a size."""
    image, fields = request.init_image, values.keys()
    if image is None or {"width", "height"} & fields:
        return request
    if not OutpaintingFields.model_fields.keys() & fields:
        return request
    left, top, right, bottom = request.outpaint_sides
    width, height = image.size
    width, height = nearest_valid_size(width + left + right, height + top + bottom)
    return request.replace(width=width, height=height)

"""A body for img2img to a request: A1111's fields for pictures and masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from modules.api.sdapi.request_parsing import NO_NAMES, SamplerNames, parse_request
from modules.api.sdapi.request_schema import Img2ImgBody
from modules.core.errors import NotFound, UserError
from modules.images.resize import nearest_valid_size
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import (
    SOFT_INPAINTING_TITLE,
    Img2ImgRequest,
    OutpaintingFields,
    SoftInpaintingFields,
)
from modules.params.requests.init_image import InitImageRequest


def choose_request_type(
    body: Mapping[str, Any], *, is_depth_checkpoint: bool
) -> type[InitImageRequest]:
    """Return which request a body asks for.

    Args:
        body: JSON.
        is_depth_checkpoint: Whether the checkpoint is one that repaints by depth.
    """
    # A mask asks for inpainting, which a depth checkpoint then refuses with words.
    by_depth = body.get("depth_map") or (is_depth_checkpoint and not body.get("mask"))
    return DepthRequest if by_depth else Img2ImgRequest


def parse_img2img_request(
    body: Mapping[str, Any], request_type: type[InitImageRequest], names: SamplerNames = NO_NAMES
) -> tuple[InitImageRequest, list[str]]:
    """Return the request in a body for img2img, as `read_request` does; its first picture is the one repainted.

    Raises:
        UserError: a value is not valid.
        NotFound: there is no picture.
    """
    values = {
        key: value
        for key, value in body.items()
        if key != "include_init_images" and value is not None
    }
    pictures = values.pop("init_images", None)
    if not pictures:
        raise NotFound(
            "Init image not found: init_images is empty.", "Put a picture in base64 into it."
        )
    if not isinstance(pictures, list):
        raise UserError("init_images is no list.", "Put the picture into a list.")
    given = cast("list[Any]", pictures)  # JSON: anything; the request checks it
    warnings = _settle_size(values)
    if request_type is Img2ImgRequest:
        values = {**Img2ImgBody.defaults, **values}
        _settle_blur(values)
        _settle_soft_inpainting(values)
    request, unknown = parse_request({**values, "init_image": given[0]}, request_type, names)
    if len(given) > 1:
        unknown.append(f"Of {len(given)} init_images only the first is used.")
    if isinstance(request, Img2ImgRequest):
        request = _sized_around(request, values)
    return request, [*warnings, *unknown]


def _settle_size(values: dict[str, Any]) -> list[str]:
    """Make width and height multiples of 8 and say so; what is no size is left to the request."""
    asked = [values.get(name, 512) for name in ("width", "height")]
    if not all(isinstance(side, int) and 64 <= side <= 8192 for side in asked):
        return []
    made = nearest_valid_size(asked[0], asked[1])
    if list(made) == asked:
        return []
    values.update(width=made[0], height=made[1])
    return [f"{asked[0]}x{asked[1]} is made {made[0]}x{made[1]}: sides are multiples of 8."]


def _settle_blur(values: dict[str, Any]) -> None:
    """Leave mask_blur, and mask_blur_y where it is another."""
    sideways, upright = values.pop("mask_blur_x", 4), values.pop("mask_blur_y", 4)
    if "mask_blur" not in values:
        values["mask_blur"] = sideways
        if upright != sideways:
            values["mask_blur_y"] = upright


def _settle_soft_inpainting(values: dict[str, Any]) -> None:
    """Take A1111's script out of alwayson_scripts: its arguments are fields, in their order.

    Raises:
        UserError: there are too many arguments, or they are no list.
    """
    scripts = values.get("alwayson_scripts")
    if not isinstance(scripts, Mapping):
        return
    others = dict(cast("Mapping[str, Any]", scripts))
    for title in [one for one in others if one.casefold() == SOFT_INPAINTING_TITLE.casefold()]:
        script = others.pop(title)
        arguments = _arguments(script)
        names = list(SoftInpaintingFields.model_fields)
        if not isinstance(arguments, list) or len(cast("list[Any]", arguments)) > len(names):
            raise UserError(
                f"The arguments of {SOFT_INPAINTING_TITLE} are {arguments!r}; a list of at most {len(names)} is needed."
            )
        values.update(zip(names, cast("list[Any]", arguments), strict=False))
    values["alwayson_scripts"] = others


def _arguments(script: Any) -> Any:  # JSON: anything
    return cast("Mapping[str, Any]", script).get("args") if isinstance(script, Mapping) else None


def _sized_around(request: Img2ImgRequest, values: Mapping[str, Any]) -> Img2ImgRequest:
    """Return the request with the picture's size and its new sides where it asks for sides and no size."""
    picture, asked = request.init_image, values.keys()
    if picture is None or {"width", "height"} & asked:
        return request
    if not OutpaintingFields.model_fields.keys() & asked:
        return request
    left, top, right, bottom = request.outpaint_sides
    wide, high = picture.size
    width, height = nearest_valid_size(wide + left + right, high + top + bottom)
    return request.replace(width=width, height=height)

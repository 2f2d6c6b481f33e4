"""Checks the input images of a request before it runs: errors, and notes for the user."""

from __future__ import annotations

from modules.core.errors import NotFound, UserError
from modules.images.inpaint.canvas import empty_mask_error
from modules.images.inpaint.outpaint_size import distortion_note
from modules.params.requests.base import GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest

_MIN_SIDE = 64  # pixels that outpainting must leave for the init image
_WHITE = 255


def check_input_images(request: GenerationRequest) -> tuple[str, ...]:
    """Return notes on a request's input images, one sentence each.

    Raises:
        NotFound: the init image is missing.
        UserError: the mask is empty, the depth map or depth range is flat, or outpainting leaves too little of the
            init image.
    """
    if not isinstance(request, InitImageRequest):
        return ()
    if request.init_image is None:
        raise NotFound("There is no picture to repaint.", "Add one.")
    notes: list[str] = []
    if request.denoising_strength == 0:
        notes.append("With denoising strength 0 a single step is made; the picture hardly changes.")
    if isinstance(request, Img2ImgRequest):
        _check_outpaint_sides(request)
        notes.extend(filter(None, [distortion_note(request)]))
        notes.extend(_mask_notes(request))
    if isinstance(request, DepthRequest):
        notes.extend(_depth_notes(request))
    return tuple(notes)


def _mask_notes(request: Img2ImgRequest) -> list[str]:
    if request.mask is None or request.init_image is None:
        return []
    low, high = request.mask.to_pil().getextrema()
    uniform = low if low == high else None
    unmasked, masked = (_WHITE, 0) if request.inpainting_mask_invert else (0, _WHITE)
    if uniform == unmasked:
        if not any(request.outpaint_sides):
            raise empty_mask_error()
        return []
    notes: list[str] = []
    if uniform == masked:
        notes.append("The mask covers the whole picture; all of it is repainted.")
    if request.mask.size != request.init_image.size:
        sizes = _describe_sizes("mask", request.mask.size, request.init_image.size)
        notes.append(f"{sizes}; {_mask_placement(request)}.")
    return notes


def _mask_placement(request: Img2ImgRequest) -> str:
    if any(request.outpaint_sides):
        return "the mask was fitted to the picture by the resize mode"
    if request.inpaint_full_res:
        return "its place was counted from the top left corner, so use a mask of the picture's size"
    return "each was fitted to the result by the resize mode"


def _check_outpaint_sides(request: Img2ImgRequest) -> None:
    left, top, right, bottom = request.outpaint_sides
    if request.inpaint_full_res:
        return  # the init image keeps its size, and the sides are added to it
    for name, side, added in (
        ("Width", request.width, left + right),
        ("Height", request.height, top + bottom),
    ):
        if added and side - added < _MIN_SIDE:
            raise UserError(
                f"Outpainting by {added} pixels leaves {max(0, side - added)} for the picture at {name.lower()} {side}.",
                f"{name} is that of the whole result: use at least {added + _MIN_SIDE}.",
            )


def _depth_notes(request: DepthRequest) -> list[str]:
    if request.depth_near <= request.depth_far:
        raise UserError(
            f"Depth near is {request.depth_near:g} and depth far {request.depth_far:g}; near must be larger.",
            "Move them apart.",
        )
    depth_map, init_image = request.depth_map, request.init_image
    if depth_map is None or init_image is None:
        return []
    low, high = depth_map.to_pil().getextrema()
    if low == high:
        raise UserError(
            "The depth map is a single shade of grey, so it has no near and far.",
            "Use another one, or none to have the depth estimated.",
        )
    if depth_map.size != init_image.size:
        sizes = _describe_sizes("depth map", depth_map.size, init_image.size)
        return [f"{sizes}; both were cropped to the size of the result."]
    return []


def _describe_sizes(name: str, size: tuple[int, int], init_size: tuple[int, int]) -> str:
    return f"The {name} is {size[0]}x{size[1]} and the picture {init_size[0]}x{init_size[1]}"

"""The pictures of a request looked at before it is carried out: what cannot be done, and what a user should know."""

from __future__ import annotations

from modules.core.errors import NotFound, UserError
from modules.images.inpaint.canvas import empty_mask_error
from modules.params.requests.base import GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest

_LEAST_SIDE = 64  # of what outpainting leaves of the picture
_WHITE = 255


def check_input_images(request: GenerationRequest) -> tuple[str, ...]:
    """Return what should be known of a request's pictures, sentence by sentence.

    Raises:
        NotFound: there is no picture to repaint.
        UserError: a mask, a depth map or the room at the sides leaves nothing to be done.
    """
    if not isinstance(request, InitImageRequest):
        return ()
    if request.init_image is None:
        raise NotFound("There is no picture to repaint.", "Give one.")
    notes: list[str] = []
    if request.denoising_strength == 0:
        notes.append("Denoising strength 0 makes one step and keeps the picture nearly as it is.")
    if isinstance(request, Img2ImgRequest):
        _check_sides(request)
        notes.extend(_of_mask(request))
    if isinstance(request, DepthRequest):
        notes.extend(_of_depth(request))
    return tuple(notes)


def _of_mask(request: Img2ImgRequest) -> list[str]:
    if request.mask is None or request.init_image is None:
        return []
    low, high = request.mask.to_pil().getextrema()
    even = low if low == high else None
    kept, repainted = (_WHITE, 0) if request.inpainting_mask_invert else (0, _WHITE)
    if even == kept:
        if not any(request.outpaint_sides):
            raise empty_mask_error()
        return []
    notes: list[str] = []
    if even == repainted:
        notes.append("The mask covers the whole picture; all of it is repainted.")
    if request.mask.size != request.init_image.size:
        notes.append(_stretched("mask", request.mask.size, request.init_image.size))
    return notes


def _check_sides(request: Img2ImgRequest) -> None:
    left, top, right, bottom = request.outpaint_sides
    if request.inpaint_full_res:
        return  # the picture keeps its size, and the room comes on top
    for name, side, room in (
        ("Width", request.width, left + right),
        ("Height", request.height, top + bottom),
    ):
        if room and side - room < _LEAST_SIDE:
            raise UserError(
                f"Outpainting by {room} pixels leaves {max(0, side - room)} of the picture at {name.lower()} {side}.",
                f"{name} is that of the whole result: use at least {room + _LEAST_SIDE}.",
            )


def _of_depth(request: DepthRequest) -> list[str]:
    if request.depth_near <= request.depth_far:
        raise UserError(
            f"Depth near is {request.depth_near:g} and depth far {request.depth_far:g}; near must be the larger.",
            "Move them apart.",
        )
    given, picture = request.depth_map, request.init_image
    if given is None or picture is None:
        return []
    low, high = given.to_pil().getextrema()
    if low == high:
        raise UserError(
            "The depth map is one even grey and tells nothing of near and far.",
            "Give another, or none to have the depth estimated.",
        )
    if given.size != picture.size:
        return [_cut("depth map", given.size, picture.size)]
    return []


def _stretched(name: str, size: tuple[int, int], to: tuple[int, int]) -> str:
    return f"The {name} is {size[0]}x{size[1]} and the picture {to[0]}x{to[1]}; the {name} was stretched to it."


def _cut(name: str, size: tuple[int, int], to: tuple[int, int]) -> str:
    return f"The {name} is {size[0]}x{size[1]} and the picture {to[0]}x{to[1]}; both were cut to the size of the result."

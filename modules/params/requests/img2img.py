"""What a picture that is repainted, whole or under a mask, is asked to be."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modules.params.image import Mask
from modules.params.param import param
from modules.params.requests.base import Task
from modules.params.requests.init_image import InitImageRequest

_MAX_OUTPAINT = 4096


def _outpaint_param(name: str) -> Any:
    return param(
        0,
        f"Outpaint {name}",
        help=f"How far the picture is continued at the {name}, in pixels of the result (of the picture, if only masked).",
        infotext=f"Outpaint {name}",
        omit_default=True,
        ge=0,
        le=_MAX_OUTPAINT,
        slider=(0, 512, 8),
        section="outpainting",
    )


class OutpaintingFields(BaseModel):
    """How far a picture is continued beyond its sides.

    Width and Height are those of the whole result: the picture gets what the sides leave of it.
    """

    outpaint_left: int = _outpaint_param("left")
    outpaint_top: int = _outpaint_param("top")
    outpaint_right: int = _outpaint_param("right")
    outpaint_bottom: int = _outpaint_param("bottom")

    @property
    def outpaint_sides(self) -> tuple[int, int, int, int]:
        """Return the pixels to add at the left, the top, the right and the bottom."""
        return self.outpaint_left, self.outpaint_top, self.outpaint_right, self.outpaint_bottom


SOFT_INPAINTING_TITLE = (
    "Soft inpainting"  # of A1111's script, whose arguments the API takes in this order
)


def _is_soft_inpainting(request: Any) -> bool:  # Any: also what carries the fields besides others
    return bool(request.soft_inpainting_enabled)


class SoftInpaintingFields(BaseModel):
    """How gradually the masked part passes into the rest."""

    soft_inpainting_enabled: bool = param(
        False,
        SOFT_INPAINTING_TITLE,
        help="Lets the mask's greys blend old and new step by step, so that no seam is seen; blur the mask widely.",
        infotext="Soft inpainting enabled",
        when=_is_soft_inpainting,
        section="soft inpainting",
    )
    soft_inpainting_schedule_bias: float = param(
        1.0,
        "Schedule bias",
        help="Above 1 the picture's own content is kept in early steps, below 1 in late ones, too.",
        infotext="Soft inpainting schedule bias",
        when=_is_soft_inpainting,
        ge=0,
        le=8,
        slider=(0, 8, 0.1),
        section="soft inpainting",
    )
    soft_inpainting_preservation_strength: float = param(
        0.5,
        "Preservation strength",
        help="How strongly the picture's own content is kept where the mask is grey.",
        infotext="Soft inpainting preservation strength",
        when=_is_soft_inpainting,
        ge=0,
        le=8,
        slider=(0, 8, 0.05),
        section="soft inpainting",
    )
    soft_inpainting_transition_contrast_boost: float = param(
        4.0,
        "Transition contrast boost",
        help="How much contrast is kept where old and new are blended; 1 averages them.",
        infotext="Soft inpainting transition contrast boost",
        when=_is_soft_inpainting,
        ge=1,
        le=32,
        slider=(1, 32, 0.5),
        section="soft inpainting",
    )
    soft_inpainting_mask_influence: float = param(
        0.0,
        "Mask influence",
        help="How far the mask itself decides where the result is laid over the picture; 0 lets the change decide.",
        infotext="Soft inpainting mask influence",
        when=_is_soft_inpainting,
        ge=0,
        le=1,
        slider=(0, 1, 0.05),
        section="soft inpainting",
    )
    soft_inpainting_difference_threshold: float = param(
        0.5,
        "Difference threshold",
        help="How much must have changed for half of a pixel to be new.",
        infotext="Soft inpainting difference threshold",
        when=_is_soft_inpainting,
        ge=0,
        le=8,
        slider=(0, 8, 0.25),
        section="soft inpainting",
    )
    soft_inpainting_difference_contrast: float = param(
        2.0,
        "Difference contrast",
        help="How sharply it goes from old to new around the threshold.",
        infotext="Soft inpainting difference contrast",
        when=_is_soft_inpainting,
        ge=0,
        le=8,
        slider=(0, 8, 0.25),
        section="soft inpainting",
    )


def _has_mask(request: Img2ImgRequest) -> bool:
    return request.task == "inpaint"


def _has_uniform_blur(request: Img2ImgRequest) -> bool:
    return _has_mask(request) and request.mask_blur > 0 and request.mask_blur_y < 0


def _is_only_masked(request: Img2ImgRequest) -> bool:
    return _has_mask(request) and request.inpaint_full_res


class Img2ImgRequest(SoftInpaintingFields, OutpaintingFields, InitImageRequest):
    """A picture repainted by words; with a mask, or room at its sides, only what lies there."""

    mask: Mask = param(
        None,
        "Mask",
        help="White is repainted, black is kept; it is as large as the picture.",
        section="picture",
    )
    resize_mode: int = param(
        0,
        "Resize mode",
        help="How the picture gets the size: stretched, cut to its proportions, with drawn out edges, or as latents.",
        infotext="Resize mode",
        omit_default=True,
        labels=(
            "Just resize",
            "Crop and resize",
            "Resize and fill",
            "Just resize (latent upscale)",
        ),
        ge=0,
        le=3,
        slider=(0, 3, 1),
        section="picture",
    )
    mask_blur: int = param(
        4,
        "Mask blur",
        help="How softly the mask's edge fades, in pixels of the picture.",
        infotext="Mask blur",
        when=_has_uniform_blur,
        ge=0,
        le=256,
        slider=(0, 64, 1),
        section="mask",
    )
    mask_blur_y: int = param(
        -1,
        "Mask blur, vertical",
        help="Another softness upwards and downwards; -1 takes Mask blur.",
        ge=-1,
        le=256,
        slider=(-1, 64, 1),
        section="mask",
    )
    inpainting_mask_invert: bool = param(
        False,
        "Mask mode",
        help="Repaints what is masked, or everything else.",
        infotext="Mask mode",
        when=_has_mask,
        omit_default=True,
        labels=("Inpaint masked", "Inpaint not masked"),
        section="mask",
    )
    inpainting_fill: int = param(
        1,
        "Masked content",
        help="What lies under the mask at first: the colours around it, the picture itself, noise, or nothing.",
        infotext="Masked content",
        when=_has_mask,
        omit_default=True,
        labels=("fill", "original", "latent noise", "latent nothing"),
        ge=0,
        le=3,
        slider=(0, 3, 1),
        section="mask",
    )
    inpaint_full_res: bool = param(
        False,
        "Inpaint area",
        help="Only masked repaints the masked part at the full size and puts it back; the rest keeps its resolution.",
        infotext="Inpaint area",
        when=_is_only_masked,
        labels=("Whole picture", "Only masked"),
        section="mask",
    )
    inpaint_full_res_padding: int = param(
        32,
        "Only masked padding, pixels",
        help="How much around the mask is looked at.",
        infotext="Masked area padding",
        when=_is_only_masked,
        ge=0,
        le=1024,
        slider=(0, 256, 4),
        section="mask",
    )
    mask_round: bool = param(
        True,
        "Mask rounding",
        help="Latents are repainted wholly or not at all; without it a soft edge is repainted in part.",
        infotext="Mask rounding",
        when=_has_mask,
        omit_default=True,
        section="mask",
    )
    latent_mask: Mask = param(
        None,
        "Latent mask",
        help="Another mask for the repainting alone; the first one still decides what is put back.",
        section="mask",
    )

    @property
    def task(self) -> Task:
        """Return what kind of generation this is."""
        return "img2img" if self.mask is None and not any(self.outpaint_sides) else "inpaint"

    @property
    def mask_blurs(self) -> tuple[int, int]:
        """Return how softly the mask's edge fades sideways and up and down, in pixels."""
        return self.mask_blur, self.mask_blur if self.mask_blur_y < 0 else self.mask_blur_y

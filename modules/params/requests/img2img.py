"""Img2ImgRequest: img2img, inpainting and outpainting, with the fields of outpainting and soft inpainting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, model_validator

from modules.params.image import Mask, make_reader
from modules.params.image_kinds import MASK, SOFT_MASK, ImageKind
from modules.params.param import param
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.noise_from_image import NoiseFromImageFields

_MAX_OUTPAINT = 4096


def _outpaint_param(name: str) -> Any:
    return param(
        0,
        f"Outpaint {name}",
        help=f"How many pixels are added at the {name}, in pixels of the result (of the picture, if only masked).",
        infotext=f"Outpaint {name}",
        omit_default=True,
        ge=0,
        le=_MAX_OUTPAINT,
        slider=(0, 512, 8),
        section="outpainting",
    )


class OutpaintingFields(BaseModel):
    """How many pixels are added at each side of the init image.

    Width and height are those of the whole result: the init image gets what the added sides leave.
    """

    outpaint_left: int = _outpaint_param("left")
    outpaint_top: int = _outpaint_param("top")
    outpaint_right: int = _outpaint_param("right")
    outpaint_bottom: int = _outpaint_param("bottom")

    @property
    def outpaint_sides(self) -> tuple[int, int, int, int]:
        """Return the pixels to add at the left, the top, the right and the bottom."""
        return self.outpaint_left, self.outpaint_top, self.outpaint_right, self.outpaint_bottom


# Title of A1111's script; the API accepts the script's arguments in the order of the fields below.
SOFT_INPAINTING_TITLE = "Soft inpainting"


def _is_soft_inpainting(request: Any) -> bool:  # Any: every model that has the fields
    return bool(request.soft_inpainting_enabled)


class SoftInpaintingFields(BaseModel):
    """How gradually the repainted part blends into the rest."""

    soft_inpainting_enabled: bool = param(
        False,
        SOFT_INPAINTING_TITLE,
        help="Blends old and new content in every step where the mask is grey, so that no seam is visible; use a large mask blur.",
        infotext="Soft inpainting enabled",
        when=_is_soft_inpainting,
        section="soft inpainting",
    )
    soft_inpainting_schedule_bias: float = param(
        1.0,
        "Schedule bias",
        help="When the original content is preserved where the mask is grey: above 1 more in early steps, below 1 in late steps, too.",
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
        help="How strongly the original content is preserved where the mask is grey; more keeps more of it.",
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
        help="How much contrast is kept where old and new content are blended; 1 averages them.",
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
        help="How much the mask decides where the result replaces the original; 0 lets only the difference decide.",
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
        help="The difference at which a pixel is half old and half new; higher values keep more of the original.",
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
        help="How sharp the transition from old to new is around the threshold; higher values are sharper.",
        infotext="Soft inpainting difference contrast",
        when=_is_soft_inpainting,
        ge=0,
        le=8,
        slider=(0, 8, 0.25),
        section="soft inpainting",
    )


def _has_mask(request: Img2ImgRequest) -> bool:
    return request.has_mask


def _has_uniform_blur(request: Img2ImgRequest) -> bool:
    return _has_mask(request) and request.mask_blur > 0 and request.mask_blur_y < 0


def _is_only_masked(request: Img2ImgRequest) -> bool:
    return _has_mask(request) and request.inpaint_full_res


def mask_kind(values: Mapping[str, Any]) -> ImageKind:
    """Return how the mask of a request's values is read: A1111 rounds a brush layer only where it rounds masks."""
    rounds = values.get("mask_round", True) and not values.get("soft_inpainting_enabled", False)
    return MASK if rounds else SOFT_MASK


class Img2ImgRequest(
    SoftInpaintingFields, OutpaintingFields, NoiseFromImageFields, InitImageRequest
):
    """An init image repainted by a prompt; with a mask or outpainting, only the masked or added part."""

    mask: Mask = param(
        None,
        "Mask",
        help="White is repainted, black is kept; one of another size is fitted by the resize mode.",
        section="mask",
    )
    resize_mode: int = param(
        0,
        "Resize mode",
        help="How the picture is fitted to the size: stretched, cropped, filled at the edges, or stretched as latents.",
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
        help="How soft the mask's edge is, in pixels of the mask; more blends old and new over a wider border.",
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
        help="A different blur in the vertical direction; -1 uses Mask blur.",
        ge=-1,
        le=256,
        slider=(-1, 64, 1),
        section="mask",
    )
    inpainting_mask_invert: bool = param(
        False,
        "Mask mode",
        help="Whether the masked part is repainted, or everything else.",
        infotext="Mask mode",
        when=_has_mask,
        omit_default=True,
        labels=("Inpaint masked", "Inpaint not masked"),
        section="mask",
    )
    inpaint_full_res: bool = param(
        False,
        "Inpaint area",
        help="Only masked repaints the masked part at the chosen size and pastes it back: more detail there, and the picture keeps its resolution.",
        infotext="Inpaint area",
        when=_is_only_masked,
        labels=("Whole picture", "Only masked"),
        section="mask",
    )
    inpaint_full_res_padding: int = param(
        32,
        "Only masked padding, pixels",
        help="How many pixels around the mask are included with Only masked; more fits the surroundings better, less gives more detail.",
        infotext="Masked area padding",
        when=_is_only_masked,
        ge=0,
        le=1024,
        slider=(0, 256, 4),
        section="mask",
    )
    inpainting_fill: int = param(
        1,
        "Masked content",
        help="What is under the mask before the first step: surrounding colours, the picture itself, or, for something new, noise or nothing.",
        infotext="Masked content",
        when=_has_mask,
        omit_default=True,
        labels=("fill", "original", "latent noise", "latent nothing"),
        ge=0,
        le=3,
        slider=(0, 3, 1),
        section="mask",
    )
    mask_round: bool = param(
        True,
        "Mask rounding",
        help="Repaints each cell of latents (8x8 pixels) fully or not at all; off repaints soft edges in part.",
        infotext="Mask rounding",
        when=_has_mask,
        omit_default=True,
        section="mask",
    )
    latent_mask: Mask = param(
        None,
        "Latent mask",
        help="A separate mask for the latents; the first mask still decides what is pasted back.",
        section="mask",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_mask(cls, values: Any) -> Any:  # Any: whatever is validated
        """Read the mask here: a field's own reader does not know the other fields."""
        if not isinstance(values, Mapping):
            return values
        fields = cast("Mapping[str, Any]", values)
        if fields.get("mask") is None:
            return fields
        try:
            return {**fields, "mask": make_reader(mask_kind(fields))(fields["mask"])}
        except ValueError:  # reported as the field's own error
            return fields

    @property
    def task(self) -> str:
        """Return the name of this request's task; see `tasks`."""
        return "inpaint" if self.has_mask else "img2img"

    @property
    def has_mask(self) -> bool:
        """Return whether only a part is repainted: that of the mask, or what outpainting adds."""
        return self.mask is not None or any(self.outpaint_sides)

    @property
    def mask_blurs(self) -> tuple[int, int]:
        """Return the horizontal and vertical mask blur in pixels."""
        return self.mask_blur, self.mask_blur if self.mask_blur_y < 0 else self.mask_blur_y

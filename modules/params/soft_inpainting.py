"""The fields of A1111's soft inpainting: a gradual mask, and a composite by what has changed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modules.params.param import param

TITLE = "Soft inpainting"  # of A1111's script, whose arguments the API takes in this order


def _enabled(request: Any) -> bool:  # Any: also what carries the fields besides others
    return bool(request.soft_inpainting_enabled)


class SoftInpaintingFields(BaseModel):
    """How gradually the masked part passes into the rest."""

    soft_inpainting_enabled: bool = param(
        False,
        TITLE,
        help="Lets the mask's greys blend old and new step by step, so that no seam is seen; blur the mask widely.",
        infotext="Soft inpainting enabled",
        when=_enabled,
        section="soft inpainting",
    )
    soft_inpainting_schedule_bias: float = param(
        1.0,
        "Schedule bias",
        help="Above 1 the picture's own content is kept in early steps, below 1 in late ones, too.",
        infotext="Soft inpainting schedule bias",
        when=_enabled,
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
        when=_enabled,
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
        when=_enabled,
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
        when=_enabled,
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
        when=_enabled,
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
        when=_enabled,
        ge=0,
        le=8,
        slider=(0, 8, 0.25),
        section="soft inpainting",
    )

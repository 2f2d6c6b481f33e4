"""ExtrasRequest: upscaling a finished image, as in A1111's Extras."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from modules.params.param import param


class ExtrasRequest(BaseModel):
    """The fields of A1111's extra-single-image except the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize_mode: int = param(
        0,
        "Resize mode",
        help="0 enlarges by a factor, 1 to a width and height.",
        ge=0,
        le=1,
        section="size",
    )
    upscaling_resize: float = param(
        2.0,
        "Resize",
        help="How many times larger the picture becomes.",
        ge=0.05,
        le=8,
        slider=(1, 8, 0.05),
        section="size",
    )
    upscaling_resize_w: int = param(
        512, "Width", help="The new width with resize mode 1.", ge=1, le=8192, section="size"
    )
    upscaling_resize_h: int = param(
        512, "Height", help="The new height with resize mode 1.", ge=1, le=8192, section="size"
    )
    upscaling_crop: bool = param(
        True,
        "Crop to fit",
        help="Crops what exceeds the new width and height; off lets the picture exceed them.",
        section="size",
    )
    upscaler_1: str = param(
        "None",
        "Upscaler 1",
        help="The method of enlarging the picture; None leaves it unchanged.",
        section="upscalers",
    )
    upscaler_2: str = param(
        "None",
        "Upscaler 2",
        help="Its result is blended into that of the first one.",
        section="upscalers",
    )
    extras_upscaler_2_visibility: float = param(
        0.0,
        "Upscaler 2 visibility",
        help="Share of the second upscaler's result.",
        ge=0,
        le=1,
        slider=(0, 1, 0.001),
        section="upscalers",
    )
    gfpgan_visibility: float = param(
        0.0,
        "GFPGAN visibility",
        help="Share of the restored faces; face restoration is not available yet.",
        ge=0,
        le=1,
        section="faces",
    )
    codeformer_visibility: float = param(
        0.0,
        "CodeFormer visibility",
        help="Share of the restored faces; face restoration is not available yet.",
        ge=0,
        le=1,
        section="faces",
    )
    codeformer_weight: float = param(
        0.0,
        "CodeFormer weight",
        help="Higher values keep faces closer to the picture.",
        ge=0,
        le=1,
        section="faces",
    )
    upscale_first: bool = param(
        False,
        "Upscale before restoring faces",
        help="Enlarges before face restoration, not after it.",
        section="faces",
    )

"""ExtrasRequest: what is done with a finished image, as in A1111's Extras."""

from __future__ import annotations

from modules.params.image import InputImage
from modules.params.param import param
from modules.params.requests.job_request import JobRequest

SCALE_BY, SCALE_TO = 0, 1


class ExtrasRequest(JobRequest):
    """A finished image that is enlarged and whose faces are restored. The fields are those of A1111's API."""

    image: InputImage = param(
        None,
        "Picture",
        help="The picture to enlarge; transparent parts become white.",
        section="picture",
    )
    source_name: str = param(
        "",
        "Name",
        help="What the result's file is called; empty numbers it.",
        section="source",
    )
    source_texts: dict[str, str] = param(
        {},
        "Metadata",
        help="The texts in the picture's file by name, which the result's file keeps.",
        section="source",
    )
    save_output: bool = param(
        True,
        "Save result",
        help="Off keeps the result only in the folder tmp, for a day.",
        section="source",
    )
    resize_mode: int = param(
        SCALE_BY,
        "Resize mode",
        help="By enlarges by a factor, to a width and height.",
        labels=("Scale by", "Scale to"),
        ge=SCALE_BY,
        le=SCALE_TO,
        section="size",
    )
    upscaling_resize: float = param(
        2.0,
        "Resize",
        help="How many times wider and higher the picture becomes; 4 means 16 times as many pixels.",
        ge=0.05,
        le=16,
        slider=(1, 8, 0.05),
        section="size",
    )
    max_side_length: int = param(
        0,
        "Max side length",
        help="Makes the result at most so long and so high, in its own proportions; 0 sets no limit.",
        ge=0,
        le=32768,
        section="size",
    )
    upscaling_resize_w: int = param(
        512,
        "Width",
        help="The width to scale to, in pixels.",
        ge=1,
        le=32768,
        slider=(64, 4096, 8),
        section="size",
    )
    upscaling_resize_h: int = param(
        512,
        "Height",
        help="The height to scale to, in pixels.",
        ge=1,
        le=32768,
        slider=(64, 4096, 8),
        section="size",
    )
    upscaling_crop: bool = param(
        True,
        "Crop to fit",
        help="Crops what exceeds the width and height; off lets the picture exceed them in one direction.",
        section="size",
    )
    upscaler_1: str = param(
        "None",
        "Upscaler 1",
        help="The method of enlarging the picture: networks add detail, Lanczos and Nearest do not; None leaves it unchanged.",
        choices="image upscalers",
        section="upscalers",
    )
    upscaler_2: str = param(
        "None",
        "Upscaler 2",
        help="Its result is blended into that of the first one.",
        choices="image upscalers",
        section="upscalers",
    )
    extras_upscaler_2_visibility: float = param(
        0.0,
        "Upscaler 2 visibility",
        help="Share of the second upscaler's result: 0 shows none of it, 1 nothing else.",
        ge=0,
        le=1,
        slider=(0, 1, 0.001),
        section="upscalers",
    )
    gfpgan_visibility: float = param(
        0.0,
        "GFPGAN visibility",
        help="Share of the faces that GFPGAN restores: 0 leaves them as they are.",
        ge=0,
        le=1,
        slider=(0, 1, 0.001),
        section="faces",
    )
    codeformer_visibility: float = param(
        0.0,
        "CodeFormer visibility",
        help="Share of the faces that CodeFormer restores: 0 leaves them as they are.",
        ge=0,
        le=1,
        slider=(0, 1, 0.001),
        section="faces",
    )
    codeformer_weight: float = param(
        0.0,
        "CodeFormer weight",
        help="Higher values keep faces closer to the picture, lower ones draw them more freely.",
        ge=0,
        le=1,
        slider=(0, 1, 0.001),
        section="faces",
    )
    upscale_first: bool = param(
        False,
        "Upscale before restoring faces",
        help="Accepted and without effect, as in A1111: the picture is always enlarged first.",
        section="unused",
    )

    @property
    def task(self) -> str:
        """Return the name of its row of JOB_KINDS."""
        return "extras"

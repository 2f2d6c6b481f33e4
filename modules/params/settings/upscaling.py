"""Options of the upscalers that are networks, named as in A1111."""

from __future__ import annotations

from pydantic import BaseModel

from modules.params.param import param

_TILE_HELP = "Side of the tiles in which {models} enlarge a picture, in pixels of that picture: smaller ones need less memory, 0 takes it whole."
_OVERLAP_HELP = (
    "By how many pixels neighbouring tiles overlap; more hides the seams better and takes longer."
)


def _tile(name: str, models: str, default: int = 192) -> int:
    return param(
        default,
        f"Tile size for {name} upscalers",
        help=_TILE_HELP.format(models=models),
        ge=0,
        le=4096,
        slider=(0, 512, 16),
        section="upscaling",
    )


def _overlap(name: str) -> int:
    return param(
        8,
        f"Tile overlap for {name} upscalers",
        help=_OVERLAP_HELP,
        ge=0,
        le=512,
        slider=(0, 48, 1),
        section="upscaling",
    )


class UpscalingSettings(BaseModel):
    """How networks enlarge images."""

    ESRGAN_tile: int = _tile("ESRGAN", "ESRGAN and all that have no option of their own")
    ESRGAN_tile_overlap: int = _overlap("ESRGAN")
    SWIN_tile: int = _tile("SwinIR", "SwinIR and Swin2SR")
    SWIN_tile_overlap: int = _overlap("SwinIR")
    DAT_tile: int = _tile("DAT", "models of DAT")
    DAT_tile_overlap: int = _overlap("DAT")
    SCUNET_tile: int = _tile("ScuNET", "models of ScuNET", 256)
    SCUNET_tile_overlap: int = _overlap("ScuNET")
    upscaler_for_img2img: str = param(
        "None",
        "Upscaler for img2img",
        help="Enlarges a picture that is smaller than the result before img2img repaints it; None does so by Lanczos.",
        infotext="Img2img upscaler",
        choices="image upscalers",
        section="upscaling",
    )
    upscaling_max_images_in_cache: int = param(
        5,
        "Number of upscaled images to cache",
        help="So many enlarged pictures stay in memory, so that Extras with another face restoration, blend or crop does not"
        " enlarge them again; 0 keeps none.",
        ge=0,
        le=50,
        slider=(0, 10, 1),
        section="upscaling",
    )
    set_scale_by_when_changing_upscaler: bool = param(
        False,
        "Set Scale by from the upscaler's name",
        help="On takes the factor in the name of the upscaler that is chosen in Extras, such as 4x or x2, for Resize.",
        section="upscaling",
    )
    upscaling_max_megapixels: int = param(
        68,
        "Largest result of upscaling",
        help="In millions of pixels; a picture of 68 (8192x8192 pixels) needs about 0.8 GB of memory while it is made.",
        ge=1,
        le=1000,
        slider=(1, 256, 1),
        section="upscaling",
    )

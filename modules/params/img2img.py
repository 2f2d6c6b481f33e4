"""What a picture that is repainted, whole or under a mask, is asked to be."""

from __future__ import annotations

from modules.params.image import Mask
from modules.params.outpainting import OutpaintingFields
from modules.params.param import param
from modules.params.repainting import RepaintingRequest
from modules.params.request import Task
from modules.params.soft_inpainting import SoftInpaintingFields


def _masked(request: Img2ImgRequest) -> bool:
    return request.task == "inpaint"


def _blurs_alike(request: Img2ImgRequest) -> bool:
    return _masked(request) and request.mask_blur > 0 and request.mask_blur_y < 0


def _only_masked(request: Img2ImgRequest) -> bool:
    return _masked(request) and request.inpaint_full_res


class Img2ImgRequest(SoftInpaintingFields, OutpaintingFields, RepaintingRequest):
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
        only_changed=True,
        words=("Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"),
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
        when=_blurs_alike,
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
        when=_masked,
        only_changed=True,
        words=("Inpaint masked", "Inpaint not masked"),
        section="mask",
    )
    inpainting_fill: int = param(
        1,
        "Masked content",
        help="What lies under the mask at first: the colours around it, the picture itself, noise, or nothing.",
        infotext="Masked content",
        when=_masked,
        only_changed=True,
        words=("fill", "original", "latent noise", "latent nothing"),
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
        when=_only_masked,
        words=("Whole picture", "Only masked"),
        section="mask",
    )
    inpaint_full_res_padding: int = param(
        32,
        "Only masked padding, pixels",
        help="How much around the mask is looked at.",
        infotext="Masked area padding",
        when=_only_masked,
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
        when=_masked,
        only_changed=True,
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
        return "img2img" if self.mask is None and not any(self.sides) else "inpaint"

    @property
    def blurs(self) -> tuple[int, int]:
        """Return how softly the mask's edge fades sideways and up and down, in pixels."""
        return self.mask_blur, self.mask_blur if self.mask_blur_y < 0 else self.mask_blur_y

"""What a picture that is repainted, whole or under a mask, is asked to be."""

from __future__ import annotations

from modules.params.image import Picture
from modules.params.param import param
from modules.params.request import GenerationRequest, Task


class Img2ImgRequest(GenerationRequest):
    """A picture repainted by words; with a mask only what lies under it."""

    init_image: Picture = param(
        None,
        "Picture",
        help="What is repainted.",
        section="picture",
    )
    mask: Picture = param(
        None,
        "Mask",
        help="White is repainted, black is kept.",
        section="picture",
    )
    denoising_strength: float = param(
        0.75,
        "Denoising strength",
        help="0 keeps the picture nearly as it is; 1 keeps nothing.",
        infotext="Denoising strength",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="picture",
    )
    resize_mode: int = param(
        0,
        "Resize mode",
        help="0 stretches the picture to the size, 1 crops it, 2 fills what is missing, 3 stretches its latents.",
        ge=0,
        le=3,
        slider=(0, 3, 1),
        section="picture",
    )
    mask_blur: int = param(
        4,
        "Mask blur",
        help="How softly the mask's edge fades, in pixels.",
        ge=0,
        le=256,
        slider=(0, 64, 1),
        section="mask",
    )
    inpainting_mask_invert: bool = param(
        False,
        "Inpaint not masked",
        help="Repaints what is not masked and keeps what is.",
        section="mask",
    )
    inpainting_fill: int = param(
        1,
        "Masked content",
        help="What lies under the mask at first: 0 its surroundings, 1 the picture, 2 noise, 3 nothing.",
        ge=0,
        le=3,
        slider=(0, 3, 1),
        section="mask",
    )
    inpaint_full_res: bool = param(
        False,
        "Only masked",
        help="Repaints the masked part at the full size and puts it back; else the whole picture is repainted.",
        section="mask",
    )
    inpaint_full_res_padding: int = param(
        32,
        "Only masked padding, pixels",
        help="How much around the mask is looked at.",
        ge=0,
        le=1024,
        slider=(0, 256, 4),
        section="mask",
    )

    @property
    def task(self) -> Task:
        """Return what kind of generation this is."""
        return "img2img" if self.mask is None else "inpaint"

    @property
    def saved_as(self) -> str:
        """Return A1111's word for the kind of picture, which names its folder in outputs."""
        return "img2img"

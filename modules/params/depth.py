"""What a picture repainted by its depth is asked to be."""

from __future__ import annotations

from modules.params.image import Picture
from modules.params.param import param
from modules.params.request import GenerationRequest, Task


class DepthRequest(GenerationRequest):
    """A picture repainted by words, its depth kept. One that is not of the asked size is cropped to it."""

    init_image: Picture = param(
        None,
        "Picture",
        help="What is repainted; its middle is cut to the proportions of Width and Height.",
        section="picture",
    )
    depth_map: Picture = param(
        None,
        "Depth map (optional)",
        help="White is near, black is far; without one the checkpoint estimates the depth of the picture.",
        section="picture",
    )
    denoising_strength: float = param(
        0.75,
        "Denoising strength",
        help="0 keeps the picture nearly as it is; 1 keeps its depth alone.",
        infotext="Denoising strength",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="picture",
    )

    @property
    def task(self) -> Task:
        """Return what kind of generation this is."""
        return "depth2img"

    @property
    def saved_as(self) -> str:
        """Return A1111's word for the kind of picture, which names its folder in outputs."""
        return "img2img"

"""What all requests have in common that begin with a picture."""

from __future__ import annotations

from modules.params.image import InputImage
from modules.params.param import param
from modules.params.requests.base import GenerationRequest


class InitImageRequest(GenerationRequest):
    """A picture repainted by words."""

    init_image: InputImage = param(
        None,
        "Picture",
        help="What is repainted; transparent parts lie on white.",
        section="picture",
    )
    denoising_strength: float = param(
        0.75,
        "Denoising strength",
        help="0 keeps the picture nearly as it is; 1 keeps nothing of it, or in the Depth tab its depth alone.",
        infotext="Denoising strength",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="picture",
    )

    @property
    def output_subfolder(self) -> str:
        """Return A1111's word for the kind of picture, which names its folder in outputs."""
        return "img2img"

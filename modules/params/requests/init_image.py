"""InitImageRequest: the fields of every task with an init image."""

from __future__ import annotations

from modules.params.image import InputImage
from modules.params.param import param
from modules.params.requests.base import GenerationRequest


class InitImageRequest(GenerationRequest):
    """An init image repainted by a prompt."""

    init_image: InputImage = param(
        None,
        "Picture",
        help="The picture to repaint; transparent parts become white.",
        section="picture",
    )
    denoising_strength: float = param(
        0.75,
        "Denoising strength",
        help="How much of the picture is repainted: 0 hardly changes it, 1 keeps nothing of it, or in the Depth tab only its depth.",
        infotext="Denoising strength",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="picture",
    )

    @property
    def img2img_strength(self) -> float | None:
        """Return the denoising strength."""
        return self.denoising_strength

    @property
    def output_subfolder(self) -> str:
        """Return the name that A1111 gives the task's folder in outputs."""
        return "img2img"

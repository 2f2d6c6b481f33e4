"""DepthRequest: depth2img, an init image repainted with its depth preserved."""

from __future__ import annotations

from modules.params.image import DepthMap
from modules.params.param import param
from modules.params.requests.init_image import InitImageRequest


class DepthRequest(InitImageRequest):
    """An init image repainted with its depth preserved; an image of another size is cropped to width and height."""

    depth_map: DepthMap = param(
        None,
        "Depth map (optional)",
        help="White is near, black is far; without a depth map the checkpoint estimates the depth.",
        section="picture",
    )
    depth_contrast: float = param(
        1.0,
        "Depth contrast",
        help="Above 1 moves near and far apart, below 1 moves them together.",
        infotext="Depth contrast",
        omit_default=True,
        ge=0,
        le=4,
        slider=(0, 4, 0.05),
        section="depth",
    )
    depth_near: float = param(
        1.0,
        "Depth near",
        help="Everything at least this near counts as nearest; 1 is the nearest point of the picture.",
        infotext="Depth near",
        omit_default=True,
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="depth",
    )
    depth_far: float = param(
        0.0,
        "Depth far",
        help="Everything at most this near counts as farthest; 0 is the farthest point of the picture.",
        infotext="Depth far",
        omit_default=True,
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="depth",
    )
    depth_invert: bool = param(
        False,
        "Invert depth",
        help="Reads white as far and black as near.",
        infotext="Depth inverted",
        omit_default=True,
        section="depth",
    )

    @property
    def task(self) -> str:
        """Return the name of this request's task; see `tasks`."""
        return "depth2img"

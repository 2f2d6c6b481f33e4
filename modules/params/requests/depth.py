"""What a picture repainted by its depth is asked to be."""

from __future__ import annotations

from modules.params.image import DepthMap
from modules.params.param import param
from modules.params.requests.base import Task
from modules.params.requests.init_image import InitImageRequest


class DepthRequest(InitImageRequest):
    """A picture repainted by words, its depth kept. One that is not of the asked size is cropped to it."""

    depth_map: DepthMap = param(
        None,
        "Depth map (optional)",
        help="White is near, black is far; without one the checkpoint estimates the depth of the picture.",
        section="picture",
    )
    depth_contrast: float = param(
        1.0,
        "Depth contrast",
        help="Above 1 near and far are drawn apart, below 1 they come together.",
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
        help="What is at least as near counts as the nearest; 1 is the nearest of the picture.",
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
        help="What is at most as near counts as the farthest; 0 is the farthest of the picture.",
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
        help="Takes what is white for far and what is black for near.",
        infotext="Depth inverted",
        omit_default=True,
        section="depth",
    )

    @property
    def task(self) -> Task:
        """Return what kind of generation this is."""
        return "depth2img"

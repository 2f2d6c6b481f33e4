"""Room at a picture's sides that is painted."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modules.params.param import param

_MOST = 4096


def _side(name: str) -> Any:
    return param(
        0,
        f"Outpaint {name}",
        help=f"How far the picture is continued at the {name}, in pixels of the result (of the picture, if only masked).",
        infotext=f"Outpaint {name}",
        only_changed=True,
        ge=0,
        le=_MOST,
        slider=(0, 512, 8),
        section="outpainting",
    )


class OutpaintingFields(BaseModel):
    """How far a picture is continued beyond its sides.

    Width and Height are those of the whole result: the picture gets what the sides leave of it.
    """

    outpaint_left: int = _side("left")
    outpaint_top: int = _side("top")
    outpaint_right: int = _side("right")
    outpaint_bottom: int = _side("bottom")

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Return the pixels to add at the left, the top, the right and the bottom."""
        return self.outpaint_left, self.outpaint_top, self.outpaint_right, self.outpaint_bottom

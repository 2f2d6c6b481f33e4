"""Options of ControlNet units, named as in sd-webui-controlnet."""

from __future__ import annotations

from pydantic import BaseModel

from modules.params.param import param

MAX_UNITS = 10


class ControlSettings(BaseModel):
    """How many units the page has, and what becomes of what their preprocessors make."""

    control_net_unit_count: int = param(
        3,
        "ControlNet units",
        help="How many units a form has; more allow more control pictures at once. Counts after the page is loaded again.",
        ge=1,
        le=MAX_UNITS,
        slider=(1, MAX_UNITS, 1),
        section="control",
    )
    control_net_no_detectmap: bool = param(
        False,
        "Do not append detected maps to results",
        help="Leaves what the preprocessors made, such as outlines, out of the results.",
        section="control",
    )

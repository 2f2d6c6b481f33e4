"""The arguments of an X/Y/Z plot: axes and switches as they are chosen, and their values."""

from __future__ import annotations

from pydantic import BaseModel

from modules.params.param import param
from modules.scripts.xyz_plot.a1111_axes import NOTHING
from modules.scripts.xyz_plot.values import AxisValue

LETTERS = ("x", "y", "z")
_TYPE_HELP = "What changes from one {}; Nothing leaves this axis out."
_VALUES_HELP = (
    "Separated by commas; ranges such as 1-9 (+2) and 0-1 [5], quotes around a value with commas."
)


class AxisValues(BaseModel, frozen=True, extra="forbid"):
    """The values of one axis.

    Attributes:
        values: In order; at least one.
        labels: What the legend says of each.
        cost: Those of the highest cost change least often.
    """

    name: str = NOTHING
    values: tuple[AxisValue, ...] = ("",)
    labels: tuple[str, ...] = ("",)
    cost: float = 0.0


class XyzPlotArgs(BaseModel, frozen=True, extra="forbid"):
    """Up to three axes, and what is made of the cells.

    Attributes:
        axes: The values of x, y and z, with seeds drawn; `prepare` fills them before the plot is stored.
    """

    x_type: str = param(NOTHING, "X type", help=_TYPE_HELP.format("column to the next"))
    x_values: str = param("", "X values", help=_VALUES_HELP)
    y_type: str = param(NOTHING, "Y type", help=_TYPE_HELP.format("row to the next"))
    y_values: str = param("", "Y values", help=_VALUES_HELP)
    z_type: str = param(NOTHING, "Z type", help=_TYPE_HELP.format("grid to the next"))
    z_values: str = param("", "Z values", help=_VALUES_HELP)
    draw_legend: bool = param(
        True, "Draw legend", help="Writes the values above the columns and left of the rows."
    )
    include_lone_images: bool = param(
        False,
        "Include Sub Images",
        help="Shows the single pictures beside the grid; they are saved in any case.",
    )
    include_sub_grids: bool = param(
        False, "Include Sub Grids", help="Also makes a grid of its own for each value of Z."
    )
    no_fixed_seeds: bool = param(
        False, "Keep -1 for seeds", help="Draws a random seed for each picture, not one for all."
    )
    vary_seeds_x: bool = param(
        False, "Vary seeds for X", help="Gives each column another seed, counting up."
    )
    vary_seeds_y: bool = param(
        False, "Vary seeds for Y", help="Gives each row another seed, counting up."
    )
    vary_seeds_z: bool = param(
        False, "Vary seeds for Z", help="Gives each value of Z another seed, counting up."
    )
    csv_mode: bool = param(
        False,
        "Use text inputs instead of dropdowns",
        help="Values that could be chosen are written, too.",
    )
    margin_size: int = param(
        0,
        "Grid margins (px)",
        help="Pixels between the pictures of a grid with a legend.",
        ge=0,
        le=500,
        slider=(0, 500, 2),
    )
    axes: tuple[AxisValues, AxisValues, AxisValues] = (AxisValues(), AxisValues(), AxisValues())

    def written(self, letter: str) -> tuple[str, str]:
        """Return type and values of an axis as they were written."""
        values = dict(self)
        return values[f"{letter}_type"], values[f"{letter}_values"]

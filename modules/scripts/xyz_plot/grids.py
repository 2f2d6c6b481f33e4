"""The grids of a plot: one for each value of z, and all of them side by side, with A1111's infotexts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from PIL import Image

from modules.images.annotated_grid import Caption, Legend, draw_grid
from modules.images.grid import make_grid
from modules.images.save import read_image
from modules.infotext import parse_infotext, quote
from modules.params.settings.saving import GridSettings
from modules.scripts.protocol import CellResult, ScriptImage
from modules.scripts.xyz_plot.a1111_axes import NOTHING
from modules.scripts.xyz_plot.arguments import LETTERS, XyzPlotArgs
from modules.scripts.xyz_plot.values import AxisValue

_PROGRAM = ", App: "
SEED_AXES = ("Seed", "Var. seed")
Place = tuple[int, int, int]  # number of the value of x, y and z
Results = Mapping[Place, CellResult]


def make_grids(args: XyzPlotArgs, results: Results) -> tuple[ScriptImage, ...]:
    """Return the grid of all cells, and after it, if they are wanted, that of each value of z.

    Args:
        args: The plot.
        results: How each cell ended; at least one has an image.
    """
    size = _cell_size(results)
    whole = partial(_draw_whole, args, results, size)
    images = [_script_image(args, results, whole, LETTERS)]
    if args.include_sub_grids:
        for z in range(len(args.axes[2].values)):
            plane = {place: result for place, result in results.items() if place[2] == z}
            if any(result.images for result in plane.values()):
                draw = partial(_draw_plane, args, results, size, z)
                images.append(_script_image(args, plane, draw, LETTERS[:2]))
    return tuple(images)


def _cell_size(results: Results) -> tuple[int, int]:
    """Return width and height of the first image."""
    return next(result.images[0].size for result in results.values() if result.images)


def _draw_whole(
    args: XyzPlotArgs, results: Results, size: tuple[int, int], settings: GridSettings
) -> Image.Image:
    labels = args.axes[2].labels
    planes = [_draw_plane(args, results, size, z, settings) for z in range(len(labels))]
    legend = Legend(_captions(labels)) if args.draw_legend else None
    return planes[0] if len(planes) == 1 else draw_grid(planes, 1, settings, legend)


def _draw_plane(
    args: XyzPlotArgs, results: Results, size: tuple[int, int], z: int, settings: GridSettings
) -> Image.Image:
    """Return the grid of one value of z; a cell without an image is black, as in A1111."""
    columns, rows = (axis.labels for axis in args.axes[:2])
    images = [
        _read_cell(results[x, y, z], settings) or Image.new("RGB", size)
        for y in range(len(rows))
        for x in range(len(columns))
    ]
    legend = Legend(_captions(columns), _captions(rows), args.margin_size)
    return draw_grid(images, len(rows), settings, legend if args.draw_legend else None)


def _read_cell(result: CellResult, settings: GridSettings) -> Image.Image | None:
    """Return a cell's image, or the grid of them if it has several; None without any that is still there."""
    paths = [image.path for image in result.images]
    images = [read_image(path) for path in paths if path.is_file()]
    if len(images) < 2:
        return images[0] if images else None
    return make_grid(images, len(images), settings) or images[0]


def _captions(labels: tuple[str, ...]) -> tuple[tuple[Caption, ...], ...]:
    return tuple((Caption(label),) for label in labels)


def _script_image(
    args: XyzPlotArgs, results: Results, draw: partial[Image.Image], letters: tuple[str, ...]
) -> ScriptImage:
    """Return a grid with the infotext of its first image and the axes."""
    first = results[min(place for place, result in results.items() if result.images)].images[0]
    pairs = {"Script": "X/Y/Z plot"}
    for letter, axis in zip(letters, args.axes, strict=False):
        if axis.name == NOTHING:
            continue
        pairs[f"{letter.upper()} Type"] = axis.name
        pairs[f"{letter.upper()} Values"] = args.written(letter)[1]
        if axis.name in SEED_AXES and not args.no_fixed_seeds:
            pairs[f"Fixed {letter.upper()} Values"] = _join(axis.values)
    written = ", ".join(f"{key}: {quote(value)}" for key, value in pairs.items())
    return ScriptImage(draw, _add_pairs(first.infotext, written), first.seed, "grid")


def _add_pairs(infotext: str, written: str) -> str:
    """Return an infotext with more pairs: before the program's, which A1111 has last, too."""
    pairs, program, version = infotext.rpartition(_PROGRAM)
    if program:
        return f"{pairs}, {written}{program}{version}"
    has_pairs = bool(parse_infotext(infotext).pairs)
    return f"{infotext}{', ' if has_pairs else chr(10)}{written}"


def _join(values: tuple[AxisValue, ...]) -> str:
    return ", ".join(map(str, values))

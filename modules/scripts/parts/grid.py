"""The grid of a script: drawn of its cells' images when it is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from modules.images.annotated_grid import Legend, check_grid_size, draw_grid
from modules.images.grid import largest_size
from modules.images.save import read_image
from modules.params.results import GeneratedImage
from modules.params.settings.saving import GridSettings
from modules.scripts.protocol import ScriptImage


def make_script_grid(
    images: Sequence[GeneratedImage | None], rows: int, legend: Legend | None = None
) -> ScriptImage:
    """Return the grid of a script with the infotext of its first image.

    Args:
        images: Row by row, at least one of them; None leaves a cell empty.
        rows: Number of rows.
        legend: Captions and margin; None for a plain grid.
    """
    first = next(image for image in images if image is not None)
    return ScriptImage(_drawing(images, rows, legend), first.infotext, first.seed, "grid")


def _drawing(
    images: Sequence[GeneratedImage | None], rows: int, legend: Legend | None
) -> Callable[[GridSettings], Image.Image]:
    def draw(settings: GridSettings) -> Image.Image:
        width, height = largest_size([image.size for image in images if image is not None])
        check_grid_size(
            (width * -(-len(images) // rows), height * rows)
        )  # before they fill the memory
        pixels = [None if image is None else read_image(image.path) for image in images]
        return draw_grid(pixels, rows, settings, legend)

    return draw

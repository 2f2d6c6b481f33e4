"""Cells that repaint the tiles of an image."""

from __future__ import annotations

from PIL import Image

from modules.core.errors import UserError
from modules.images.resize import SIZE_MULTIPLE, stretch
from modules.images.save import read_image
from modules.params.param import params_of
from modules.params.requests.init_image import InitImageRequest
from modules.scripts.protocol import CellResult


def check_overlap(request: InitImageRequest, overlap: int) -> None:
    """Refuse an overlap that leaves nothing of a tile.

    Args:
        request: Its width and height are those of a tile.
        overlap: In pixels.

    Raises:
        UserError: it is refused.
    """
    if overlap >= min(request.width, request.height):
        raise UserError(
            f"Tiles of {request.width} x {request.height} pixels cannot overlap by {overlap}.",
            "Make width and height larger, or the overlap smaller.",
        )


def valid_side(length: int) -> int:
    """Return the side of the request for a tile: the next one that is valid."""
    least = params_of(InitImageRequest)["width"].ge or 0
    return max(int(least), -(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE)


def read_tile(result: CellResult, unchanged: Image.Image) -> Image.Image:
    """Return the tile that a cell has repainted.

    Args:
        result: Of the cell.
        unchanged: The tile before; of its size, and used if the cell has failed.
    """
    if not result.images:
        return unchanged
    return stretch(read_image(result.images[0].path), *unchanged.size)

"""Image grids: all images of a job in one, in A1111's layout."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from modules.params.settings.saving import GridSettings

# A grid is an overview; more pixels would need gigabytes.
MAX_PIXELS = 8192 * 8192


def row_count(count: int, batch_size: int, settings: GridSettings) -> int:
    """Return the number of rows of a grid.

    Args:
        count: Number of images.
        batch_size: Images per batch.
        settings: `n_rows` is a number of rows, 0 for the batch size, or -1 for the squarest layout.
    """
    if settings.n_rows > 0:
        rows = settings.n_rows
    elif settings.n_rows == 0:
        rows = batch_size
    elif settings.grid_prevent_empty_spots:
        rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    else:
        rows = round(math.sqrt(count))
    return max(1, min(rows, count))


def make_grid(
    images: Sequence[Image.Image],
    batch_size: int,
    settings: GridSettings,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image | None:
    """Return the images in one, row by row; None if it would have too many pixels.

    Args:
        images: At least one; images smaller than the largest are not resized.
        batch_size: Images per batch.
        settings: Rows and background colour.
        max_pixels: Most pixels of a grid.
    """
    rows = row_count(len(images), batch_size, settings)
    columns = math.ceil(len(images) / rows)
    width, height = size = largest_size([image.size for image in images])
    if columns * width * rows * height > max_pixels:
        return None
    grid = Image.new("RGB", (columns * width, rows * height), settings.grid_background_color)
    paste_cells(grid, images, columns, size)
    return grid


def largest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the largest width and the largest height."""
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    return width, height


def paste_cells(
    grid: Image.Image,
    images: Sequence[Image.Image | None],
    columns: int,
    size: tuple[int, int],
    origin: tuple[int, int] = (0, 0),
    margin: int = 0,
) -> None:
    """Paste images into a grid, row by row, each in the middle of its cell.

    Args:
        grid: Changed.
        images: None leaves a cell as it is.
        columns: Number of columns.
        size: Of a cell.
        origin: Left and top of the first cell.
        margin: Pixels between cells.
    """
    for index, image in enumerate(images):
        if image is not None:
            x = origin[0] + index % columns * (size[0] + margin) + (size[0] - image.width) // 2
            y = origin[1] + index // columns * (size[1] + margin) + (size[1] - image.height) // 2
            grid.paste(image, (x, y))

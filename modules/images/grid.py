"""All pictures of a job in one, laid out as A1111 does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from modules.params.settings.saving import GridSettings

# A grid is for looking at; more pixels would need gigabytes.
MAX_PIXELS = 8192 * 8192


def row_count(count: int, batch_size: int, settings: GridSettings) -> int:
    """Return in how many rows so many pictures are laid out.

    Args:
        count: Of the pictures.
        batch_size: How many were made at once.
        settings: `n_rows`: a number, 0 for the batch size, -1 for as square as it can be.
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
    images: Sequence[Image.Image], batch_size: int, settings: GridSettings
) -> Image.Image | None:
    """Return the pictures row by row in one; None when it would have more than MAX_PIXELS.

    Args:
        images: At least one; those that are smaller than the largest keep their size.
        batch_size: How many were made at once.
        settings: Rows and background.
    """
    rows = row_count(len(images), batch_size, settings)
    columns = math.ceil(len(images) / rows)
    width, height = (max(image.size[side] for image in images) for side in (0, 1))
    if columns * width * rows * height > MAX_PIXELS:
        return None
    grid = Image.new("RGB", (columns * width, rows * height), settings.grid_background_color)
    for index, image in enumerate(images):
        grid.paste(image, (index % columns * width, index // columns * height))
    return grid

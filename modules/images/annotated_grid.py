"""Grids with legends: captions above the columns and left of the rows, laid out as A1111 does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from modules.core.errors import UserError
from modules.images.grid import MAX_PIXELS, largest_size, paste_cells
from modules.params.settings.saving import GridSettings

logger = logging.getLogger(__name__)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# A1111's proportions: the font by the size of a cell, the column of captions by its width.
_CELL_SIDES_PER_FONT_SIZE = 25
_ROW_CAPTIONS_PER_WIDTH = 3 / 4
_FONT_SIZES_PER_CROSS_OUT = 8


@dataclass(frozen=True)
class Caption:
    """One line of a legend, wrapped if it is too wide.

    Args:
        text: What it says.
        is_active: Whether the cells have what it names; else it is grey and crossed out.
    """

    text: str
    is_active: bool = True


@dataclass(frozen=True)
class Legend:
    """What is written around a grid.

    Args:
        columns: Captions above each column; without any there is no space for them.
        rows: Captions left of each row.
        margin: Pixels between the cells.
    """

    columns: tuple[tuple[Caption, ...], ...] = ()
    rows: tuple[tuple[Caption, ...], ...] = ()
    margin: int = 0


def matrix_legend(parts: Sequence[str], margin: int = 0) -> Legend:
    """Return the legend of a grid of all combinations of parts, bit k of a cell's number standing for part k.

    Args:
        parts: Of the prompt; the first half of them, rounded up, vary by the columns.
        margin: Pixels between the cells.
    """
    half = (len(parts) + 1) // 2
    return Legend(_combinations(parts[:half]), _combinations(parts[half:]), margin)


def _combinations(parts: Sequence[str]) -> tuple[tuple[Caption, ...], ...]:
    return tuple(
        tuple(Caption(part, bool(number >> bit & 1)) for bit, part in enumerate(parts))
        for number in range(1 << len(parts))
    )


def draw_grid(
    images: Sequence[Image.Image | None],
    rows: int,
    settings: GridSettings,
    legend: Legend | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Return the images row by row, with a legend around them.

    Args:
        images: At least one of them; None leaves a cell empty. Cells are as large as the largest image.
        rows: Number of rows.
        settings: Colours and font.
        legend: Captions and margin; None for a plain grid.
        max_pixels: Most pixels of the grid.

    Raises:
        UserError: it would have more pixels.
    """
    legend = legend or Legend()
    columns = -(-len(images) // rows)
    size = largest_size([image.size for image in images if image is not None])
    fonts = _Fonts(settings.font)
    columns_legend = _Captions(legend.columns, size[0], sum(size), fonts)
    left = int(size[0] * _ROW_CAPTIONS_PER_WIDTH) if _has_text(legend.rows) else 0
    rows_legend = _Captions(legend.rows, left, sum(size), fonts)
    top = columns_legend.height
    width, height = (
        count * side + legend.margin * (count - 1)
        for count, side in zip((columns, rows), size, strict=True)
    )
    check_grid_size((left + width, top + height), max_pixels)
    grid = Image.new("RGB", (left + width, top + height), settings.grid_background_color)
    paste_cells(grid, images, columns, size, (left, top), legend.margin)
    draw = ImageDraw.Draw(grid)
    for column in range(len(legend.columns)):
        x = left + (size[0] + legend.margin) * column + size[0] / 2
        columns_legend.draw(draw, column, (x, top / 2), settings)
    for row in range(len(legend.rows)):
        y = top + (size[1] + legend.margin) * row + size[1] / 2
        rows_legend.draw(draw, row, (left / 2, y), settings)
    return grid


def check_grid_size(size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a grid with too many pixels.

    Raises:
        UserError: it is refused.
    """
    if size[0] * size[1] > max_pixels:
        raise UserError(
            f"The grid would have {size[0]} x {size[1]} pixels; {max_pixels // 10**6} million are allowed.",
            "Make fewer or smaller pictures; the single ones are saved all the same.",
        )


def _has_text(captions: Sequence[Sequence[Caption]]) -> bool:
    return any(caption.text for one in captions for caption in one)


class _Fonts:
    """A font in every size.

    Args:
        path: Of its file; empty, or one that cannot be read, for Pillow's own.
    """

    def __init__(self, path: str) -> None:
        self._load = partial(_load_font, path)
        self._loaded: dict[int, _Font] = {}

    def __getitem__(self, size: int) -> _Font:
        if size not in self._loaded:
            self._loaded[size] = self._load(size)
        return self._loaded[size]


def _load_font(path: str, size: int) -> _Font:
    if path:
        try:
            if not Path(path).is_file():  # reading a device would never end
                raise FileNotFoundError("there is no such file")
            return ImageFont.truetype(path, size)
        except (OSError, ValueError) as error:
            logger.warning("The font %s cannot be read: %s.", path, error)
    return ImageFont.load_default(size)


class _Captions:
    """The captions of all columns or all rows.

    Args:
        captions: Of each.
        width: Pixels that a line may take.
        cell_sides: Width and height of a cell together.
        fonts: The font.

    Attributes:
        height: Of the space that they take above a grid; 0 without any text.
    """

    def __init__(
        self, captions: Sequence[Sequence[Caption]], width: int, cell_sides: int, fonts: _Fonts
    ) -> None:
        self._font_size = max(1, cell_sides // _CELL_SIDES_PER_FONT_SIZE)
        self._spacing = self._font_size // 2
        self._width = width
        self._fonts = fonts
        font = fonts[self._font_size]
        self._lines = [
            [line for caption in one for line in _wrap(caption, font, width)] for one in captions
        ]
        self._heights = [
            sum(self._height(line.text) + self._spacing for line in lines) - self._spacing
            for lines in self._lines
        ]
        is_empty = not _has_text(captions)
        self.height = 0 if is_empty else round(max(self._heights)) + 2 * self._spacing

    def draw(
        self,
        draw: ImageDraw.ImageDraw,
        number: int,
        centre: tuple[float, float],
        settings: GridSettings,
    ) -> None:
        """Draw the captions of a column or row around a point."""
        x, y = centre[0], centre[1] - self._heights[number] / 2
        for line in self._lines[number]:
            font = self._fitting_font(line.text)
            width, height = font.getlength(line.text), self._height(line.text)
            colour = (
                settings.grid_text_active_color
                if line.is_active
                else settings.grid_text_inactive_color
            )
            draw.text((x, y + height / 2), line.text, colour, font, anchor="mm")
            if not line.is_active:
                ends = (x - width // 2, y + height // 2, x + width // 2, y + height // 2)
                draw.line(ends, colour, max(1, self._font_size // _FONT_SIZES_PER_CROSS_OUT))
            y += height + self._spacing

    def _height(self, text: str) -> float:
        _, top, _, bottom = self._fonts[self._font_size].getbbox(text)
        return bottom - top

    def _fitting_font(self, text: str) -> _Font:
        """Return the largest font in which a line, such as a single long word, is not too wide."""
        size = self._font_size
        while size > 1 and self._fonts[size].getlength(text) > self._width:
            size -= 1
        return self._fonts[size]


def _wrap(caption: Caption, font: _Font, width: int) -> list[Caption]:
    """Return a caption in lines that fit, if its words do."""
    lines: list[str] = []
    for word in caption.text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [Caption(line, caption.is_active) for line in lines]

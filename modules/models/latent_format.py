"""LatentFormat: how an image is written as latents. Knows nothing of tensors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LatentFormat:
    """The latents of one autoencoder: latents = (encoded - shift) * scale.

    Args:
        channels: Values of each cell.
        scale: Factor that gives the latents about unit variance.
        shift: Subtracted before scaling.
        pixels_per_cell: Width and height in pixels of what one cell decodes to.
    """

    channels: int = 4
    scale: float = 0.18215
    shift: float = 0.0
    pixels_per_cell: int = 8

    def cells(self, width: int, height: int) -> tuple[int, int]:
        """Return the rows and columns of the latents of an image; its size is given in pixels."""
        return height // self.pixels_per_cell, width // self.pixels_per_cell

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (channels, rows, columns) of the latents of an image."""
        return self.channels, *self.cells(width, height)


SD_LATENTS = LatentFormat()  # of SD 1.x and 2.x

"""Control images with colours or brightness: tile, recolour, shuffle, blur and colour grid, as in sd-webui-controlnet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modules.images.preprocessors.sizes import Pixels, resize_to_resolution

_SHUFFLE_CELL = 256  # pixels between two random numbers of the noise that moves pixels
_GRID_CELL = 64  # pixels of one square of the colour grid
_SMALLEST_RATE = 1.1  # of down sampling; below, the image stays as it is


def shuffle_seed(seed: int, subseed: int) -> int:
    """Return the seed of the generator that `shuffle` draws from, of the request's seed and variation seed."""
    return (seed + subseed) & 0xFFFFFFFF


def keep(image: Pixels, *_: object) -> Pixels:
    """Return the image itself: what makes it a control image happens in the denoising loop."""
    return image


def resample_tile(image: Pixels, _resolution: int, rate: float, *_: object) -> Pixels:
    """Return the image made smaller by a rate."""
    import cv2

    if rate < _SMALLEST_RATE:
        return image
    size = max(1, int(image.shape[1] / rate)), max(1, int(image.shape[0] / rate))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def take_luminance(image: Pixels, _resolution: int, gamma: float, *_: object) -> Pixels:
    """Return the lightness in CIE Lab as grey. Larger gammas make it darker."""
    import cv2

    # sd-webui-controlnet takes the first channel for blue, so that blue counts like red and red like blue.
    lab: NDArray[np.uint8] = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2LAB), np.uint8)
    return _gamma(lab[:, :, 0], gamma)


def take_intensity(image: Pixels, _resolution: int, gamma: float, *_: object) -> Pixels:
    """Return the largest channel as grey. Larger gammas make it darker."""
    return _gamma(image.max(axis=2), gamma)


def blur(image: Pixels, resolution: int, sigma: float, *_: object) -> Pixels:
    """Return the image without detail smaller than sigma, in pixels of the result."""
    import cv2

    small = resize_to_resolution(image, resolution)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), np.uint8)


def make_colour_grid(image: Pixels, resolution: int, *_: object) -> Pixels:
    """Return squares of 64 pixels in the colours of the image."""
    import cv2

    height, width = image.shape[:2]
    if height < width:
        size = round(width / height * resolution), resolution
    else:
        size = resolution, round(height / width * resolution)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    cells = size[0] // _GRID_CELL or 1, size[1] // _GRID_CELL or 1
    squares = cv2.resize(small, cells, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(squares, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def shuffle(
    image: Pixels, resolution: int, _a: float, _b: float, generator: np.random.RandomState
) -> Pixels:
    """Return the image with its pixels moved by smooth noise: the same colours in other places.

    Args:
        image: uint8 [height, width, 3].
        resolution: Of the result.
        generator: Seeded by `shuffle_seed`.
    """
    import cv2

    small = resize_to_resolution(image, resolution)
    height, width = small.shape[:2]
    x = _make_smooth_noise(height, width, generator) * (width - 1)
    y = _make_smooth_noise(height, width, generator) * (height - 1)
    moved = cv2.remap(small, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(moved, np.uint8)


def _make_smooth_noise(
    height: int, width: int, generator: np.random.RandomState
) -> NDArray[np.float64]:
    """Return values from 0 to 1 that change slowly, [height, width]."""
    import cv2

    cell = _SHUFFLE_CELL
    coarse = generator.uniform(0, 1, (height // cell + 2, width // cell + 2, 1))
    whole = cv2.resize(coarse, (width + 2 * cell, height + 2 * cell), interpolation=cv2.INTER_CUBIC)
    noise = np.asarray(whole, np.float64)[cell : cell + height, cell : cell + width]
    noise = noise - noise.min()
    return noise / (noise.max() or 1.0)


def _gamma(grey: NDArray[np.uint8], gamma: float) -> Pixels:
    values = (grey.astype(np.float32) / 255) ** np.float32(gamma) * 255
    return np.repeat(values.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)

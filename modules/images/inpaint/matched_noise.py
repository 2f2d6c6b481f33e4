"""Noise in the colours and the structure of an image, which Outpainting mk2 puts into the new area."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
_NEW, _KEPT = 1e-6, 1e-3  # of the mask: above the first is new, below the second is kept


def matched_noise(image: Floats, mask: Floats, noise_q: float, color_variation: float) -> Floats:
    """Return the image with noise in its masked area that has the spectrum and the histogram of the rest.

    As A1111's script: noise of a fixed seed gets the amplitudes of the image's spectrum and its phases, and the
    histogram of the part that is kept.

    Args:
        image: float64 [height, width, 3], 0 to 1; black where it is masked.
        mask: float64 [height, width], 1 is new.
        noise_q: Exponent of the amplitudes; lower ones leave more detail.
        color_variation: From 0 for grey noise to 1 for one of independent colours.
    """
    opacity = mask[..., np.newaxis]
    source = image * (1 - opacity)
    source = source / max(source.max(), np.finfo(float).tiny)
    source = source + image.mean() * opacity  # black would add edges to the spectrum
    spectrum = _transform(source)
    amplitudes = np.abs(spectrum)
    phases = np.divide(spectrum, amplitudes, out=np.zeros_like(spectrum), where=amplitudes > 0)
    power = np.abs(_transform(_windowed_noise(image.shape, color_variation))) ** 2
    noise = np.real(_invert(power * amplitudes**noise_q * phases))
    noise -= noise.min()
    noise /= max(noise.max(), np.finfo(float).tiny)
    new, kept = mask > _NEW, mask < _KEPT
    if new.any() and kept.any():
        for channel in range(image.shape[2]):
            noise[new, channel] = _match(noise[new, channel], image[kept, channel])
    return np.minimum(np.maximum(image * (1 - opacity) + noise * opacity, 0), 1)


def _windowed_noise(shape: tuple[int, ...], color_variation: float) -> Floats:
    """Return noise whose spectrum falls off towards the edges of the plane, the same for every image of a size."""
    noise = np.random.default_rng(0).random(shape)
    grey = noise.sum(axis=2, keepdims=True) / shape[2]
    noise = noise * color_variation + (1 - color_variation) * grey
    return np.real(_invert(_transform(noise) * _window(shape[0], shape[1])[..., np.newaxis]))


def _window(height: int, width: int) -> Floats:
    """Return 1 / ((y^2 + 1)(x^2 + 1)), [height, width], the shorter axis running from -1 to 1."""
    shortest = min(height, width)
    y, x = ((np.arange(n) / n * 2 - 1) * (n / shortest) for n in (height, width))
    return 1 / ((y[:, np.newaxis] ** 2 + 1) * (x[np.newaxis] ** 2 + 1))


def _transform(pixels: Floats) -> NDArray[np.complexfloating[Any, Any]]:
    """Return the orthonormal spectrum of each channel, its zero frequency in the middle."""
    shifted = np.fft.fftshift(pixels, axes=(0, 1))
    return np.fft.ifftshift(np.fft.fft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1))


def _invert(spectrum: NDArray[Any]) -> NDArray[np.complexfloating[Any, Any]]:
    shifted = np.fft.fftshift(spectrum, axes=(0, 1))
    return np.fft.ifftshift(np.fft.ifft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1))


def _match(values: Floats, reference: Floats) -> Floats:
    """Return values mapped to the distribution of a reference, as scikit-image's `match_histograms` does with floats."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    levels, level_counts = np.unique(reference, return_counts=True)
    quantiles = np.cumsum(counts) / values.size
    matched = np.interp(quantiles, np.cumsum(level_counts) / reference.size, levels)
    return matched[places]

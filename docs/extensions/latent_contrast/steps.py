"""The part of every step. Imports torch, so only the backend imports it."""

from __future__ import annotations

from torch import Tensor

from modules.backend.denoise.step_extensions import StepExtension, StepState


class LatentContrast(StepExtension):
    """Spreads the predicted x0 around its mean.

    Args:
        contrast: Share by which values move away from the mean of their channel; negative moves them towards it.
        begin: Share of the steps before which nothing changes.
    """

    def __init__(self, contrast: float, begin: float) -> None:
        self._contrast = contrast
        self._begin = begin
        self._progress = 0.0

    def on_step(self, state: StepState) -> None:
        """Receive the progress."""
        self._progress = (state.index + 1) / state.total

    def after(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return x0, [batch, channels, height, width], with more contrast."""
        del sigma
        if self._progress < self._begin:
            return denoised
        mean = denoised.mean(dim=(2, 3), keepdim=True)
        return mean + (denoised - mean) * (1 + self._contrast)

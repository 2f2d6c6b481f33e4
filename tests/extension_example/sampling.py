"""A sampler and a schedule."""

from __future__ import annotations

from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor


def jump(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Jump to the prediction at once, or beyond it."""
    denoised = yield x, sigmas[0]
    return x + (denoised - x) * settings.jump_length  # type: ignore[attr-defined]


def straight(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return sigmas on a straight line, or below it."""
    slope = settings.line_slope  # type: ignore[attr-defined]
    return [model_sigmas.sigma_max * ((steps - i) / steps) ** slope for i in range(steps + 1)]

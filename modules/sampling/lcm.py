"""Latent consistency models: LCM."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.walk import Noise, Steps, Tensor

# Of the model's 1000 timesteps, LCMs are distilled on every twentieth.
STRIDE = 20


def lcm(x: Tensor, sigmas: Sequence[float], noise: Noise, settings: SamplingSettings) -> Steps:
    """Jump to the prediction and noise it to the next level (Luo et al. 2023, algorithm 1).

    The boundary scalings of the paper differ from 0 and 1 by less than 1e-5 at every timestep of LCM; they are left
    out.
    """
    del settings
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = yield x, sigma
        if sigma_next > 0:
            x = x + noise() * sigma_next
    return x

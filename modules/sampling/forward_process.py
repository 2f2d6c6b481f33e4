"""The forward process of diffusion: how an image becomes noise, step by step and in closed form.

Ho et al. 2020 (arXiv 2006.11239), equations 2 and 4. Time t counts the steps taken, from 0, the image itself, to T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.core.errors import UserError
from modules.sampling.model_sigmas import ModelSigmas

Tensor = Any  # a torch tensor or a numpy array; this layer does not import torch


class ForwardProcess:
    """The trained variances of a model, beta_1 to beta_T.

    Args:
        model_sigmas: The sigmas the model was trained on.
    """

    def __init__(self, model_sigmas: ModelSigmas) -> None:
        self.alphas_cumprod: NDArray[np.float64] = 1 / (1 + model_sigmas.sigmas**2)
        alphas_cumprod_prev = np.concatenate([[1.0], self.alphas_cumprod[:-1]])
        self.betas: NDArray[np.float64] = 1 - self.alphas_cumprod / alphas_cumprod_prev

    @property
    def step_count(self) -> int:
        """Return T, 1000 for every Stable Diffusion."""
        return len(self.betas)

    def alpha_bar(self, time: int) -> float:
        """Return the share of the image's variance that is left after `time` steps; 1 at time 0."""
        return float(self.alphas_cumprod[time - 1]) if time else 1.0

    def beta(self, time: int) -> float:
        """Return the variance of the noise added by the step to `time`; 0 at time 0."""
        return float(self.betas[time - 1]) if time else 0.0

    def snr(self, time: int) -> float:
        """Return the signal-to-noise ratio; infinite at time 0."""
        alpha_bar = self.alpha_bar(time)
        return alpha_bar / (1 - alpha_bar) if alpha_bar < 1 else math.inf

    def q_sample(self, x0: Tensor, noise: Tensor, time: int) -> Tensor:
        """Return a draw of q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I).

        Args:
            x0: The clean sample.
            noise: Unit noise of the same shape.
            time: 0 to T.
        """
        alpha_bar = self.alpha_bar(time)
        return x0 * math.sqrt(alpha_bar) + noise * math.sqrt(1 - alpha_bar)

    def chain(self, x0: Tensor, noise: Callable[[], Tensor], last: int) -> Iterator[Tensor]:
        """Yield x_1 to x_last, each a draw of q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I).

        Args:
            x0: The clean sample.
            noise: Draws unit noise of the same shape; called once per step.
            last: 0 to T.
        """
        x = x0
        for beta in self.betas[:last].tolist():
            x = x * math.sqrt(1 - beta) + noise() * math.sqrt(beta)
            yield x

    def times(self, count: int) -> list[int]:
        """Return `count` evenly spaced times from 0 to T, both included.

        Raises:
            UserError: the count is below 2 or above T.
        """
        if not 2 <= count <= self.step_count:
            raise UserError(
                f"{count} timesteps cannot be shown; this model was trained on {self.step_count}.",
                f"Choose 2 to {self.step_count}, including both ends.",
            )
        return [round(time) for time in np.linspace(0, self.step_count, count).tolist()]

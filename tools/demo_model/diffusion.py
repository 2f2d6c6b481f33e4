"""The mathematics of diffusion, written out: Ho et al. 2020 (arXiv:2006.11239), and v-prediction.

`x0` is a clean latent, `x` the latent at timestep t, `noise` a standard normal draw. Timesteps
count from 0 to 999; all functions take a tensor of timesteps, one per sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

TIMESTEPS = 1000
LINEAR_START, LINEAR_END = 0.00085, 0.012  # Rombach et al. 2022, stable-diffusion's v1 yaml
# From this timestep up, training sometimes shows pure noise, because sampling starts from it:
# sqrt(alphas_cumprod[999]) is 0.068, and a model that reads the background from that remnant
# finds gray in real noise (Lin et al. 2023, arXiv:2305.08891, section 3).
PURE_NOISE_FROM = 985


def scaled_linear_betas() -> torch.Tensor:
    """Return the variances beta_t of the forward steps, linear in their square roots."""
    roots = torch.linspace(
        math.sqrt(LINEAR_START), math.sqrt(LINEAR_END), TIMESTEPS, dtype=torch.float64
    )
    return roots**2


@dataclass(frozen=True)
class NoisySample:
    """A batch to train on.

    Attributes:
        x0: Clean latents, [batch, 4, h, w].
        x: The same with noise.
        t: Timesteps, [batch].
        noise: The unit noise in x.
    """

    x0: torch.Tensor
    x: torch.Tensor
    t: torch.Tensor
    noise: torch.Tensor


class DiffusionProcess:
    """Forward noising and reverse denoising with one fixed schedule.

    Attributes:
        betas: Variance added by each forward step.
        alphas: What each step keeps, 1 - beta_t.
        alphas_cumprod: What is left of the clean latent after t steps, the product of alphas.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Compute the schedule in double precision and keep it in float32."""
        betas = scaled_linear_betas()
        self.betas = betas.float().to(device)
        self.alphas = (1 - betas).float().to(device)
        self.alphas_cumprod = torch.cumprod(1 - betas, 0).float().to(device)

    def _at(self, values: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return values[t].view(-1, 1, 1, 1)

    def forward_step(self, x: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Draw from q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t)."""
        beta = self._at(self.betas, t)
        return (1 - beta).sqrt() * x + beta.sqrt() * noise

    def forward_jump(self, x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Draw from q(x_t | x_0) = N(sqrt(alphas_cumprod_t) x_0, 1 - alphas_cumprod_t)."""
        kept = self._at(self.alphas_cumprod, t)
        return kept.sqrt() * x0 + (1 - kept).sqrt() * noise

    def velocity(self, x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return v = sqrt(kept) noise - sqrt(1 - kept) x_0 (Salimans and Ho, arXiv:2202.00512)."""
        kept = self._at(self.alphas_cumprod, t)
        return kept.sqrt() * noise - (1 - kept).sqrt() * x0

    def denoised(self, x: torch.Tensor, t: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
        """Return the clean latent that x and a predicted velocity imply."""
        kept = self._at(self.alphas_cumprod, t)
        return kept.sqrt() * x - (1 - kept).sqrt() * velocity

    def noise_between(self, x0: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the noise that lies between a clean latent and a noisy one: forward_jump solved."""
        kept = self._at(self.alphas_cumprod, t)
        return (x - kept.sqrt() * x0) / (1 - kept).sqrt()

    def denoised_by_noise(
        self, x: torch.Tensor, t: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Return the clean latent that x and a predicted noise imply: forward_jump solved."""
        kept = self._at(self.alphas_cumprod, t)
        return (x - (1 - kept).sqrt() * noise) / kept.sqrt()

    def reverse_step(
        self, x: torch.Tensor, t: torch.Tensor, x0: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Draw from q(x_{t-1} | x_t, x_0), with a predicted x_0: equations 6 and 7 of the paper.

        The last step, t = 0, returns x_0 itself.
        """
        kept = self._at(self.alphas_cumprod, t)
        before = torch.where(
            t.view(-1, 1, 1, 1) > 0, self._at(self.alphas_cumprod, (t - 1).clamp(min=0)), 1.0
        )
        beta, alpha = self._at(self.betas, t), self._at(self.alphas, t)
        mean = (before.sqrt() * beta * x0 + alpha.sqrt() * (1 - before) * x) / (1 - kept)
        variance = beta * (1 - before) / (1 - kept)
        return mean + variance.sqrt() * noise

    def noisy_sample(
        self, x0: torch.Tensor, generator: torch.Generator, lateness: float = 1.0
    ) -> NoisySample:
        """Return clean latents with noise of every strength.

        Args:
            x0: Clean latents.
            generator: Source of timesteps and noise, on the CPU.
            lateness: 1 spreads the timesteps evenly; 2 doubles the share of the noisiest ones,
                where the layout of the picture is decided.
        """
        count = len(x0)
        shift = torch.rand(1, generator=generator)
        even = (shift + torch.arange(count) / count) % 1
        t = (even ** (1 / lateness) * TIMESTEPS).long().clamp(max=TIMESTEPS - 1).to(x0.device)
        noise = torch.randn(x0.shape, generator=generator).to(x0.device)
        x = self.forward_jump(x0, t, noise)
        blank = (t >= PURE_NOISE_FROM) & (torch.rand(count, generator=generator) < 0.5).to(t.device)
        x = torch.where(blank.view(-1, 1, 1, 1), noise, x)
        return NoisySample(x0, x, t, noise)

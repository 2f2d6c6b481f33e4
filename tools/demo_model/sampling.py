"""Draws latents from the trained UNet with a prompt: Euler steps with classifier-free guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tools.demo_model.diffusion import TIMESTEPS, DiffusionProcess

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel,
    states: torch.Tensor,
    empty: torch.Tensor,
    x: torch.Tensor,
    steps: int = 20,
    cfg_scale: float = 5.0,
    extra: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return denoised latents.

    Args:
        unet: A UNet with v-prediction.
        states: Text states of the prompts, [batch, 77, hidden].
        empty: Text states of the empty prompt, [1, 77, hidden].
        x: Standard normal noise, [batch, 4, height / 8, width / 8].
        steps: Number of Euler steps, evenly spaced in time, from the last timestep to zero.
        cfg_scale: How far to go from the empty prompt's prediction to the prompt's and beyond.
        extra: Channels that the UNet sees beside x: mask and masked latents, or depth.
    """
    process = DiffusionProcess(str(x.device))
    times = torch.linspace(TIMESTEPS - 1, 0, steps + 1).round().long()[:-1].tolist()
    context = torch.cat([empty.expand(len(x), -1, -1), states])
    for k, time in enumerate(times):
        t = torch.full((len(x),), time, device=x.device)
        seen = x if extra is None else torch.cat([x, extra], 1)
        velocity = unet(seen.repeat(2, 1, 1, 1), t.repeat(2), context).sample
        uncond, cond = velocity.chunk(2)
        x0 = process.denoised(x, t, uncond + cfg_scale * (cond - uncond))
        if k == len(times) - 1:
            return x0
        kept, after = process.alphas_cumprod[time], process.alphas_cumprod[times[k + 1]]
        noise = (x - kept.sqrt() * x0) / (1 - kept).sqrt()
        x = after.sqrt() * x0 + (1 - after).sqrt() * noise
    return x

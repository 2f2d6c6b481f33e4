"""Draws latents from the trained UNet with a prompt: Euler steps with classifier-free guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tools.demo_model.diffusion import TIMESTEPS, DiffusionProcess
from tools.demo_model.objectives import OBJECTIVES, Objective

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


STEPS = 20


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel,
    states: torch.Tensor,
    empty: torch.Tensor,
    x: torch.Tensor,
    cfg_scale: float = 5.0,
    extra: torch.Tensor | None = None,
    objective: Objective = OBJECTIVES["v"],
) -> torch.Tensor:
    """Return denoised latents after 20 Euler steps, evenly spaced from the last timestep to zero.

    Args:
        unet: The UNet.
        states: Text states of the prompts, [batch, 77, hidden].
        empty: Text states of the empty prompt, [1, 77, hidden].
        x: Standard normal noise, [batch, 4, height / 8, width / 8].
        cfg_scale: How far to go from the empty prompt's prediction to the prompt's and beyond.
        extra: Channels that the UNet gets in addition to x: mask and masked latents, or depth.
        objective: What the UNet predicts.
    """
    process = DiffusionProcess(str(x.device))
    times = torch.linspace(TIMESTEPS - 1, 0, STEPS + 1).round().long()[:-1].tolist()
    context = torch.cat([empty.expand(len(x), -1, -1), states])
    for k, time in enumerate(times):
        t = torch.full((len(x),), time, device=x.device)
        unet_input = x if extra is None else torch.cat([x, extra], 1)
        uncond, cond = unet(unet_input.repeat(2, 1, 1, 1), t.repeat(2), context).sample.chunk(2)
        x0 = objective.denoised(process, x, t, uncond + cfg_scale * (cond - uncond))
        if k == len(times) - 1:
            return x0
        kept, after = process.alphas_cumprod[time], process.alphas_cumprod[times[k + 1]]
        noise = (x - kept.sqrt() * x0) / (1 - kept).sqrt()
        x = after.sqrt() * x0 + (1 - after).sqrt() * noise
    return x

"""Prompt and negative prompt to one prediction: classifier-free guidance where a pipeline expects its UNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn


class GuidedUNet(nn.Module):
    """Calls the network for both prompts and joins the answers (Ho and Salimans 2022).

    The pipeline runs with its own guidance off and sees one prediction per sample.

    Args:
        unet: The network.
        cond: Conditioning of the prompt, [1, tokens, hidden].
        uncond: Conditioning of the negative prompt; its token count may differ.
        cfg_scale: Weight of the prompt against the negative prompt; 1 skips the negative prompt.
        extra: What the network sees beside the latents, [1, channels, height / 8, width / 8].
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        cond: Tensor,
        uncond: Tensor,
        cfg_scale: float,
        extra: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.cond = cond
        self.uncond = uncond
        self.cfg_scale = cfg_scale
        self.extra = extra
        self._keeps_unguided = False
        self._unguided = torch.empty(0)

    def keep_unguided(self) -> Callable[[], Tensor]:
        """Ask for both prompts at any scale, and return what tells the last answer to the negative one alone."""
        self._keeps_unguided = True
        return lambda: self._unguided

    @property
    def config(self) -> Any:  # diffusers' FrozenDict
        """Return the network's configuration, which pipelines read."""
        return self.unet.config

    @property
    def dtype(self) -> torch.dtype:
        """Return the network's dtype."""
        return self.unet.dtype

    @property
    def device(self) -> torch.device:
        """Return where the network lives."""
        return self.unet.device

    def forward(self, sample: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:
        """Return the guided prediction in the sample's own dtype, same shape as the sample."""
        scaled = sample.to(self.unet.dtype)
        batch = sample.shape[0]
        if self.cfg_scale == 1 and not self._keeps_unguided:
            return (self._predict(scaled, timestep, self.cond, batch).to(sample.dtype),)
        if self.cond.shape == self.uncond.shape:
            both = torch.cat([self.uncond.expand(batch, -1, -1), self.cond.expand(batch, -1, -1)])
            answers = self._predict(torch.cat([scaled, scaled]), timestep, both, 2 * batch)
            without, with_prompt = answers.to(sample.dtype).chunk(2)
        else:  # as A1111: prompts of different length are asked one after the other, nothing is padded
            without = self._predict(scaled, timestep, self.uncond, batch).to(sample.dtype)
            with_prompt = self._predict(scaled, timestep, self.cond, batch).to(sample.dtype)
        self._unguided = without
        return (without + self.cfg_scale * (with_prompt - without),)

    def _predict(self, sample: Tensor, timestep: Tensor, cond: Tensor, batch: int) -> Tensor:
        if self.extra is not None:
            extra = self.extra.to(sample.dtype).expand(sample.shape[0], -1, -1, -1)
            sample = torch.cat([sample, extra], dim=1)
        return self.unet(
            sample, timestep, encoder_hidden_states=cond.expand(batch, -1, -1), return_dict=False
        )[0]

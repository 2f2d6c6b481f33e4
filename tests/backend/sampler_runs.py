"""Runs a sampler through our pipeline, with a formula or a tiny real UNet as the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache

import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor, nn

from modules.backend.denoise.step_extensions import StepExtension
from modules.backend.pipelines.stable_diffusion import make_pipeline
from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.params.settings.sampling import SamplingSettings
from modules.plan.plan import Plan
from modules.sampling.protocol import DEFAULTS
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.tiny import (
    prompt_conditioning,
    random_cond,
    sd1_model_sigmas,
    tiny_components,
)

# Takes the sample in its variance-preserving form, and the timestep.
Network = Callable[[Tensor, Tensor], Tensor]

SHAPE = (2, 4, 8, 8)
MODEL_SIGMAS = sd1_model_sigmas()


def formula_network(x: Tensor, t: Tensor) -> Tensor:
    """Return a network-like output: smooth in both arguments, bounded, and not uniform."""
    t = t.reshape(-1, 1, 1, 1) / 1000
    return 0.9 * torch.tanh(1.3 * x + 0.4 * t) + 0.2 * torch.sin(3 * x.roll(1, -1) + 5 * t)


@cache
def tiny_network(prediction_type: str = "epsilon") -> Network:
    """Return the tiny real network with one prompt."""
    unet, cond = tiny_components(prediction_type).unet, random_cond(1)
    return lambda x, t: unet(x, t, encoder_hidden_states=cond.expand(x.shape[0], -1, -1))[0]


class SeededNoise:
    """Noise from one generator, in call order, for a batch of two."""

    images = (0, 1)
    arithmetic = TORCH_FLOAT32

    def __init__(self, seed: int = 5) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.steps: list[tuple[float, float]] = []
        self.count = 0

    def draw_ahead(self, intervals: Iterable[tuple[float, float]], draws: int = 0) -> None:
        """Draw nothing: every draw advances the one generator."""

    def __call__(self) -> Tensor:
        self.count += 1
        return torch.randn(SHAPE, generator=self._generator)

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        self.steps.append((float(sigma), float(sigma_next)))
        return self()


def make_run(
    name: str, schedule: str, steps: int, settings: SamplingSettings = DEFAULTS
) -> RunSigmas:
    rows = SAMPLERS.get(name), SCHEDULES.get(schedule)
    return RunSigmas(*rows, steps, MODEL_SIGMAS, settings, TORCH_FLOAT32)


class FormulaUNet(nn.Module):
    """A formula in the shape of a UNet; a conditioning of zeros is the prompt, of 100 the negative prompt.

    Args:
        network: Gets 100 more as its timestep for the negative prompt.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network
        self.config = FrozenDict(sample_size=8, in_channels=4)
        self.dtype, self.device = torch.float32, torch.device("cpu")

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, return_dict: bool
    ) -> tuple[Tensor]:
        return (self._network(sample, timestep + encoder_hidden_states.flatten()[0]),)


@torch.inference_mode()
def run_sampler(
    run_sigmas: RunSigmas,
    network: Network = formula_network,
    prediction_type: str = "epsilon",
    init_latents: Tensor | None = None,
    strength: float = 1.0,
    extensions: Sequence[StepExtension] = (),
) -> Tensor:
    """Return the final latents; with init latents, of an img2img run."""
    components = replace(tiny_components(prediction_type), unet=FormulaUNet(network))
    sampler, steps = run_sigmas.sampler, run_sigmas.steps
    request = Txt2ImgRequest(steps=steps, cfg_scale=sampler.cfg_divisor)
    if init_latents is not None:
        request = DepthRequest(steps=steps, denoising_strength=strength)
    options = Settings(**run_sigmas.settings.model_dump(), batch_cond_uncond=False)
    plan = Plan(request, None, sampler, run_sigmas.schedule, (), settings=options)
    zeros = torch.zeros((1, 77, 32))
    conditioning = prompt_conditioning(zeros, zeros + 100)
    return make_pipeline(components)(
        plan, run_sigmas.trained_sigmas, conditioning, SeededNoise(), init_latents, extensions
    )

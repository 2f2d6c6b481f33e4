"""Through the unmodified StableDiffusionImg2ImgPipeline with a tiny real UNet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.components import Components
from modules.backend.denoise.guidance import GuidedUNet
from modules.backend.denoise.sampler_scheduler import SamplerScheduler, StepState
from modules.backend.noise.noise import ImageNoise
from modules.backend.pipelines import stable_diffusion
from modules.core.errors import Cancelled
from modules.params.requests.depth import DepthRequest
from modules.sampling.protocol import DEFAULTS, ancestral_step
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.tiny import (
    Counting,
    conditioning,
    noise_of,
    sd1_levels,
    steering,
    tiny_components,
)
from tests.tolerance import assert_alike, rounding, walk_gain

LEVELS = sd1_levels()
COND, UNCOND = conditioning(1), conditioning(2)
CFG, STEPS, SEEDS = 5.0, 8, [11, 12]
PICTURE = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def start_of(name: str, strength: float) -> RunStart:
    return RunSigmas(
        SAMPLERS.get(name), SCHEDULES.get("Karras"), STEPS, LEVELS, DEFAULTS
    ).from_image(strength)


def seeded() -> ImageNoise:
    return noise_of(SEEDS)


@torch.inference_mode()
def piped(
    components: Components, name: str, strength: float, *, unet: Any = None, on_step: Any = None
) -> Tensor:
    """Return the latents of a run through the stock pipeline."""
    noise = seeded()
    start = start_of(name, strength)
    scheduler = SamplerScheduler(
        SAMPLERS.get(name), start, LEVELS, noise, "epsilon", on_step or (lambda state: None)
    )
    guided = GuidedUNet(unet or components.unet, steering(COND, UNCOND), CFG)
    return stable_diffusion.img2img(
        components, guided, scheduler, DepthRequest(steps=STEPS), PICTURE, noise
    )


def predicted(components: Components, x: Tensor, sigma: float) -> Tensor:
    """Return the denoised sample by the formula: x - sigma epsilon, guided."""
    t = torch.tensor(LEVELS.timestep_at(sigma))
    x_in = torch.cat([x, x]) / (1 + sigma**2) ** 0.5
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    without, with_prompt = components.unet(x_in, t, encoder_hidden_states=both)[0].chunk(2)
    return x - sigma * (without + CFG * (with_prompt - without))


def assert_walked(
    components: Components, found: Tensor, expected: Tensor, sigmas: Sequence[float]
) -> None:
    """Hold two walks to each other; the network's answers are about 1 in size."""
    gain = walk_gain(sigmas, CFG)
    assert_alike(found, expected, rounding(components.unet), gain=gain, size=1.0)


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.75, 1.0])
@torch.inference_mode()
def test_euler_from_a_picture_is_its_plain_loop(components: Components, strength: float):
    sigmas = start_of("Euler", strength).sigmas
    x = PICTURE + seeded()() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (x - predicted(components, x, sigma)) / sigma * (sigma_next - sigma)
    assert_walked(components, piped(components, "Euler", strength), x, sigmas)


@torch.inference_mode()
def test_euler_a_goes_on_with_the_noise_of_its_seeds(components: Components):
    sigmas = start_of("Euler a", 0.5).sigmas
    noise = seeded()
    x = PICTURE + noise() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        down, up = ancestral_step(sigma, sigma_next)
        x = x + (x - predicted(components, x, sigma)) / sigma * (down - sigma)
        x = x + noise() * up if sigma_next > 0 else x
    assert_walked(components, piped(components, "Euler a", 0.5), x, sigmas)


@torch.inference_mode()
def test_ddim_from_a_picture_is_a1111s_loop(components: Components):
    """In its own terms: alphas_cumprod a, noised to timesteps[t_enc], walked down timesteps[:t_enc]."""
    t_enc = 6
    timesteps = [min(t + 1, 999) for t in range(0, 1000, 1000 // STEPS)]
    share = components.alphas_cumprod.float()
    noised = share[timesteps[t_enc]]
    x = PICTURE * noised.sqrt() + seeded()() * (1 - noised).sqrt()
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    for t, t_next in itertools.pairwise(reversed(timesteps[:t_enc])):
        answers = components.unet(torch.cat([x, x]), torch.tensor(t), encoder_hidden_states=both)[0]
        without, with_prompt = answers.chunk(2)
        epsilon = without + CFG * (with_prompt - without)
        clean = (x - (1 - share[t]).sqrt() * epsilon) / share[t].sqrt()
        x = share[t_next].sqrt() * clean + (1 - share[t_next]).sqrt() * epsilon
    sigmas = start_of("DDIM", 0.75).sigmas
    assert_walked(components, piped(components, "DDIM", 0.75), x, sigmas)


@pytest.mark.parametrize(("strength", "updates"), [(1.0, 8), (0.5, 5), (0.0, 1)])
def test_each_update_asks_once(components: Components, strength: float, updates: int):
    counting, states = Counting(components.unet), list[StepState]()
    piped(components, "DPM++ 2M", strength, unet=counting, on_step=states.append)
    assert counting.batches == [4] * updates
    assert [(state.index, state.total) for state in states] == [
        (n, updates) for n in range(updates)
    ]


def test_a_picture_that_stays_is_the_picture(components: Components):
    """The last level is so low that nothing is seen of the noise but what the network makes of it."""
    kept, painted = piped(components, "Euler", 0.0), piped(components, "Euler", 1.0)
    assert (kept - PICTURE).abs().mean() < 0.5 < (painted - PICTURE).abs().mean()


def test_an_interrupt_goes_through_the_pipeline(components: Components):
    counting = Counting(components.unet)

    def interrupt(state: StepState) -> None:
        if state.index == 2:
            raise Cancelled("The job was interrupted.")

    with pytest.raises(Cancelled):
        piped(components, "Euler", 1.0, unet=counting, on_step=interrupt)
    assert len(counting.batches) == 3


def test_the_noise_is_drawn_in_32_bits_whatever_the_prompts_precision(components: Components):
    whole = piped(components, "Euler", 0.5)
    noise = seeded()
    scheduler = SamplerScheduler(
        SAMPLERS.get("Euler"), start_of("Euler", 0.5), LEVELS, noise, "epsilon", lambda state: None
    )
    guided = GuidedUNet(components.unet, steering(COND, UNCOND), CFG)
    guided.conditioning = steering(COND.half(), UNCOND)
    with torch.inference_mode():
        guided.forward = GuidedUNet(components.unet, steering(COND, UNCOND), CFG).forward
        again = stable_diffusion.img2img(
            components, guided, scheduler, DepthRequest(steps=STEPS), PICTURE, noise
        )
    assert torch.equal(again, whole)

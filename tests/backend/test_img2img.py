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
    CountingUNet,
    make_noise,
    prompt_conditioning,
    random_cond,
    sd1_model_sigmas,
    tiny_components,
)
from tests.tolerance import assert_alike, rounding, run_gain

MODEL_SIGMAS = sd1_model_sigmas()
COND, UNCOND = random_cond(1), random_cond(2)
CFG, STEPS, SEEDS = 5.0, 8, [11, 12]
INIT_LATENTS = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def start_of(name: str, strength: float) -> RunStart:
    return RunSigmas(
        SAMPLERS.get(name), SCHEDULES.get("Karras"), STEPS, MODEL_SIGMAS, DEFAULTS
    ).from_image(strength)


def seeded() -> ImageNoise:
    return make_noise(SEEDS)


@torch.inference_mode()
def piped(
    components: Components, name: str, strength: float, *, unet: Any = None, on_step: Any = None
) -> Tensor:
    """Return the latents of a run through the stock pipeline."""
    noise = seeded()
    start = start_of(name, strength)
    scheduler = SamplerScheduler(
        SAMPLERS.get(name), start, MODEL_SIGMAS, noise, "epsilon", on_step or (lambda state: None)
    )
    guided = GuidedUNet(unet or components.unet, prompt_conditioning(COND, UNCOND), CFG)
    return stable_diffusion.img2img(
        components, guided, scheduler, DepthRequest(steps=STEPS), INIT_LATENTS, noise
    )


def predicted(components: Components, x: Tensor, sigma: float) -> Tensor:
    """Return the denoised sample by its formula: x - sigma epsilon, with guidance."""
    t = torch.tensor(MODEL_SIGMAS.timestep_at(sigma))
    x_in = torch.cat([x, x]) / (1 + sigma**2) ** 0.5
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    uncond_pred, cond_pred = components.unet(x_in, t, encoder_hidden_states=both)[0].chunk(2)
    return x - sigma * (uncond_pred + CFG * (cond_pred - uncond_pred))


def assert_walked(
    components: Components, found: Tensor, expected: Tensor, sigmas: Sequence[float]
) -> None:
    """Compare the latents of two runs; the network's predictions are about 1 in size."""
    gain = run_gain(sigmas, CFG)
    assert_alike(found, expected, rounding(components.unet), gain=gain, size=1.0)


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.75, 1.0])
@torch.inference_mode()
def test_euler_from_an_init_image_equals_its_plain_loop(components: Components, strength: float):
    sigmas = start_of("Euler", strength).sigmas
    x = INIT_LATENTS + seeded()() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (x - predicted(components, x, sigma)) / sigma * (sigma_next - sigma)
    assert_walked(components, piped(components, "Euler", strength), x, sigmas)


@torch.inference_mode()
def test_euler_a_continues_with_the_noise_of_its_seeds(components: Components):
    sigmas = start_of("Euler a", 0.5).sigmas
    noise = seeded()
    x = INIT_LATENTS + noise() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        down, up = ancestral_step(sigma, sigma_next)
        x = x + (x - predicted(components, x, sigma)) / sigma * (down - sigma)
        x = x + noise() * up if sigma_next > 0 else x
    assert_walked(components, piped(components, "Euler a", 0.5), x, sigmas)


@torch.inference_mode()
def test_ddim_from_an_init_image_equals_a1111s_loop(components: Components):
    """In its own terms: alphas_cumprod a, noised to timesteps[t_enc], denoised over timesteps[:t_enc]."""
    t_enc = 6
    timesteps = [min(t + 1, 999) for t in range(0, 1000, 1000 // STEPS)]
    alphas = components.alphas_cumprod.float()
    a_enc = alphas[timesteps[t_enc]]
    x = INIT_LATENTS * a_enc.sqrt() + seeded()() * (1 - a_enc).sqrt()
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    for t, t_next in itertools.pairwise(reversed(timesteps[:t_enc])):
        preds = components.unet(torch.cat([x, x]), torch.tensor(t), encoder_hidden_states=both)[0]
        uncond_pred, cond_pred = preds.chunk(2)
        epsilon = uncond_pred + CFG * (cond_pred - uncond_pred)
        x0 = (x - (1 - alphas[t]).sqrt() * epsilon) / alphas[t].sqrt()
        x = alphas[t_next].sqrt() * x0 + (1 - alphas[t_next]).sqrt() * epsilon
    sigmas = start_of("DDIM", 0.75).sigmas
    assert_walked(components, piped(components, "DDIM", 0.75), x, sigmas)


@pytest.mark.parametrize(("strength", "updates"), [(1.0, 8), (0.5, 5), (0.0, 1)])
def test_each_update_evaluates_the_network_once(
    components: Components, strength: float, updates: int
):
    counting_unet, states = CountingUNet(components.unet), list[StepState]()
    piped(components, "DPM++ 2M", strength, unet=counting_unet, on_step=states.append)
    assert counting_unet.batches == [4] * updates
    assert [(state.index, state.total) for state in states] == [
        (n, updates) for n in range(updates)
    ]


def test_a_strength_of_0_preserves_the_init_image(components: Components):
    """The last sigma is so low that the noise has no effect but through the network's prediction."""
    weak, full = piped(components, "Euler", 0.0), piped(components, "Euler", 1.0)
    assert (weak - INIT_LATENTS).abs().mean() < 0.5 < (full - INIT_LATENTS).abs().mean()


def test_an_interrupt_passes_through_the_pipeline(components: Components):
    counting_unet = CountingUNet(components.unet)

    def interrupt(state: StepState) -> None:
        if state.index == 2:
            raise Cancelled("The job was interrupted.")

    with pytest.raises(Cancelled):
        piped(components, "Euler", 1.0, unet=counting_unet, on_step=interrupt)
    assert len(counting_unet.batches) == 3


def test_noise_is_drawn_in_32_bits_at_any_precision_of_the_prompt(components: Components):
    expected = piped(components, "Euler", 0.5)
    noise = seeded()
    scheduler = SamplerScheduler(
        SAMPLERS.get("Euler"),
        start_of("Euler", 0.5),
        MODEL_SIGMAS,
        noise,
        "epsilon",
        lambda state: None,
    )
    guided = GuidedUNet(components.unet, prompt_conditioning(COND, UNCOND), CFG)
    guided.conditioning = prompt_conditioning(COND.half(), UNCOND)
    with torch.inference_mode():
        guided.forward = GuidedUNet(components.unet, prompt_conditioning(COND, UNCOND), CFG).forward
        latents = stable_diffusion.img2img(
            components, guided, scheduler, DepthRequest(steps=STEPS), INIT_LATENTS, noise
        )
    assert torch.equal(latents, expected)

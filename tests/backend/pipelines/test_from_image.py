"""Our pipeline from an init image, on a tiny real UNet, against plain loops."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor

from modules.backend.components import Components
from modules.sampling.protocol import ancestral_step
from tests.backend.pipelines.runs import (
    CFG,
    COND,
    SEEDS,
    UNCOND,
    States,
    assert_same_run,
    make_plan,
    pipe,
    predict,
    start_of,
)
from tests.backend.tiny import CountingUNet, make_noise, tiny_components

STEPS = 8
INIT_LATENTS = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def piped(components: Components, name: str, strength: float, **kwargs) -> Tensor:
    plan = make_plan(name, STEPS, strength=strength)
    return pipe(components, plan, init_latents=INIT_LATENTS, **kwargs)


def sigmas_of(name: str, strength: float) -> tuple[float, ...]:
    return start_of(make_plan(name, STEPS, strength=strength)).sigmas


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.75, 1.0])
@torch.inference_mode()
def test_euler_from_an_init_image_equals_its_plain_loop(components: Components, strength: float):
    sigmas = sigmas_of("Euler", strength)
    x = INIT_LATENTS + make_noise(SEEDS)() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (x - predict(components, x, sigma)) / sigma * (sigma_next - sigma)
    assert_same_run(components, piped(components, "Euler", strength), x, sigmas)


@torch.inference_mode()
def test_euler_a_continues_with_the_noise_of_its_seeds(components: Components):
    sigmas = sigmas_of("Euler a", 0.5)
    noise = make_noise(SEEDS)
    x = INIT_LATENTS + noise() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        down, up = ancestral_step(sigma, sigma_next)
        x = x + (x - predict(components, x, sigma)) / sigma * (down - sigma)
        x = x + noise() * up if sigma_next > 0 else x
    assert_same_run(components, piped(components, "Euler a", 0.5), x, sigmas)


@torch.inference_mode()
def test_ddim_from_an_init_image_equals_a1111s_loop(components: Components):
    """In its own terms: alphas_cumprod a, noised to timesteps[t_enc], denoised over timesteps[:t_enc]."""
    t_enc = 6
    timesteps = [min(t + 1, 999) for t in range(0, 1000, 1000 // STEPS)]
    alphas = components.alphas_cumprod.float()
    a_enc = alphas[timesteps[t_enc]]
    x = INIT_LATENTS * a_enc.sqrt() + make_noise(SEEDS)() * (1 - a_enc).sqrt()
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    for t, t_next in itertools.pairwise(reversed(timesteps[:t_enc])):
        preds = components.unet(torch.cat([x, x]), torch.tensor(t), encoder_hidden_states=both)[0]
        uncond_pred, cond_pred = preds.chunk(2)
        epsilon = uncond_pred + CFG * (cond_pred - uncond_pred)
        x0 = (x - (1 - alphas[t]).sqrt() * epsilon) / alphas[t].sqrt()
        x = alphas[t_next].sqrt() * x0 + (1 - alphas[t_next]).sqrt() * epsilon
    sigmas = sigmas_of("DDIM", 0.75)
    assert_same_run(components, piped(components, "DDIM", 0.75), x, sigmas)


@pytest.mark.parametrize(("strength", "updates"), [(1.0, 8), (0.5, 5), (0.0, 1)])
def test_each_update_evaluates_the_network_once(
    components: Components, strength: float, updates: int
):
    counting_unet, collected = CountingUNet(components.unet), States()
    piped(components, "DPM++ 2M", strength, unet=counting_unet, extensions=[collected])
    assert counting_unet.batches == [4] * updates
    assert [(state.index, state.total) for state in collected.states] == [
        (n, updates) for n in range(updates)
    ]


def test_a_strength_of_0_preserves_the_init_image(components: Components):
    """The last sigma is so low that the noise has no effect but through the network's prediction."""
    weak, full = piped(components, "Euler", 0.0), piped(components, "Euler", 1.0)
    assert (weak - INIT_LATENTS).abs().mean() < 0.5 < (full - INIT_LATENTS).abs().mean()


def test_dpm_adaptive_runs_from_an_init_image(components: Components):
    collected = States()
    plan = make_plan("DPM adaptive", 20, strength=0.5, schedule="Uniform")
    latents = pipe(components, plan, init_latents=INIT_LATENTS, extensions=[collected])
    assert latents.shape == (2, 4, 8, 8)
    assert len(collected.states) > 3


def test_a_half_precision_network_leaves_the_sample_in_32_bits(components: Components):
    collected = States()
    unet = copy.deepcopy(components.unet).to(torch.bfloat16)
    conds = COND.bfloat16(), UNCOND.bfloat16()
    latents = piped(components, "Euler", 0.5, unet=unet, conds=conds, extensions=[collected])
    assert {state.x.dtype for state in collected.states} == {latents.dtype} == {torch.float32}

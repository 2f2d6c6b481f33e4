"""Through the unmodified StableDiffusionPipeline with a tiny real UNet."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from modules.backend.components import Components
from modules.backend.denoise.guidance import GuidedUNet
from modules.backend.denoise.sampler_scheduler import SamplerScheduler, StepState
from modules.backend.pipelines import stable_diffusion
from modules.core.errors import Cancelled
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.sampling.protocol import DEFAULTS, ancestral_step
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.tiny import (
    CountingUNet,
    VPredictionUNet,
    make_noise,
    prompt_conditioning,
    random_cond,
    sd1_model_sigmas,
    tiny_components,
)
from tests.tolerance import assert_alike, rounding, run_gain

MODEL_SIGMAS = sd1_model_sigmas()
COND, UNCOND = random_cond(1), random_cond(2)
CFG, STEPS, SEEDS = 5.0, 5, [11, 12]


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def start_of(name: str, steps: int = STEPS, schedule: str = "Karras") -> RunStart:
    return RunSigmas(
        SAMPLERS.get(name), SCHEDULES.get(schedule), steps, MODEL_SIGMAS, DEFAULTS
    ).from_noise()


def sigmas_of(name: str) -> list[float]:
    return list(start_of(name).sigmas)


@torch.inference_mode()
def piped(
    components: Components,
    name: str,
    *,
    unet: Any = None,
    cfg: float = CFG,
    on_step: Any = None,
    steps=STEPS,
) -> Tensor:
    """Return the latents of a run through the stock pipeline."""
    noise = make_noise(SEEDS)
    scheduler = SamplerScheduler(
        SAMPLERS.get(name),
        start_of(name, steps),
        MODEL_SIGMAS,
        noise,
        components.prediction_type,
        on_step or (lambda state: None),
    )
    guided = GuidedUNet(unet or components.unet, prompt_conditioning(COND, UNCOND), cfg)
    request = Txt2ImgRequest(width=64, height=64, steps=steps)
    return stable_diffusion.txt2img(components, guided, scheduler, request, noise())


def predicted(components: Components, x: Tensor, sigma: float) -> Tensor:
    """Return the denoised sample by its formula: x - sigma epsilon, with guidance."""
    t = torch.tensor(MODEL_SIGMAS.timestep_at(sigma))
    x_in = torch.cat([x, x]) / (1 + sigma**2) ** 0.5
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    uncond_pred, cond_pred = components.unet(x_in, t, encoder_hidden_states=both)[0].chunk(2)
    return x - sigma * (uncond_pred + CFG * (cond_pred - uncond_pred))


def assert_walked(
    components: Components, found: Tensor, expected: Tensor, sigmas: list[float], cfg: float = CFG
) -> None:
    """Compare the latents of two runs; the network's predictions are about 1 in size."""
    gain = run_gain(sigmas, cfg)
    assert_alike(found, expected, rounding(components.unet), gain=gain, size=1.0)


@torch.inference_mode()
def test_euler_through_the_pipeline_equals_its_plain_loop(components: Components):
    sigmas = sigmas_of("Euler")
    x = make_noise(SEEDS)() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (x - predicted(components, x, sigma)) / sigma * (sigma_next - sigma)
    assert_walked(components, piped(components, "Euler"), x, sigmas)


@torch.inference_mode()
def test_euler_a_through_the_pipeline_equals_its_plain_loop(components: Components):
    sigmas = sigmas_of("Euler a")
    noise = make_noise(SEEDS)
    x = noise() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        down, up = ancestral_step(sigma, sigma_next)
        x = x + (x - predicted(components, x, sigma)) / sigma * (down - sigma)
        x = x + noise() * up if sigma_next > 0 else x
    assert_walked(components, piped(components, "Euler a"), x, sigmas)


@torch.inference_mode()
def test_ddim_through_the_pipeline_equals_diffusers_ddim(components: Components):
    stock = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    stock.set_timesteps(STEPS)
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    x = make_noise(SEEDS)()
    for t in (801, 601, 401, 201):
        preds = components.unet(torch.cat([x, x]), t, encoder_hidden_states=both)[0]
        uncond_pred, cond_pred = preds.chunk(2)
        x = stock.step(uncond_pred + CFG * (cond_pred - uncond_pred), t, x).prev_sample
    assert_walked(components, piped(components, "DDIM"), x, sigmas_of("DDIM"))


@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_an_equivalent_v_network_gives_the_same_latents(components: Components, name: str):
    as_v = Components(
        components.unet,
        components.vae,
        components.text_encoders,
        components.alphas_cumprod,
        "v_prediction",
        components.family,
    )
    epsilon = piped(components, name, cfg=1.0)
    v = piped(as_v, name, cfg=1.0, unet=VPredictionUNet(components.unet, MODEL_SIGMAS))
    assert_walked(components, epsilon, v, sigmas_of(name), cfg=1.0)


@pytest.mark.parametrize(("name", "calls"), [("Euler", 5), ("DPM++ 2M", 5), ("DDIM", 4)])
def test_the_network_is_called_once_a_step(components: Components, name: str, calls: int):
    counting_unet = CountingUNet(components.unet)
    piped(components, name, unet=counting_unet)
    assert counting_unet.batches == [4] * calls


def test_a_scale_of_one_halves_the_work(components: Components):
    counting_unet = CountingUNet(components.unet)
    piped(components, "Euler", unet=counting_unet, cfg=1.0)
    assert counting_unet.batches == [2] * STEPS


def test_twenty_steps_of_ddim_are_nineteen_calls(components: Components):
    counting_unet = CountingUNet(components.unet)
    piped(components, "DDIM", unet=counting_unet, steps=20)
    assert len(counting_unet.batches) == 19
    assert counting_unet.timesteps[0] == pytest.approx(951)
    assert counting_unet.timesteps[-1] == pytest.approx(51)


def test_the_network_gets_the_timesteps_of_the_sigmas(components: Components):
    counting_unet = CountingUNet(components.unet)
    piped(components, "Euler", unet=counting_unet)
    expected = [MODEL_SIGMAS.timestep_at(sigma) for sigma in sigmas_of("Euler")[:-1]]
    assert counting_unet.timesteps == pytest.approx(expected, abs=1e-3)


def test_every_step_is_reported_with_its_state(components: Components):
    states: list[StepState] = []
    piped(components, "DPM++ 2M", on_step=states.append)
    assert [state.index for state in states] == list(range(STEPS))
    assert {state.total for state in states} == {STEPS}
    assert [state.sigma for state in states] == sigmas_of("DPM++ 2M")[:-1]
    assert all(state.denoised.shape == (2, 4, 8, 8) for state in states)


def test_an_interrupt_ends_the_run_within_a_step(components: Components):
    counting_unet = CountingUNet(components.unet)

    def interrupt(state: StepState) -> None:
        if state.index == 2:
            raise Cancelled("The job was interrupted.")

    with pytest.raises(Cancelled):
        piped(components, "Euler", unet=counting_unet, on_step=interrupt)
    assert len(counting_unet.batches) == 3


def test_the_last_step_returns_the_prediction(components: Components):
    states: list[StepState] = []
    latents = piped(components, "Euler", on_step=states.append)
    assert_alike(latents, states[-1].denoised, rounding(terms=4))


def test_other_schedules_are_used_unchanged(components: Components):
    noise = make_noise(SEEDS)
    scheduler = SamplerScheduler(
        SAMPLERS.get("Euler"),
        start_of("Euler", 4, "Uniform"),
        MODEL_SIGMAS,
        noise,
        "epsilon",
        lambda state: None,
    )
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == pytest.approx([999, 666, 333, 0], abs=1e-3)
    assert scheduler.init_noise_sigma == pytest.approx(14.614643, abs=1e-4)


class LeftHalfMask:
    """A mask that preserves the left half of an image of ones."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def blend_input(self, x: Tensor, sigma: float) -> Tensor:
        self.called.append("blend_input")
        return self._blend(x)

    def blend_denoised(self, denoised: Tensor, sigma: float) -> Tensor:
        self.called.append("blend_denoised")
        return self._blend(denoised)

    @staticmethod
    def _blend(x: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(x[..., :4]), x[..., 4:]], dim=-1)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "called", "calls"), [("Euler", "blend_denoised", 5), ("DDIM", "blend_input", 4)]
)
def test_a_mask_preserves_its_part_of_the_image(
    components: Components, name: str, called: str, calls: int
):
    noise, mask = make_noise(SEEDS), LeftHalfMask()
    scheduler = SamplerScheduler(
        SAMPLERS.get(name), start_of(name), MODEL_SIGMAS, noise, "epsilon", lambda state: None
    )
    scheduler.mask = mask
    guided = GuidedUNet(components.unet, prompt_conditioning(COND, UNCOND), 1.0)
    latents = stable_diffusion.txt2img(
        components, guided, scheduler, Txt2ImgRequest(width=64, height=64), noise()
    )
    assert mask.called == [called] * calls
    if name == "Euler":
        assert torch.allclose(latents[..., :4], torch.ones(2, 4, 8, 4), atol=1e-5)


@torch.inference_mode()
def test_the_network_gets_the_masked_input_but_the_sampler_continues_with_its_own_sample(
    components: Components,
):
    """A1111's timestep samplers: the noise predicted from the blended sample is subtracted from the unblended one."""
    states: list[StepState] = []
    noise = make_noise(SEEDS)
    sampler, sigmas = SAMPLERS.get("DDIM"), sigmas_of("DDIM")
    scheduler = SamplerScheduler(
        sampler, start_of("DDIM"), MODEL_SIGMAS, noise, "v_prediction", states.append
    )
    scheduler.mask, mask = LeftHalfMask(), LeftHalfMask()
    x, t = noise() * scheduler.init_noise_sigma, torch.tensor(901.0)
    model_input = scheduler.scale_model_input(x, t)
    scale = (1 + sigmas[0] ** 2) ** 0.5
    assert torch.allclose(model_input, mask.blend_input(x / scale, sigmas[0]))
    v = components.unet(model_input, t, encoder_hidden_states=COND.expand(2, -1, -1))[0]
    scheduler.step(v, t, x)
    epsilon = v / scale + model_input * (sigmas[0] / scale)
    expected = x - sigmas[0] * epsilon
    assert_alike(states[0].denoised, expected, rounding(terms=4))

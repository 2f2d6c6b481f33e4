"""Our pipeline from noise, on a tiny real UNet, against plain loops and the stock pipeline."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from torch import Tensor

from modules.backend.components import Components
from modules.backend.denoise.step_extensions import MaskedLatents, StepExtension, StepState
from modules.backend.pipelines.stable_diffusion import make_pipeline
from modules.core.errors import Cancelled
from modules.sampling.protocol import ancestral_step
from tests.backend.pipelines.runs import (
    CFG,
    COND,
    MODEL_SIGMAS,
    SEEDS,
    UNCOND,
    States,
    assert_same_run,
    make_plan,
    pipe,
    predict,
    start_of,
)
from tests.backend.tiny import CountingUNet, VPredictionUNet, make_noise, tiny_components
from tests.tolerance import assert_alike, rounding

STEPS = 5


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def piped(
    components: Components, name: str, *, cfg: float = CFG, steps: int = STEPS, **kwargs
) -> Tensor:
    return pipe(components, make_plan(name, steps, cfg=cfg), **kwargs)


def sigmas_of(name: str) -> list[float]:
    return list(start_of(make_plan(name, STEPS)).sigmas)


@torch.inference_mode()
def test_euler_through_the_pipeline_equals_its_plain_loop(components: Components):
    sigmas = sigmas_of("Euler")
    x = make_noise(SEEDS)() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (x - predict(components, x, sigma)) / sigma * (sigma_next - sigma)
    assert_same_run(components, piped(components, "Euler"), x, sigmas)


@torch.inference_mode()
def test_euler_a_through_the_pipeline_equals_its_plain_loop(components: Components):
    sigmas = sigmas_of("Euler a")
    noise = make_noise(SEEDS)
    x = noise() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        down, up = ancestral_step(sigma, sigma_next)
        x = x + (x - predict(components, x, sigma)) / sigma * (down - sigma)
        x = x + noise() * up if sigma_next > 0 else x
    assert_same_run(components, piped(components, "Euler a"), x, sigmas)


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
    assert_same_run(components, piped(components, "DDIM"), x, sigmas_of("DDIM"))


@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_an_equivalent_v_network_gives_the_same_latents(components: Components, name: str):
    as_v = replace(components, prediction_type="v_prediction")
    epsilon = piped(components, name, cfg=1.0)
    v = piped(as_v, name, cfg=1.0, unet=VPredictionUNet(components.unet, MODEL_SIGMAS))
    assert_same_run(components, epsilon, v, sigmas_of(name), cfg=1.0)


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
    collected = States()
    piped(components, "DPM++ 2M", extensions=[collected])
    states = collected.states
    assert [state.index for state in states] == list(range(STEPS))
    assert {state.total for state in states} == {STEPS}
    assert [state.sigma for state in states] == sigmas_of("DPM++ 2M")[:-1]
    assert all(state.denoised.shape == (2, 4, 8, 8) for state in states)


def test_an_interrupt_ends_the_run_within_a_step(components: Components):
    counting_unet = CountingUNet(components.unet)

    class Interrupt(StepExtension):
        def on_step(self, state: StepState) -> None:
            if state.index == 2:
                raise Cancelled("The job was interrupted.")

    with pytest.raises(Cancelled):
        piped(components, "Euler", unet=counting_unet, extensions=[Interrupt()])
    assert len(counting_unet.batches) == 3


def test_the_last_step_returns_the_prediction(components: Components):
    collected = States()
    latents = piped(components, "Euler", extensions=[collected])
    assert_alike(latents, collected.states[-1].denoised, rounding(terms=4))


def test_other_schedules_are_used_unchanged(components: Components):
    counting_unet = CountingUNet(components.unet)
    plan = make_plan("Euler", 4, schedule="Uniform")
    pipe(components, plan, unet=counting_unet)
    assert counting_unet.timesteps == pytest.approx([999, 666, 333, 0], abs=1e-3)
    assert start_of(plan).noise_sigma == pytest.approx(14.614643, abs=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@torch.inference_mode()
def test_the_same_components_in_the_stock_pipeline_give_the_same_picture(prediction_type: str):
    """The stock pipeline with its own Euler, guidance and decoding; A1111's sigmas are diffusers' "linspace"."""
    components = tiny_components(prediction_type)
    pipeline = make_pipeline(components)
    latents = pipe(components, make_plan("Euler", 10, schedule="Uniform"))
    ours = components.vae.decode(latents / components.vae.config.scaling_factor)[0]
    stock = StableDiffusionPipeline(
        **{
            **pipeline.components,
            "scheduler": EulerDiscreteScheduler.from_config(
                pipeline.scheduler.config, timestep_spacing="linspace"
            ),
        },
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    picture = stock(
        prompt_embeds=COND.expand(2, -1, -1),
        negative_prompt_embeds=UNCOND.expand(2, -1, -1),
        latents=make_noise(SEEDS)(),
        num_inference_steps=10,
        guidance_scale=CFG,
        output_type="pt",
        return_dict=False,
    )[0]
    assert torch.allclose((ours / 2 + 0.5).clamp(0, 1), picture, atol=1e-4)


class LeftHalfMask:
    """A mask that preserves the left half of an image of ones."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.levels: list[float] = []

    def blend(self, latents: Tensor, noise_level: float) -> Tensor:
        self.inputs.append(latents)
        self.levels.append(noise_level)
        return torch.cat([torch.ones_like(latents[..., :4]), latents[..., 4:]], dim=-1)

    def blend_result(self, latents: Tensor) -> Tensor:
        return latents


def test_a_mask_preserves_its_part_of_the_prediction(components: Components):
    mask = LeftHalfMask()
    latents = piped(components, "Euler", cfg=1.0, extensions=[MaskedLatents(mask, on_input=False)])
    assert mask.levels == sigmas_of("Euler")[:-1]
    assert torch.allclose(latents[..., :4], torch.ones(2, 4, 8, 4), atol=1e-5)


@torch.inference_mode()
def test_the_network_gets_the_masked_input_but_the_sampler_continues_with_its_own_sample():
    """A1111's timestep samplers: the noise predicted from the blended sample is subtracted from the unblended one."""
    components, mask, collected = tiny_components("v_prediction"), LeftHalfMask(), States()
    extensions = [MaskedLatents(mask, on_input=True), collected]
    piped(components, "DDIM", cfg=1.0, extensions=extensions)
    assert mask.levels == pytest.approx([801, 601, 401, 201]), (
        "A1111 takes their timesteps for sigmas"
    )
    first = collected.states[0]
    scale = (1 + first.sigma**2) ** 0.5
    assert torch.allclose(mask.inputs[0], first.x / scale)
    model_input = LeftHalfMask().blend(first.x / scale, first.sigma)
    t = torch.tensor(MODEL_SIGMAS.timestep_at(first.sigma))
    v = components.unet(model_input, t, encoder_hidden_states=COND.expand(2, -1, -1))[0]
    epsilon = v / scale + model_input * (first.sigma / scale)
    assert_alike(first.denoised, first.x - first.sigma * epsilon, rounding(terms=4))


def test_dpm_adaptive_chooses_its_step_count(components: Components):
    counting_unet, collected = CountingUNet(components.unet), States()
    plan = make_plan("DPM adaptive", 20, schedule="Uniform")
    latents = pipe(components, plan, unet=counting_unet, extensions=[collected])
    states = collected.states
    assert latents.isfinite().all()
    assert len(states) == len(counting_unet.timesteps) > 20
    assert [state.index for state in states] == list(range(len(states)))
    assert all(state.total > state.index for state in states)
    assert counting_unet.timesteps == pytest.approx(
        [MODEL_SIGMAS.timestep_at(state.sigma) for state in states], abs=1e-2
    )


def test_an_extension_finishes_the_latents(components: Components):
    class Doubled(StepExtension):
        def finish(self, latents: Tensor) -> Tensor:
            return 2 * latents

    plain = piped(components, "Euler")
    assert torch.equal(piped(components, "Euler", extensions=[Doubled()]), 2 * plain)

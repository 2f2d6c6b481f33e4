"""Guidance over all prompts of an evaluation, on a tiny real UNet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.denoise.denoiser import Denoised, Denoiser, Network
from modules.backend.denoise.guidance import find_guidance
from modules.backend.denoise.prediction import Prediction
from modules.backend.denoise.step_extensions import ConcatChannels, StepExtension, UNetCall
from modules.backend.pipelines.sampling_run import make_run_sigmas
from modules.params.settings import Settings
from tests.backend.checkpoints import tiny_modules
from tests.backend.pipelines.runs import MODEL_SIGMAS, RUN_SIGMAS, make_plan
from tests.backend.tiny import CountingUNet, prompt_conditioning, random_cond
from tests.tolerance import assert_alike, guidance_gain, rounding

COND, UNCOND = random_cond(1), random_cond(2)
X = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(3))
SIGMA = MODEL_SIGMAS.sigma_at(500)
T = torch.tensor(RUN_SIGMAS.timestep_at(SIGMA))
MAX_PRED = 1.5  # the largest absolute value that the network predicts
# The network's guided output itself instead of x0.
OUTPUT = Prediction("output", lambda sigma: 1.0, lambda x, output, sigma, timestep_sigma: output)
STEPS = 6


def make_denoiser(
    unet: Any,
    conditioning: PromptConditioning,
    cfg: float,
    settings: Settings | None = None,
    *,
    extensions: Sequence[StepExtension] = (),
    name: str = "Euler",
    conds_per_call: int | None = None,
) -> Denoiser:
    plan = make_plan(name, STEPS, cfg=cfg, settings=settings)
    run_sigmas = make_run_sigmas(plan, MODEL_SIGMAS)
    guidance = find_guidance(plan.settings)
    network = Network(unet, OUTPUT, conds_per_call)
    return Denoiser(network, guidance, plan, run_sigmas, conditioning, extensions)


def denoise(*args: Any, **kwargs: Any) -> Denoised:
    """Return the result of the run's first evaluation."""
    return make_denoiser(*args, **kwargs)(X, SIGMA, 0)


def guide(*args: Any, **kwargs: Any) -> Tensor:
    """Return the guided output of the run's first evaluation."""
    return denoise(*args, **kwargs).x0


@pytest.fixture(scope="module")
def unet():
    return tiny_modules()[0]


def predict(network, x: Tensor, cond: Tensor) -> Tensor:
    return network(x, T, encoder_hidden_states=cond.expand(len(x), -1, -1), return_dict=False)[0]


def assert_guided(
    unet, guided: Tensor, expected: Tensor, scale: float = 1.0, *weights: float
) -> None:
    """Compare guidance with its formula on predictions from batches of another size."""
    gain = guidance_gain(scale, *weights)
    assert_alike(guided, expected, rounding(unet), gain=gain, size=MAX_PRED)


@torch.inference_mode()
def test_guidance_equals_the_stock_pipelines_bit_for_bit(unet):
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    stock = unet(torch.cat([X, X]), T, encoder_hidden_states=both, return_dict=False)[0]
    uncond_pred, cond_pred = stock.chunk(2)
    expected = uncond_pred + 7.5 * (cond_pred - uncond_pred)
    assert torch.equal(guide(unet, prompt_conditioning(COND, UNCOND), 7.5), expected)


@torch.inference_mode()
def test_prompts_of_different_length_are_evaluated_in_separate_calls(unet):
    long = random_cond(4, tokens=154)
    counting_unet = CountingUNet(unet)
    guided = guide(counting_unet, prompt_conditioning(long, UNCOND), 7.5)
    uncond_pred, cond_pred = predict(unet, X, UNCOND), predict(unet, X, long)
    assert torch.equal(guided, uncond_pred + 7.5 * (cond_pred - uncond_pred))
    assert counting_unet.batches == [2, 2]


@torch.inference_mode()
def test_both_prompts_are_evaluated_in_one_call(unet):
    counting_unet = CountingUNet(unet)
    guide(counting_unet, prompt_conditioning(COND, UNCOND), 7.5)
    assert counting_unet.batches == [4]


@torch.inference_mode()
def test_a_call_has_as_many_prompts_as_the_memory_has_room_for(unet):
    counting_unet = CountingUNet(unet)
    guided = guide(counting_unet, prompt_conditioning(COND, UNCOND), 7.5, conds_per_call=1)
    uncond_pred, cond_pred = predict(unet, X, UNCOND), predict(unet, X, COND)
    assert torch.equal(guided, uncond_pred + 7.5 * (cond_pred - uncond_pred))
    guide(counting_unet, several(COND, OTHER), 7.5, conds_per_call=2)
    assert counting_unet.batches == [2, 2, 4, 2]


class Calls(StepExtension):
    """Collects the sizes that the UNet gets."""

    def __init__(self) -> None:
        self.sizes: list[list[float]] = []

    def unet_call(self, call: UNetCall) -> UNetCall:
        self.sizes.append(call.kwargs["added_cond_kwargs"]["time_ids"][:, 0].tolist())
        return call


@torch.inference_mode()
def test_prompts_that_share_what_is_encoded_keep_their_own_sizes(unet):
    pooled = (torch.zeros(1, 8),)
    prompt, negative = (
        Conditioning((COND,), pooled=pooled, time_ids=torch.full((1, 6), size))
        for size in (1.0, 2.0)
    )
    conditioning, calls = PromptConditioning((prompt,), negative), Calls()
    guide(unet, conditioning, 7.5, extensions=[calls], conds_per_call=1)
    guide(unet, conditioning, 7.5, extensions=[calls])
    assert calls.sizes == [[2, 2], [1, 1], [2, 2, 1, 1]]


@torch.inference_mode()
def test_a_scale_of_one_evaluates_the_prompt_alone(unet):
    counting_unet = CountingUNet(unet)
    guided = guide(counting_unet, prompt_conditioning(COND, UNCOND), 1.0)
    assert torch.equal(guided, predict(unet, X, COND))
    assert counting_unet.batches == [2]


@torch.inference_mode()
def test_a_scale_of_zero_is_the_negative_prompt(unet):
    guided = guide(unet, prompt_conditioning(COND, UNCOND), 0.0)
    assert_guided(unet, guided, predict(unet, X, UNCOND), 0.0)


@torch.inference_mode()
def test_the_prediction_has_the_samples_dtype(unet):
    half = copy.deepcopy(tiny_modules()[0]).to(torch.bfloat16)
    guided = guide(half, prompt_conditioning(COND.bfloat16(), UNCOND.bfloat16()), 3.0)
    assert guided.dtype == torch.float32
    assert guided.shape == X.shape


OTHER = random_cond(5)
LONG = random_cond(4, tokens=154)


def several(
    *conds: Tensor, uncond: Tensor = UNCOND, weights: tuple[float, ...] = ()
) -> PromptConditioning:
    return PromptConditioning(
        tuple(Conditioning((cond,)) for cond in conds),
        Conditioning((uncond,)),
        weights or (1.0,) * len(conds),
        random_cond(6),
    )


def options(**changed: Any) -> Settings:
    return Settings(**changed)


@torch.inference_mode()
def test_and_adds_each_sub_prompt_by_its_weight(unet):
    guided = guide(unet, several(COND, OTHER, weights=(1.0, -0.5)), 7.0)
    base, first, second = (predict(unet, X, cond) for cond in (UNCOND, COND, OTHER))
    expected = base + 7.0 * (first - base) - 3.5 * (second - base)
    assert_guided(unet, guided, expected, 7.0, 1.0, -0.5)


@torch.inference_mode()
def test_all_sub_prompts_of_and_are_evaluated_in_one_call(unet):
    counting_unet = CountingUNet(unet)
    guide(counting_unet, several(COND, OTHER), 7.0)
    assert counting_unet.batches == [6]


@torch.inference_mode()
def test_sub_prompts_whose_weights_times_scale_are_one_skip_the_negative_prompt(unet):
    counting_unet = CountingUNet(unet)
    guided = guide(counting_unet, several(COND, OTHER, weights=(0.25, 0.25)), 2.0)
    assert counting_unet.batches == [4]
    expected = (predict(unet, X, COND) + predict(unet, X, OTHER)) / 2
    assert_guided(unet, guided, expected, 2.0, 0.25, 0.25)


@torch.inference_mode()
def test_sub_prompts_are_padded_to_one_length_with_their_last_vector(unet):
    guided = guide(unet, several(LONG, OTHER), 1.0)
    padded = torch.cat([OTHER, OTHER[:, -1:].expand(-1, 77, -1)], dim=1)
    base, first, second = (predict(unet, X, cond) for cond in (UNCOND, LONG, padded))
    assert_guided(unet, guided, first + second - base, 1.0, 1.0, 1.0)


@torch.inference_mode()
def test_separate_calls_give_the_same_prediction(unet):
    counting_unet = CountingUNet(unet)
    settings = options(batch_cond_uncond=False)
    guided = guide(counting_unet, several(COND, OTHER), 7.0, settings)
    assert counting_unet.batches == [2, 2, 2]
    at_once = guide(unet, several(COND, OTHER), 7.0)
    assert_guided(unet, guided, at_once, 7.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("cond", "uncond"), [(LONG, UNCOND), (COND, LONG)], ids=["shorter negative", "shorter prompt"]
)
@torch.inference_mode()
def test_the_shorter_side_is_padded_with_the_empty_prompt(unet, cond: Tensor, uncond: Tensor):
    counting_unet = CountingUNet(unet)
    conditioning = several(cond, uncond=uncond)
    guided = guide(counting_unet, conditioning, 7.0, options(pad_cond_uncond=True))
    assert counting_unet.batches == [4]
    padded = [
        c if c is LONG else torch.cat([c, conditioning.empty_cond], dim=1) for c in (uncond, cond)
    ]
    uncond_pred, cond_pred = (predict(unet, X, c) for c in padded)
    assert_guided(unet, guided, uncond_pred + 7.0 * (cond_pred - uncond_pred), 7.0)


@torch.inference_mode()
def test_padding_v0_repeats_the_negative_prompts_last_vector_or_truncates_it(unet):
    settings = options(pad_cond_uncond_v0=True, pad_cond_uncond=True)
    padded = torch.cat([UNCOND, UNCOND[:, -1:].expand(-1, 77, -1)], dim=1)
    for cond, uncond, expected_uncond in ((LONG, UNCOND, padded), (COND, LONG, LONG[:, :77])):
        guided = guide(unet, several(cond, uncond=uncond), 7.0, settings)
        uncond_pred, cond_pred = predict(unet, X, expected_uncond), predict(unet, X, cond)
        assert_guided(unet, guided, uncond_pred + 7.0 * (cond_pred - uncond_pred), 7.0)


@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        (options(s_min_uncond=2.0), [4, 4, 4, 2, 4, 2]),
        (options(s_min_uncond=2.0, s_min_uncond_all=True), [4, 4, 2, 2, 2, 2]),
        (options(skip_early_cond=0.2), [2, 2, 4, 4, 4, 4]),
        (options(), [4] * 6),
    ],
    ids=["NGMS", "NGMS all steps", "Skip Early CFG", "neither"],
)
@torch.inference_mode()
def test_the_negative_prompt_is_skipped_as_the_settings_say(
    unet, settings: Settings, batches: list[int]
):
    counting_unet = CountingUNet(unet)
    denoiser = make_denoiser(counting_unet, prompt_conditioning(COND, UNCOND), 7.0, settings)
    for index, sigma in enumerate([9.0, 3.0, 1.5, 1.0, 0.5, 0.1]):
        output = denoiser(X, sigma, index).x0
    assert counting_unet.batches == batches
    if batches[-1] == 2:
        t = torch.tensor(RUN_SIGMAS.timestep_at(0.1))
        alone = unet(X, t, encoder_hidden_states=COND.expand(2, -1, -1), return_dict=False)[0]
        assert torch.equal(output, alone)


@pytest.mark.parametrize(("name", "batches"), [("Euler", [2]), ("DDIM", [4])])
@torch.inference_mode()
def test_for_ddim_the_minimum_sigma_is_compared_with_timesteps(unet, name: str, batches: list[int]):
    counting_unet = CountingUNet(unet)
    settings = options(s_min_uncond=10.0, s_min_uncond_all=True)
    guide(counting_unet, prompt_conditioning(COND, UNCOND), 7.0, settings, name=name)
    assert counting_unet.batches == batches


@torch.inference_mode()
def test_without_the_negative_prompt_the_first_sub_prompt_takes_its_place_at_scale_1(unet):
    settings = options(skip_early_cond=1.0)
    conditioning = several(COND, OTHER, weights=(1.0, 0.5))
    guided = guide(unet, conditioning, 7.0, settings)
    first, second = predict(unet, X, COND), predict(unet, X, OTHER)
    assert_guided(unet, guided, first + 0.5 * (second - first), 1.0, 0.5)


@torch.inference_mode()
def test_the_rescaled_prediction_has_the_deviation_of_the_cond_prediction(unet):
    plain = guide(unet, prompt_conditioning(COND, UNCOND), 15.0)
    full = guide(unet, prompt_conditioning(COND, UNCOND), 15.0, options(cfg_rescale=1.0))
    part = guide(unet, prompt_conditioning(COND, UNCOND), 15.0, options(cfg_rescale=0.7))
    cond_pred = predict(unet, X, COND)
    assert_alike(full.std((1, 2, 3)), cond_pred.std((1, 2, 3)), rounding(unet, terms=X[0].numel()))
    assert_alike(part, 0.7 * full + 0.3 * plain, rounding(terms=X[0].numel()))


@torch.inference_mode()
def test_the_prompt_changes_with_the_current_evaluation(unet):
    scheduled = PromptConditioning((Conditioning((COND, OTHER), (2, 4)),), Conditioning((UNCOND,)))
    denoiser = make_denoiser(unet, scheduled, 1.0)
    for index, cond in enumerate([COND, COND, COND, OTHER, OTHER]):
        assert torch.equal(denoiser(X, SIGMA, index).x0, predict(unet, X, cond))


@torch.inference_mode()
def test_concat_channels_are_passed_with_every_prompt():
    wide = tiny_modules()[0]
    wide = type(wide)(**{**wide.config, "in_channels": 5}).requires_grad_(False)
    channels = torch.rand((1, 1, 8, 8), generator=torch.Generator().manual_seed(7))
    guided = guide(wide, several(COND, OTHER), 7.0, extensions=[ConcatChannels(channels)])
    model_input = torch.cat([X, channels.expand(2, -1, -1, -1)], dim=1)
    base, first, second = (predict(wide, model_input, cond) for cond in (UNCOND, COND, OTHER))
    expected = base + 7.0 * (first + second - 2 * base)
    assert_guided(wide, guided, expected, 7.0, 1.0, 1.0)


class DifferenceReader(StepExtension):
    """Asks for the difference of cond and uncond."""

    needs_difference = True


@torch.inference_mode()
def test_the_difference_of_cond_and_uncond_is_computed_only_for_an_extension_that_reads_it(unet):
    conditioning = prompt_conditioning(COND, UNCOND)
    assert denoise(unet, conditioning, 7.0).difference is None
    difference = denoise(unet, conditioning, 7.0, extensions=[DifferenceReader()]).difference
    expected = predict(unet, X, COND) - predict(unet, X, UNCOND)
    assert_guided(unet, difference, expected)
    alone = denoise(unet, conditioning, 1.0, extensions=[DifferenceReader()])
    assert alone.difference is None


@torch.inference_mode()
def test_a_sampler_that_needs_the_uncond_prediction_gets_it_at_any_scale(unet):
    conditioning = prompt_conditioning(COND, UNCOND)
    assert denoise(unet, conditioning, 1.0).uncond_x0 is None
    denoised = denoise(
        unet, conditioning, 12.5, name="DDIM CFG++"
    )  # a scale of 1 after its divisor
    assert_guided(unet, denoised.uncond_x0, predict(unet, X, UNCOND))
    assert_guided(unet, denoised.x0, predict(unet, X, COND), 1.0)

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.denoise.guidance import GuidedUNet, StepClock
from modules.params.settings.guidance import GuidanceSettings
from tests.backend.checkpoints import tiny_modules
from tests.backend.tiny import Counting, conditioning, steering
from tests.tolerance import assert_alike, guidance_gain, rounding

COND, UNCOND = conditioning(1), conditioning(2)
X = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(3))
T = torch.tensor(500.0)
ANSWER = 1.5  # the largest number that the network answers with


@pytest.fixture(scope="module")
def unet():
    return tiny_modules()[0]


def ask(network, x: Tensor, cond: Tensor) -> Tensor:
    return network(x, T, encoder_hidden_states=cond.expand(len(x), -1, -1), return_dict=False)[0]


def assert_guided(
    unet, guided: Tensor, expected: Tensor, scale: float = 1.0, *weights: float
) -> None:
    """Hold guidance to what prompts asked in batches of another size give by its formula."""
    gain = guidance_gain(scale, *weights)
    assert_alike(guided, expected, rounding(unet), gain=gain, size=ANSWER)


@torch.inference_mode()
def test_guidance_equals_the_stock_pipelines_bit_for_bit(unet):
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    stock = unet(torch.cat([X, X]), T, encoder_hidden_states=both, return_dict=False)[0]
    without, with_prompt = stock.chunk(2)
    expected = without + 7.5 * (with_prompt - without)
    assert torch.equal(GuidedUNet(unet, steering(COND, UNCOND), 7.5)(X, T)[0], expected)


@torch.inference_mode()
def test_prompts_of_different_length_are_asked_one_after_the_other(unet):
    long = conditioning(4, tokens=154)
    counting = Counting(unet)
    guided = GuidedUNet(counting, steering(long, UNCOND), 7.5)(X, T)[0]
    without, with_prompt = ask(unet, X, UNCOND), ask(unet, X, long)
    assert torch.equal(guided, without + 7.5 * (with_prompt - without))
    assert counting.batches == [2, 2]


@torch.inference_mode()
def test_both_prompts_are_asked_in_one_call(unet):
    counting = Counting(unet)
    GuidedUNet(counting, steering(COND, UNCOND), 7.5)(X, T)
    assert counting.batches == [4]


@torch.inference_mode()
def test_a_scale_of_one_asks_for_the_prompt_alone(unet):
    counting = Counting(unet)
    guided = GuidedUNet(counting, steering(COND, UNCOND), 1.0)(X, T)[0]
    assert torch.equal(guided, ask(unet, X, COND))
    assert counting.batches == [2]


@torch.inference_mode()
def test_a_scale_of_zero_is_the_negative_prompt(unet):
    guided = GuidedUNet(unet, steering(COND, UNCOND), 0.0)(X, T)[0]
    assert_guided(unet, guided, ask(unet, X, UNCOND), 0.0)


@torch.inference_mode()
def test_the_prediction_comes_in_the_samples_own_dtype(unet):
    half = copy.deepcopy(tiny_modules()[0]).to(torch.bfloat16)
    guided = GuidedUNet(half, steering(COND.bfloat16(), UNCOND.bfloat16()), 3.0)(X, T)[0]
    assert guided.dtype == torch.float32
    assert guided.shape == X.shape


def test_the_networks_facts_shine_through(unet):
    guided = GuidedUNet(unet, steering(COND, UNCOND), 7.5)
    assert guided.config is unet.config
    assert (guided.dtype, guided.device) == (unet.dtype, unet.device)


OTHER = conditioning(5)
LONG = conditioning(4, tokens=154)


@dataclass
class At:
    """A place in a run."""

    index: int
    sigma: float = 1.0

    def timestep_due(self) -> float:
        return 100 * self.sigma


def several(
    *conds: Tensor, uncond: Tensor = UNCOND, weights: tuple[float, ...] = ()
) -> PromptConditioning:
    return PromptConditioning(
        tuple(Conditioning((cond,)) for cond in conds),
        Conditioning((uncond,)),
        weights or (1.0,) * len(conds),
        conditioning(6),
    )


def options(**changed: Any) -> GuidanceSettings:
    return GuidanceSettings(**changed)


@torch.inference_mode()
def test_and_adds_what_each_prompt_says_by_its_weight(unet):
    guided = GuidedUNet(unet, several(COND, OTHER, weights=(1.0, -0.5)), 7.0)(X, T)[0]
    base, first, second = (ask(unet, X, cond) for cond in (UNCOND, COND, OTHER))
    expected = base + 7.0 * (first - base) - 3.5 * (second - base)
    assert_guided(unet, guided, expected, 7.0, 1.0, -0.5)


@torch.inference_mode()
def test_all_prompts_that_and_joins_are_asked_at_once(unet):
    counting = Counting(unet)
    GuidedUNet(counting, several(COND, OTHER), 7.0)(X, T)
    assert counting.batches == [6]


@torch.inference_mode()
def test_prompts_of_and_whose_weights_and_scale_make_one_go_without_the_negative_prompt(unet):
    counting = Counting(unet)
    guided = GuidedUNet(counting, several(COND, OTHER, weights=(0.25, 0.25)), 2.0)(X, T)[0]
    assert counting.batches == [4]
    expected = (ask(unet, X, COND) + ask(unet, X, OTHER)) / 2
    assert_guided(unet, guided, expected, 2.0, 0.25, 0.25)


@torch.inference_mode()
def test_prompts_of_and_are_brought_to_one_length_by_their_last_vector(unet):
    guided = GuidedUNet(unet, several(LONG, OTHER), 1.0)(X, T)[0]
    filled = torch.cat([OTHER, OTHER[:, -1:].expand(-1, 77, -1)], dim=1)
    base, first, second = (ask(unet, X, cond) for cond in (UNCOND, LONG, filled))
    assert_guided(unet, guided, first + second - base, 1.0, 1.0, 1.0)


@torch.inference_mode()
def test_asked_one_by_one_the_prompts_say_the_same(unet):
    counting = Counting(unet)
    settings = options(batch_cond_uncond=False)
    guided = GuidedUNet(counting, several(COND, OTHER), 7.0, settings)(X, T)[0]
    assert counting.batches == [2, 2, 2]
    at_once = GuidedUNet(unet, several(COND, OTHER), 7.0)(X, T)[0]
    assert_guided(unet, guided, at_once, 7.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("cond", "uncond"), [(LONG, UNCOND), (COND, LONG)], ids=["shorter negative", "shorter prompt"]
)
@torch.inference_mode()
def test_the_shorter_side_is_filled_up_with_the_empty_prompt(unet, cond: Tensor, uncond: Tensor):
    counting = Counting(unet)
    given = several(cond, uncond=uncond)
    guided = GuidedUNet(counting, given, 7.0, options(pad_cond_uncond=True))(X, T)[0]
    assert counting.batches == [4]
    filled = [c if c is LONG else torch.cat([c, given.empty_cond], dim=1) for c in (uncond, cond)]
    base, answer = (ask(unet, X, one) for one in filled)
    assert_guided(unet, guided, base + 7.0 * (answer - base), 7.0)


@torch.inference_mode()
def test_the_old_padding_repeats_the_negative_prompts_last_vector_or_cuts_it(unet):
    settings = options(pad_cond_uncond_v0=True, pad_cond_uncond=True)
    filled = torch.cat([UNCOND, UNCOND[:, -1:].expand(-1, 77, -1)], dim=1)
    for cond, uncond, meant in ((LONG, UNCOND, filled), (COND, LONG, LONG[:, :77])):
        guided = GuidedUNet(unet, several(cond, uncond=uncond), 7.0, settings)(X, T)[0]
        base, answer = ask(unet, X, meant), ask(unet, X, cond)
        assert_guided(unet, guided, base + 7.0 * (answer - base), 7.0)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        (options(s_min_uncond=2.0), [4, 4, 4, 2, 4, 2]),
        (options(s_min_uncond=2.0, s_min_uncond_all=True), [4, 4, 2, 2, 2, 2]),
        (options(skip_early_cond=0.2), [2, 2, 4, 4, 4, 4]),
        (options(), [4] * 6),
    ],
    ids=["NGMS", "NGMS all steps", "Skip Early CFG", "neither"],
)
@torch.inference_mode()
def test_the_negative_prompt_is_skipped_where_the_options_say(
    unet, settings: GuidanceSettings, asked: list[int]
):
    counting = Counting(unet)
    place = At(0)
    guided = GuidedUNet(counting, steering(COND, UNCOND), 7.0, settings, StepClock(place, 6))
    for place.index, place.sigma in enumerate([9.0, 3.0, 1.5, 1.0, 0.5, 0.1]):
        answer = guided(X, T)[0]
    assert counting.batches == asked
    if asked[-1] == 2:
        assert torch.equal(answer, ask(unet, X, COND))


@torch.inference_mode()
def test_for_ddim_the_smallest_sigma_counts_in_timesteps(unet):
    counting = Counting(unet)
    settings = options(s_min_uncond=10.0, s_min_uncond_all=True)
    clock = StepClock(At(3, sigma=0.2), 6, by_timestep=True)
    GuidedUNet(counting, steering(COND, UNCOND), 7.0, settings, clock)(X, T)
    assert counting.batches == [4]


@torch.inference_mode()
def test_where_the_negative_prompt_is_skipped_the_first_of_and_takes_its_place_at_scale_1(unet):
    settings = options(skip_early_cond=1.0)
    given = several(COND, OTHER, weights=(1.0, 0.5))
    guided = GuidedUNet(unet, given, 7.0, settings, StepClock(At(0), 6))(X, T)[0]
    first, second = ask(unet, X, COND), ask(unet, X, OTHER)
    assert_guided(unet, guided, first + 0.5 * (second - first), 1.0, 0.5)


@torch.inference_mode()
def test_the_rescaled_prediction_has_the_contrast_of_the_prompts_own(unet):
    plain = GuidedUNet(unet, steering(COND, UNCOND), 15.0)(X, T)[0]
    full = GuidedUNet(unet, steering(COND, UNCOND), 15.0, options(cfg_rescale=1.0))(X, T)[0]
    part = GuidedUNet(unet, steering(COND, UNCOND), 15.0, options(cfg_rescale=0.7))(X, T)[0]
    own = ask(unet, X, COND)
    assert_alike(full.std((1, 2, 3)), own.std((1, 2, 3)), rounding(unet, terms=X[0].numel()))
    assert_alike(part, 0.7 * full + 0.3 * plain, rounding(terms=X[0].numel()))


@torch.inference_mode()
def test_the_prompt_changes_with_the_evaluation_that_is_due(unet):
    place = At(0)
    given = PromptConditioning((Conditioning((COND, OTHER), (2, 4)),), Conditioning((UNCOND,)))
    guided = GuidedUNet(unet, given, 1.0, clock=StepClock(place, 4))
    for place.index, cond in enumerate([COND, COND, COND, OTHER, OTHER]):
        assert torch.equal(guided(X, T)[0], ask(unet, X, cond))


@torch.inference_mode()
def test_what_is_seen_beside_the_latents_goes_to_every_prompt():
    wide = tiny_modules()[0]
    wide = type(wide)(**{**wide.config, "in_channels": 5}).requires_grad_(False)
    extra = torch.rand((1, 1, 8, 8), generator=torch.Generator().manual_seed(7))
    guided = GuidedUNet(wide, several(COND, OTHER), 7.0, concat_cond=extra)(X, T)[0]
    seen = torch.cat([X, extra.expand(2, -1, -1, -1)], dim=1)
    base, first, second = (ask(wide, seen, cond) for cond in (UNCOND, COND, OTHER))
    expected = base + 7.0 * (first + second - 2 * base)
    assert_guided(wide, guided, expected, 7.0, 1.0, 1.0)

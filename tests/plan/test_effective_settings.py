from __future__ import annotations

from typing import Any

import pytest

from modules.params.settings.guidance import GuidanceSettings
from modules.params.settings.sampling import SamplingSettings
from modules.plan.effective_settings import (
    CONDITIONAL_SAMPLING_OPTIONS,
    PassPrompts,
    effective_sampling_options,
    ineffective_guidance_options,
    prompt_notes,
)
from modules.prompt.schedule import StepTimeline
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES

ADDED_NOISE = {"s_churn": 1.0, "eta_ddim": 1.0}
TEN = StepTimeline(10)
LONG = "cat " * 80


def options_of(
    sampler: str, schedule: str = "Uniform", from_noise: bool = True, **options
) -> set[str]:
    settings = SamplingSettings(**{**ADDED_NOISE, **options})
    return {
        *effective_sampling_options(
            SAMPLERS.get(sampler), SCHEDULES.get(schedule), settings, from_noise
        )
    }


def test_conditional_options_are_sampling_settings():
    assert set(SamplingSettings.model_fields) >= CONDITIONAL_SAMPLING_OPTIONS
    assert {
        "rho",
        "s_churn",
        "uni_pc_order",
        "beta_dist_alpha",
        "sgm_noise_multiplier",
    } <= CONDITIONAL_SAMPLING_OPTIONS
    assert not {"randn_source", "tiling", "sd_noise_schedule"} & CONDITIONAL_SAMPLING_OPTIONS, (
        "every run uses them"
    )


def test_schedule_options_affect_k_diffusion_samplers_but_not_timestep_samplers():
    assert {"rho", "sigma_min", "sgm_noise_multiplier"} <= options_of("Euler", "Karras")
    assert not {"rho", "sigma_min", "sgm_noise_multiplier"} & options_of("DDIM", "Karras")
    assert "rho" not in options_of("Euler", "Exponential")


def test_noise_options_have_no_effect_when_no_noise_is_added():
    assert {"s_noise", "s_tmin", "eta_noise_seed_delta"} <= options_of("Euler")
    assert not {"s_noise", "s_tmin", "eta_noise_seed_delta"} & options_of("Euler", s_churn=0)
    assert "s_churn" in options_of("Euler", s_churn=0)
    assert "s_noise" not in options_of("DPM++ 2M SDE", eta_ancestral=0)
    assert "eta_noise_seed_delta" in options_of("LCM")


@pytest.mark.parametrize(
    ("name", "has_effect"), [("DPM++ 2M", True), ("DPM2", False), ("DDIM", True)]
)
def test_discarding_a_sigma_has_no_effect_where_the_sampler_always_discards_it(
    name: str, has_effect: bool
):
    assert ("always_discard_next_to_last_sigma" in options_of(name)) == has_effect


def test_the_initial_noise_multiplier_has_no_effect_on_an_init_image():
    assert "sgm_noise_multiplier" not in options_of("Euler", from_noise=False)


def passes(
    prompt: str, negative: str = "", cfg_scale: float = 7.0, timeline: StepTimeline = TEN
) -> list[PassPrompts]:
    return [PassPrompts(prompt, negative, timeline, cfg_scale)]


@pytest.mark.parametrize(
    ("option", "value", "prompt", "has_effect"),
    [
        ("emphasis", "None", "a cat", False),
        ("emphasis", "None", "a (cat:1.0)", True),
        ("emphasis", "None", "a cat BREAK dog", True),
        ("emphasis", "Ignore", "a cat BREAK dog", False),
        ("emphasis", "Ignore", "a (cat)", True),
        ("emphasis", "No norm", "a cat", False),
        ("emphasis", "No norm", "[a::0.5] [cat]", True),
        ("use_old_emphasis_implementation", True, "a cat", False),
        ("use_old_emphasis_implementation", True, "a (cat:1.3)", True),
        ("use_old_emphasis_implementation", True, LONG, True),
        ("use_old_scheduling", True, "[a:b:0.5]", False),
        ("use_old_scheduling", True, "[a:b:1.0]", True),
        ("comma_padding_backtrack", 0, LONG, False),
        ("comma_padding_backtrack", 0, "cat " * 60 + ", " + LONG, True),
    ],
)
def test_a_prompt_option_has_an_effect_where_it_changes_the_chunks(
    tokenizer: ClipTokenizer, option: str, value: object, prompt: str, has_effect: bool
):
    settings = GuidanceSettings(**{option: value})
    for prompts in (passes(prompt), passes("", prompt)):
        assert (
            option not in ineffective_guidance_options(settings, prompts, tokenizer)
        ) is has_effect


@pytest.mark.parametrize(
    ("options", "cfg_scale", "ineffective"),
    [
        ({"s_min_uncond": 2.0}, 7.0, set()),
        ({"s_min_uncond": 2.0, "s_min_uncond_all": True}, 7.0, set()),
        ({"s_min_uncond_all": True}, 7.0, {"s_min_uncond_all"}),
        (
            {"s_min_uncond": 2.0, "skip_early_cond": 0.2},
            1.0,
            {"s_min_uncond", "s_min_uncond_all", "skip_early_cond"},
        ),
        ({"cfg_rescale": 0.7}, 7.0, {"s_min_uncond_all"}),
        ({"cfg_rescale": 0.7}, 1.0, {"cfg_rescale", "s_min_uncond_all"}),
    ],
)
def test_options_of_uncond_have_an_effect_where_uncond_is_used(
    tokenizer: ClipTokenizer, options: dict[str, Any], cfg_scale: float, ineffective: set[str]
):
    found = ineffective_guidance_options(
        GuidanceSettings(**options), passes("a cat", "", cfg_scale), tokenizer
    )
    assert {name for name in found if name in options or name in ineffective} == ineffective


@pytest.mark.parametrize(
    ("prompt", "negative", "has_effect"),
    [
        ("a cat", "a dog", False),
        (LONG, "a dog", True),
        ("a cat", LONG, True),
        ("a cat AND " + LONG, LONG, False),
        ("[a:" + LONG + ":0.5]", "", True),
    ],
)
def test_padding_has_an_effect_where_prompts_differ_in_chunk_count(
    tokenizer: ClipTokenizer, prompt: str, negative: str, has_effect: bool
):
    for option in ("pad_cond_uncond", "pad_cond_uncond_v0"):
        found = ineffective_guidance_options(
            GuidanceSettings(**{option: True}), passes(prompt, negative), tokenizer
        )
        assert (option not in found) is has_effect


def test_the_old_padding_has_precedence(tokenizer: ClipTokenizer):
    both = GuidanceSettings(pad_cond_uncond=True, pad_cond_uncond_v0=True)
    found = ineffective_guidance_options(both, passes(LONG), tokenizer)
    assert found["pad_cond_uncond"] is False
    assert "pad_cond_uncond_v0" not in found


def test_an_effect_on_one_of_two_passes_is_enough(tokenizer: ClipTokenizer):
    settings = GuidanceSettings(use_old_scheduling=True)
    second = passes("[a:b:0.5]", timeline=StepTimeline(10, first_pass_steps=10))
    assert "use_old_scheduling" in ineffective_guidance_options(
        settings, passes("[a:b:0.5]"), tokenizer
    )
    assert "use_old_scheduling" not in ineffective_guidance_options(
        settings, passes("[a:b:0.5]") + second, tokenizer
    )


def test_each_missing_network_is_noted_once():
    prompts = passes("a <lora:ink:0.8> <hypernet:x>", "<lora:y:1>") + passes("a <lora:ink:0.8>")
    assert prompt_notes(prompts) == (
        "There is no lora 'ink'; the picture is made without it.",
        "There is no hypernet 'x'; the picture is made without it.",
    )


def test_a_break_within_brackets_is_noted_because_a1111_reads_a_word():
    expected = ("BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word.",)
    assert prompt_notes(passes("(a BREAK b:1.2)")) == expected
    assert prompt_notes(passes("a", "[a:(b BREAK c):0.5]")) == expected
    assert prompt_notes(passes("a BREAK (b:1.2) (c BREAK d:1.0)")) == ()

from __future__ import annotations

from typing import Any

import pytest

from modules.params.settings.guidance import GuidanceSettings
from modules.plan.effective_settings import PassPrompts, ineffective_guidance_options, prompt_notes
from modules.prompt.schedule import StepTimeline
from modules.prompt.tokens import ClipTokenizer

TEN = StepTimeline(10)
LONG = "cat " * 80


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
def test_an_option_of_prompts_counts_where_it_changes_what_is_encoded(
    tokenizer: ClipTokenizer, option: str, value: object, prompt: str, has_effect: bool
):
    settings = GuidanceSettings(**{option: value})
    for given in (passes(prompt), passes("", prompt)):
        assert (
            option not in ineffective_guidance_options(settings, given, tokenizer)
        ) is has_effect


@pytest.mark.parametrize(
    ("options", "cfg_scale", "idle"),
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
def test_options_of_the_negative_prompt_count_where_it_is_used(
    tokenizer: ClipTokenizer, options: dict[str, Any], cfg_scale: float, idle: set[str]
):
    found = ineffective_guidance_options(
        GuidanceSettings(**options), passes("a cat", "", cfg_scale), tokenizer
    )
    assert {name for name in found if name in options or name in idle} == idle


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
def test_padding_counts_where_prompts_differ_in_length(
    tokenizer: ClipTokenizer, prompt: str, negative: str, has_effect: bool
):
    for option in ("pad_cond_uncond", "pad_cond_uncond_v0"):
        found = ineffective_guidance_options(
            GuidanceSettings(**{option: True}), passes(prompt, negative), tokenizer
        )
        assert (option not in found) is has_effect


def test_the_old_padding_comes_before_the_new(tokenizer: ClipTokenizer):
    both = GuidanceSettings(pad_cond_uncond=True, pad_cond_uncond_v0=True)
    found = ineffective_guidance_options(both, passes(LONG), tokenizer)
    assert found["pad_cond_uncond"] is False
    assert "pad_cond_uncond_v0" not in found


def test_one_of_two_passes_is_enough(tokenizer: ClipTokenizer):
    settings = GuidanceSettings(use_old_scheduling=True)
    second = passes("[a:b:0.5]", timeline=StepTimeline(10, first_pass_steps=10))
    assert "use_old_scheduling" in ineffective_guidance_options(
        settings, passes("[a:b:0.5]"), tokenizer
    )
    assert "use_old_scheduling" not in ineffective_guidance_options(
        settings, passes("[a:b:0.5]") + second, tokenizer
    )


def test_networks_are_told_once_each_as_not_found():
    given = passes("a <lora:ink:0.8> <hypernet:x>", "<lora:y:1>") + passes("a <lora:ink:0.8>")
    assert prompt_notes(given) == (
        "There is no lora 'ink'; the picture is made without it.",
        "There is no hypernet 'x'; the picture is made without it.",
    )


def test_a_break_within_brackets_is_told_since_a1111_reads_a_word():
    told = ("BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word.",)
    assert prompt_notes(passes("(a BREAK b:1.2)")) == told
    assert prompt_notes(passes("a", "[a:(b BREAK c):0.5]")) == told
    assert prompt_notes(passes("a BREAK (b:1.2) (c BREAK d:1.0)")) == ()

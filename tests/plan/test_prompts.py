from __future__ import annotations

import pytest

from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.jobs.stored_request import with_resolved_names
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.prompts import apply_styles
from modules.prompt.styles import Style

INK = Style("ink", "ink drawing of {prompt}", "photo")
SHARP = Style("sharp", "sharp")
PATIENCE_S = 20


def test_styles_are_applied_in_order_to_all_prompts_except_empty_hires_ones():
    request = Txt2ImgRequest(
        prompt="a cat", negative_prompt="dog", hr_prompt="a lion", styles=("ink", "sharp")
    )
    styled = apply_styles(request, [INK, SHARP], Settings())
    assert (styled.prompt, styled.negative_prompt) == (
        "ink drawing of a cat, sharp",
        "dog, photo",
    )
    assert (styled.hr_prompt, styled.hr_negative_prompt) == ("ink drawing of a lion, sharp", "")
    assert styled.styles == ()


def test_comments_are_removed_unless_the_option_is_off():
    request = Txt2ImgRequest(prompt="a cat # of mine", negative_prompt="# none")
    assert apply_styles(request, [], Settings()).prompt == "a cat "
    assert apply_styles(request, [], Settings()).negative_prompt == ""
    assert (
        apply_styles(request, [], Settings(enable_prompt_comments=False)).prompt
        == "a cat # of mine"
    )
    with_comments = request.replace(override_settings={"enable_prompt_comments": False})
    assert apply_styles(with_comments, [], Settings()).prompt == "a cat # of mine"


def test_the_infotext_contains_the_prompt_with_styles_applied(engine: Engine):
    engine.styles.save(INK)
    job = engine.submit(
        Txt2ImgRequest(prompt="a cat", styles=("ink",), width=64, height=64, steps=2)
    )
    assert job.wait(PATIENCE_S)
    (image,) = job.status().images
    assert image.infotext.startswith("ink drawing of a cat\nNegative prompt: photo\nSteps: 2")


def test_an_unknown_style_is_refused_with_the_nearest_name(engine: Engine):
    engine.styles.save(INK)
    with pytest.raises(NotFound, match=r"There is no style named 'inc'\. Did you mean 'ink'\?"):
        engine.submit(Txt2ImgRequest(styles=("inc",)))


@pytest.mark.parametrize(
    ("prompt", "pairs"),
    [
        ("a cat", ""),
        ("a (cat:1.2)", ", Emphasis: No norm"),
        ("cat " * 80, ", Pad conds: True, NGMS: 2"),
    ],
)
def test_the_infotext_contains_only_effective_options(engine: Engine, prompt: str, pairs: str):
    overrides = {"emphasis": "No norm", "pad_cond_uncond": True}
    if "NGMS" in pairs:
        overrides["s_min_uncond"] = 2.0
    request = Txt2ImgRequest(
        prompt=prompt, width=64, height=64, steps=2, override_settings=overrides
    )
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    (image,) = job.status().images
    infotext = dict(pair.split(": ") for pair in image.infotext.splitlines()[-1].split(", "))
    keys = ("Emphasis", "Pad conds", "NGMS", "Old emphasis", "NGMS all steps")
    expected = dict(pair.split(": ") for pair in pairs.split(", ")[1:])
    assert {key: infotext[key] for key in keys if key in infotext} == expected


def test_a_missing_network_is_noted(engine: Engine):
    job = engine.submit(Txt2ImgRequest(prompt="a cat <lora:ink:1>", width=512, height=512, steps=2))
    assert job.wait(PATIENCE_S)
    (note,) = [note for note in job.plan.notes if "LoRA" in note]
    assert note.startswith("There is no LoRA 'ink'; the picture is made without it.")
    assert "<lora:ink:1>" in job.status().images[0].infotext


def test_a_queued_job_keeps_its_prompt_when_a_style_is_deleted(engine: Engine):
    engine.styles.save(INK)
    request = Txt2ImgRequest(prompt="a cat", styles=("ink",), width=64, height=64, steps=2)
    resolved = with_resolved_names(request, engine.planner.plan(request, engine.settings))
    engine.styles.delete("ink")
    assert engine.planner.plan(resolved, engine.settings).request.prompt == "ink drawing of a cat"


@pytest.mark.parametrize(
    ("prompt", "hr_prompt"), [("[a:b:0.5]", ""), ("a", "[b:c:1.5]"), ("a", "(b) <lora:x:1>")]
)
def test_an_option_is_effective_if_either_pass_of_hires_fix_uses_it(
    engine: Engine, prompt: str, hr_prompt: str
):
    overrides = {"use_old_scheduling": True, "emphasis": "No norm"}
    request = Txt2ImgRequest(
        prompt=prompt, hr_prompt=hr_prompt, enable_hr=True, override_settings=overrides
    )
    plan = engine.planner.plan(request, engine.settings)
    assert plan.hires is not None
    for settings in (plan.settings, plan.hires.plan.settings):
        assert settings.use_old_scheduling is ("[" in prompt + hr_prompt)
        assert (settings.emphasis == "No norm") is ("(" in hr_prompt)
    assert any("There is no LoRA 'x'" in note for note in plan.notes) is ("lora" in hr_prompt)

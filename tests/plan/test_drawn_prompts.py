from __future__ import annotations

from typing import Any

import pytest

from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.engine.jobs.job import Job
from modules.infotext import interpret_infotext, parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import require_plan
from modules.prompt.styles import Style

PATIENCE_S = 20
FIELDS: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 10}
TEMPLATE = "a {red|green|blue|white} __animal__, {1-2$$ and $$old|tall}"


@pytest.fixture(autouse=True)
def wildcards(engine: Engine) -> None:
    folder = engine.paths.wildcards
    (folder / "places").mkdir(parents=True)
    (folder / "animal.txt").write_text("cat\ndog\n{wild|tame} horse\n", "utf-8")
    (folder / "places" / "wet.yaml").write_text("sea: [lake, ocean]\nrain: [storm]", "utf-8")


def make(engine: Engine, **fields: Any) -> Job:
    job = engine.submit(Txt2ImgRequest(**{**FIELDS, **fields}))
    assert job.wait(PATIENCE_S)
    assert job.status().error == ""
    return job


def infotexts(job: Job) -> list[str]:
    return [image.infotext for image in job.status().images]


def prompts(job: Job) -> list[str]:
    return [parse_infotext(text).prompt for text in infotexts(job)]


def test_each_picture_of_a_batch_draws_by_its_own_seed(engine: Engine):
    job = make(engine, prompt=TEMPLATE, batch_size=4, n_iter=2)
    alone = [make(engine, prompt=TEMPLATE, seed=seed) for seed in range(10, 18)]
    assert infotexts(job) == [text for one in alone for text in infotexts(one)]
    assert len(set(prompts(job))) > 4
    assert [image.index for image in job.status().images] == list(range(8))
    rest = make(engine, prompt=TEMPLATE, batch_size=2, seed=14)
    assert infotexts(rest) == infotexts(job)[4:6]
    first = make(engine, prompt=TEMPLATE, batch_size=4, subseed_strength=0.5)
    assert len(set(prompts(first))) == 1  # variations of one picture have one seed


def test_pictures_with_the_same_prompts_stay_one_batch(engine: Engine):
    request = Txt2ImgRequest(prompt="{a|b}", seed=11, batch_size=8)
    plan = engine.planner.plan(request, engine.settings)
    sizes = [len(batch) for batch in plan.batches]
    assert sum(sizes) == 8 and max(sizes) > 1
    drawn = [plan.for_image(index).request.prompt for index in range(8)]
    assert set(drawn) == {"a", "b"}
    for index, batch in enumerate(plan.batches):
        assert {drawn[image.index] for image in batch} == {plan.for_batch(index).request.prompt}


def test_the_infotext_has_the_drawn_prompts_and_the_templates(engine: Engine):
    fields: dict[str, Any] = {
        "prompt": "a {cat|dog}, (x:1.2)",
        "negative_prompt": "__places/wet/*__ {1|2}",
        "enable_hr": True,
        "hr_prompt": "a {large|huge} one",
        "hr_negative_prompt": "plain",
    }
    (engine.paths.wildcards / "places" / "wet").mkdir()
    (engine.paths.wildcards / "places" / "wet" / "a.txt").write_text("fog", "utf-8")
    (text,) = infotexts(make(engine, **fields))
    parsed = parse_infotext(text)
    assert parsed.prompt in ("a cat, (x:1.2)", "a dog, (x:1.2)")
    assert parsed.negative_prompt in ("fog 1", "fog 2")
    pairs = parsed.pairs
    assert pairs["Hires prompt"] in ("a large one", "a huge one")
    assert pairs["Template"] == fields["prompt"]
    assert pairs["Negative Template"] == fields["negative_prompt"]
    assert pairs["Hires Template"] == fields["hr_prompt"]
    assert "Hires Negative Template" not in pairs
    result = interpret_infotext(parsed, make_infotext_context(engine), Txt2ImgRequest)
    assert result.values["prompt"] == parsed.prompt
    assert (result.report.unknown_keys, result.report.unapplied_keys) == ((), ())
    (again,) = infotexts(make(engine, **{**fields, **dict(result.values)}))
    made_again = parse_infotext(again)
    assert (made_again.prompt, made_again.negative_prompt) == (
        parsed.prompt,
        parsed.negative_prompt,
    )
    assert made_again.pairs == {key: pairs[key] for key in pairs if "Template" not in key}


def test_the_extensions_lines_below_the_pairs_are_read(engine: Engine):
    text = (
        "a cat\nNegative prompt: fog\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64\n"
        "Template: a {cat|dog}, __colour__, {2$$x|y}\nNegative Template: {fog|rain: heavy}, low"
    )
    parsed = parse_infotext(text)
    result = interpret_infotext(parsed, make_infotext_context(engine), Txt2ImgRequest)
    assert (result.values["prompt"], result.values["negative_prompt"]) == ("a cat", "fog")
    assert parsed.pairs["Template"] == "a {cat|dog}, __colour__, {2$$x|y}"
    assert parsed.pairs["Negative Template"] == "{fog|rain: heavy}, low"
    assert result.report.messages() == []


def test_styles_and_lora_tags_are_drawn_as_well(engine: Engine):
    engine.styles.save(Style("ink", "{ink|ink} of {prompt}", "__places/sea__"))
    job = make(engine, prompt="a {cat|cat}", styles=("ink",))
    (text,) = infotexts(job)
    assert parse_infotext(text).prompt == "ink of a cat"
    assert parse_infotext(text).negative_prompt in ("lake", "ocean")
    plan = engine.planner.plan(Txt2ImgRequest(prompt="x <lora:{no|no}:1>"), engine.settings)
    assert any("'no'" in note for note in plan.notes)


def test_text_with_nothing_to_draw_gives_the_plan_that_it_gave(engine: Engine):
    plan = engine.planner.plan(Txt2ImgRequest(prompt="{a}, b__c", seed=1), engine.settings)
    assert (plan.drawn, plan.templates, plan.notes) == ((), (), plan.notes)
    assert plan.for_image(0) is plan
    off = {"dynamic_prompts": False}
    job = make(engine, prompt="a {cat|dog}", override_settings=off)
    assert prompts(job) == ["a {cat|dog}"]
    assert parse_infotext(infotexts(job)[0]).pairs["Dynamic prompts"] == "False"
    (text,) = infotexts(make(engine, prompt="a cat", override_settings=off))
    assert "Dynamic prompts" not in text


def test_a_missing_wildcard_is_a_note(engine: Engine):
    job = make(engine, prompt="an __anmal__ in {a|a} __place__", batch_size=2)
    assert prompts(job) == ["an __anmal__ in a __place__"] * 2
    notes = [note for note in job.plan.notes if "wildcard" in note]
    assert notes == [
        "There is no wildcard 'anmal'; it stays in the prompt as text. Did you mean 'animal'?",
        "There is no wildcard 'place'; it stays in the prompt as text. "
        "Did you mean 'places/sea' or 'places/rain'?",
    ]


def test_a_retry_and_a_single_picture_draw_the_same(engine: Engine):
    job = make(engine, prompt=TEMPLATE, negative_prompt="{a|b}", batch_size=3)
    again = engine.queue.retry(job.id)
    assert again.wait(PATIENCE_S)
    assert infotexts(again) == infotexts(job)
    plan = require_plan(job.plan)
    assert (plan.request.prompt, plan.request.negative_prompt) == (TEMPLATE, "{a|b}")
    assert plan.without_images().for_image(2).request.prompt == prompts(job)[2]

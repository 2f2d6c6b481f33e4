"""Hypernetworks that prompts name: found, weighed, or left out with a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from tests.conftest import write_listed_checkpoint


def write_hypernetwork(folder: Path, name: str, *widths: int) -> None:
    """Write one in the container of .safetensors, which the ending does not tell."""
    shapes = {
        f"{width}.{index}.linear.0.weight": [width, width] for width in widths for index in (0, 1)
    }
    write_listed_checkpoint(folder / name, name, shapes)


@pytest.fixture(autouse=True)
def folder(paths: Paths) -> Path:
    folder = paths.data / "models" / "hypernetworks"
    write_hypernetwork(folder, "anime.pt", 4, 8)
    write_hypernetwork(folder / "sub", "ink.pt", 8)
    write_hypernetwork(folder, "two.pt", 8, 1024)
    write_listed_checkpoint(folder / "none.pt", "", {"emb_params": [1, 4]})
    return folder


def make_plan(engine: Engine, prompt: str, **fields: object) -> Plan:
    request = Txt2ImgRequest(prompt=prompt, width=512, height=512, **fields)
    return engine.planner.plan(request, engine.settings)


def uses(plan: Plan) -> list[tuple[str, float]]:
    return [(use.file.stem, use.multiplier) for use in plan.networks.hypernetworks]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat <hypernet:anime:0.5>", [("anime", 0.5)]),
        ("<hypernet:anime>", [("anime", 1.0)]),
        ("<hypernet:ink:-1> <hypernet:anime:2>", [("ink", -1.0), ("anime", 2.0)]),
        ("<hypernet: anime : 0.5 >", [("anime", 0.5)]),
        ("a cat", []),
    ],
)
def test_tags_name_hypernetworks_and_weights(
    engine: Engine, prompt: str, expected: list[tuple[str, float]]
):
    plan = make_plan(engine, prompt)
    assert uses(plan) == expected
    assert not any("left out" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("<hypernet:anme:1>", "There is no hypernetwork named 'anme'. Did you mean 'anime"),
        ("<hypernet:anime:nan>", "its weight 'nan' is not a number."),
        ("<hypernet:anime:weight=0.5>", "its weight 'weight=0.5' is not a number."),
        ("<hypernet:two:1>", "The hypernetwork 'two.pt' is for SD 2.x, not for 'first"),
        ("<hypernet:none:1>", "'none.pt' is no hypernetwork."),
    ],
)
def test_a_tag_that_cannot_be_used_is_a_note_and_the_others_stay(
    engine: Engine, tag: str, reason: str
):
    plan = make_plan(engine, f"a cat {tag}<hypernet:ink:1>")
    assert uses(plan) == [("ink", 1.0)]
    (note,) = [note for note in plan.notes if "left out" in note]
    assert note.startswith(f"{tag} is left out: {reason}")


def test_the_hires_pass_has_the_hypernetworks_of_its_own_prompt(engine: Engine):
    plan = make_plan(engine, "a <hypernet:ink:1>", enable_hr=True, hr_prompt="a <hypernet:anime:1>")
    assert plan.hires is not None
    assert (uses(plan), uses(plan.hires.plan)) == ([("ink", 1.0)], [("anime", 1.0)])


def test_options_write_networks_into_every_prompt_that_does_not_name_them(engine: Engine):
    options = {
        "sd_hypernetwork": "anime",
        "sd_lora": "none here",
        "extra_networks_default_multiplier": 0.5,
    }
    plan = make_plan(engine, "a cat", override_settings=options)
    assert plan.request.prompt == "a cat<hypernet:anime:0.5><lora:none here:0.5>"
    assert uses(plan) == [("anime", 0.5)]
    plan = make_plan(engine, "a cat <lora:x:1>", override_settings=options)
    assert plan.request.prompt == "a cat <lora:x:1><lora:none here:0.5><hypernet:anime:0.5>"
    plan = make_plan(engine, "a cat <hypernet:anime:1>", override_settings=options)
    assert plan.request.prompt == "a cat <hypernet:anime:1><lora:none here:0.5>"

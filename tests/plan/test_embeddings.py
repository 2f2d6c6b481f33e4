"""Embeddings that prompts name, from the request to the infotext."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.infotext import parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from tests.conftest import write_listed_checkpoint

PATIENCE_S = 20
WIDTH = 4  # of the text encoder in the checkpoints of the tests


def write_embedding(paths: Paths, name: str, vectors: int = 1, width: int = WIDTH) -> Path:
    path = paths.embeddings / f"{name}.safetensors"
    return write_listed_checkpoint(path, name, {"emb_params": [vectors, width]})


def short_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.fixture(autouse=True)
def embeddings(paths: Paths) -> dict[str, str]:
    """The short hashes of some embeddings by their names."""
    names = {"qq": 1, "qq red": 2, "bad-hands": 3, "comma, name": 1}
    return {name: short_hash(write_embedding(paths, name, count)) for name, count in names.items()}


def make_plan(engine: Engine, prompt: str, negative_prompt: str = "", **fields: object) -> Plan:
    request = Txt2ImgRequest(
        prompt=prompt, negative_prompt=negative_prompt, width=512, height=512, **fields
    )
    return engine.planner.plan(request, engine.settings)


def names(plan: Plan) -> list[str]:
    return [one.name for one in plan.networks.embeddings]


def test_prompt_and_negative_prompt_name_embeddings(engine: Engine):
    plan = make_plan(engine, "a QQ Red cat", "bad-hands")
    assert names(plan) == ["bad-hands", "qq red"]
    assert [word.vector_count for word in plan.networks.words.words] == [3, 2]
    assert names(make_plan(engine, "a cat")) == []


def test_the_infotext_lists_the_hashes_of_the_prompt_before_those_of_the_negative_one(
    engine: Engine, embeddings: dict[str, str]
):
    request = Txt2ImgRequest(prompt="qq, qq red, qq", negative_prompt="bad-hands, qq", steps=2)
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    (image,) = job.status().images
    qq, red, hands = (embeddings[name] for name in ("qq", "qq red", "bad-hands"))
    assert parse_infotext(image.infotext).pairs["TI hashes"] == (
        f"qq: {qq}, qq red: {red}, bad-hands: {hands}, qq: {qq}"
    )


@pytest.mark.parametrize(
    ("prompt", "order"),
    [
        ("bad-hands BREAK qq", ["bad-hands", "qq"]),
        ("[qq:bad-hands:1] BREAK qq red", ["qq", "bad-hands", "qq red"]),
        ("[a BREAK qq:bad-hands:1]", ["bad-hands", "qq"]),  # first chunks before second ones
        ("qq AND bad-hands", ["bad-hands", "qq"]),  # encoded later, listed earlier
        ("qq AND qq:0.5", ["qq", "qq"]),  # " qq" is another text
    ],
)
def test_hashes_have_the_order_in_which_a1111_encodes(
    engine: Engine, prompt: str, order: list[str]
):
    hashes = make_plan(engine, prompt).networks.ti_hashes
    assert [entry.partition(":")[0] for entry in hashes.split(", ")] == order


def test_an_option_leaves_the_hashes_out(engine: Engine):
    off = {"textual_inversion_add_hashes_to_infotext": False}
    plan = make_plan(engine, "qq", override_settings=off)
    assert names(plan) == ["qq"]
    assert plan.networks.ti_hashes == ""


def test_names_in_the_infotext_have_no_commas(engine: Engine, embeddings: dict[str, str]):
    hashes = make_plan(engine, "comma, name").networks.ti_hashes
    assert hashes == f"comma name: {embeddings['comma, name']}"


def test_the_hires_pass_has_the_embeddings_of_its_own_prompt(engine: Engine):
    plan = make_plan(engine, "qq", enable_hr=True, hr_prompt="bad-hands")
    assert names(plan) == ["qq"]
    assert plan.hires is not None
    assert names(plan.hires.plan) == ["bad-hands"]
    assert plan.networks.ti_hashes.startswith("qq: ")
    assert "bad-hands" not in plan.networks.ti_hashes  # as in A1111


def test_an_embedding_of_another_family_is_text_and_the_job_says_so(engine: Engine, paths: Paths):
    write_embedding(paths, "sd-two", width=1024)
    plan = make_plan(engine, "a sd-two cat")
    assert names(plan) == []
    assert (
        "The embedding 'sd-two' is for SD 2.x; the text encoder of 'first.safetensors' has the width 4."
        " Its name is read as text."
    ) in plan.notes


def test_an_embedding_that_is_too_long_is_text_and_the_job_says_so(engine: Engine, paths: Paths):
    write_embedding(paths, "longish", vectors=80)
    plan = make_plan(engine, "a longish cat")
    assert names(plan) == []
    assert (
        "The embedding 'longish' has 80 vectors, and a part of a prompt holds 75. Its name is read as text."
    ) in plan.notes


def test_an_embedding_behind_the_last_comma_of_a_part_is_noted(engine: Engine):
    plan = make_plan(engine, "cat " * 69 + ", qq" + " cat" * 6)
    assert names(plan) == ["qq"]
    assert any("'qq' is near the end of a part of the prompt" in note for note in plan.notes)
    assert not any("near the end" in note for note in make_plan(engine, "qq").notes)


def test_emphasis_around_an_embedding_counts(engine: Engine):
    plan = make_plan(engine, "(qq:1.3)", override_settings={"emphasis": "No norm"})
    assert plan.settings.emphasis == "No norm"

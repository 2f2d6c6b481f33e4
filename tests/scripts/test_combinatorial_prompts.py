from __future__ import annotations

from typing import Any

import pytest

from modules.builtin import register_with_files
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_status import JobStatus
from modules.engine.page.scripts.estimate import estimate_script
from modules.infotext import parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

NAME = "Combinatorial prompts"
REQUEST = Txt2ImgRequest(width=64, height=64, steps=2, seed=5)


@pytest.fixture(autouse=True)
def script(engine: Engine) -> None:
    engine.paths.wildcards.mkdir(parents=True)
    (engine.paths.wildcards / "colour.txt").write_text("red\nblue\n", "utf-8")
    register_with_files(engine.registries, engine.paths)


def run(engine: Engine, prompt: str, request: Txt2ImgRequest = REQUEST, **args: Any) -> JobStatus:
    group = engine.run_script(NAME, request.replace(prompt=prompt), args)
    assert group.wait(PATIENCE_S)
    return group.status()


def test_every_prompt_of_a_template_is_made_once(engine: Engine):
    status = run(engine, "a {cat|dog|cat}, __colour__", REQUEST.replace(negative_prompt="{x|y}"))
    assert (status.state, status.notes) == ("done", ())
    parsed = [parse_infotext(image.infotext) for image in status.images]
    prompts = ["a cat, blue", "a cat, red", "a dog, blue", "a dog, red"]
    assert [one.prompt for one in parsed] == prompts
    assert {one.pairs["Seed"] for one in parsed} == {"5"}
    assert len({one.negative_prompt for one in parsed}) == 1  # drawn by the seed
    assert {one.pairs["Template"] for one in parsed} == {"a {cat|dog|cat}, __colour__"}
    assert {one.pairs["Negative Template"] for one in parsed} == {"{x|y}"}


def test_seeds_count_up_over_all_images(engine: Engine):
    status = run(engine, "{a|b}", REQUEST.replace(batch_size=2), different_seeds=True)
    assert [image.seed for image in status.images] == [5, 6, 7, 8]


def test_the_number_of_prompts_is_told_before_and_limited(engine: Engine):
    template = "{a|b|c|d|e|f|g|h|i|j} " * 6
    values = {"width": 64, "height": 64, "prompt": template}
    told = estimate_script(engine, "txt2img", values, NAME, {"limit": 3})
    remark = "the first 3 of 1,000,000 prompts that the template has"
    assert told["count"] == 3
    assert told["text"].startswith("3 pictures") and told["text"].endswith(f": {remark}")
    status = run(engine, template, limit=3)
    assert len(status.images) == 3
    assert status.notes == (f"Made: {remark}.",)


def test_a_prompt_with_nothing_to_combine_is_refused(engine: Engine):
    with pytest.raises(UserError, match=r"nothing to combine\. Write \{a\|b\}, or the name"):
        run(engine, "a {cat}, __color__")

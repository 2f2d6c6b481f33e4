from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modules.core.errors import UserError
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.prompts_from_file import (
    PromptsFromFileArgs,
    prepare_prompts_from_file,
    run_prompts_from_file,
)
from modules.scripts.protocol import ScriptResult
from tests.scripts.script_runs import run_script

FORM = Txt2ImgRequest(
    prompt="a cat", negative_prompt="blurry", width=64, height=64, steps=2, seed=5, n_iter=2
)


def run(folder: Path, text: str, **args: Any) -> tuple[list[Txt2ImgRequest], ScriptResult]:
    arguments = PromptsFromFileArgs(prompt_txt=text, **args)
    _, requests, result = run_script(run_prompts_from_file(FORM, arguments), folder)
    return requests, result  # pyright: ignore[reportReturnType] - those of the form's class


def test_each_line_that_is_not_empty_is_a_prompt_before_or_after_that_of_the_form(tmp_path: Path):
    requests, result = run(tmp_path, "a hat\n\n  at night  \r\n")
    assert [request.prompt for request in requests] == ["a hat a cat", "at night a cat"]
    assert {(r.seed, r.negative_prompt, r.n_iter) for r in requests} == {(5, "blurry", 2)}
    assert result.images == () and result.notes == ()
    after, _ = run(tmp_path, "a hat", prompt_position="end")
    assert after[0].prompt == "a cat a hat"


def test_options_set_fields_and_prompts_take_all_words_up_to_the_next_one(tmp_path: Path):
    text = (
        "--prompt a green hat --negative_prompt 'ugly, big' --steps 3 --cfg_scale 4.5 --sampler_name DDIM"
        " --styles 'one, two' --sd_model second --tiling true --do_not_save_samples true --width 128"
    )
    (request,), result = run(tmp_path, text)
    assert (request.prompt, request.negative_prompt) == ("a green hat a cat", "ugly, big blurry")
    assert (request.steps, request.cfg_scale, request.sampler_name) == (3, 4.5, "DDIM")
    assert (request.width, request.styles, request.sd_model_checkpoint) == (
        128,
        ("one", "two"),
        "second",
    )
    options = request.override_settings
    assert options["tiling"] and not options["samples_save"] and not options["return_grid"]
    assert result.notes == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--nonsense 3", "there is no option --nonsense"),
        ("--steps", "'--steps' has no value"),
        ("--steps many", "--steps is 'many'; a number is needed"),
        ("a -- b", "'a' is no option; options start with --"),
        ("--prompt 'a", "No closing quotation"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_prompt_with_a_note(tmp_path: Path, line: str, reason: str):
    (request,), result = run(tmp_path, line)
    assert request.prompt == f"{line} a cat"
    assert result.notes == (f"Line 1 was used as a prompt: {reason}.",)


def test_options_without_an_effect_are_named_once(tmp_path: Path):
    _, result = run(tmp_path, "--prompt a --outpath_samples /etc\n--prompt b --outpath_samples /")
    assert result.notes == ("The option --outpath_samples has no effect here.",)


def test_seeds_count_up_by_the_pictures_of_a_line(tmp_path: Path):
    requests, _ = run(tmp_path, "a\nb --seed 9\n--seed 7\nc", iterate_seed=True)
    assert [request.seed for request in requests] == [5, 7, 7, 11]


def test_a_random_seed_is_drawn_once_only_where_that_is_asked_for():
    random = FORM.replace(seed=-1)
    for args, is_fixed in (
        ({}, False),
        ({"same_seed": True}, True),
        ({"iterate_seed": True}, True),
    ):
        arguments = PromptsFromFileArgs(prompt_txt="a", **args)
        request, _ = prepare_prompts_from_file(random, arguments)
        assert (request.seed != -1) == is_fixed


def test_ten_thousand_lines_are_read_and_none_is_refused(tmp_path: Path):
    cells = next(run_prompts_from_file(FORM, PromptsFromFileArgs(prompt_txt="--oops\n" * 10_000)))
    assert len(cells) == 10_000 and cells[-1].name == "10000: --oops"
    with pytest.raises(UserError, match="There are no prompts"):
        prepare_prompts_from_file(FORM, PromptsFromFileArgs(prompt_txt=" \n\n"))

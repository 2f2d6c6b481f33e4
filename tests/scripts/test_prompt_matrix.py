from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings.saving import GridSettings
from modules.scripts.prompt_matrix import PromptMatrixArgs, run_prompt_matrix
from tests.scripts.script_runs import run_script

CAT = Txt2ImgRequest(
    prompt="a cat | ,in a hat, |at night",
    negative_prompt="x|y",
    width=64,
    height=64,
    seed=5,
    subseed=9,
    n_iter=3,
)


@pytest.mark.parametrize(
    ("args", "prompts"),
    [
        ({}, ["a cat ", "a cat , in a hat", "a cat , at night", "a cat , in a hat, at night"]),
        (
            {"put_at_start": True, "variations_delimiter": "space"},
            ["a cat ", "in a hat a cat ", "at night a cat ", "in a hat at night a cat "],
        ),
    ],
)
def test_bit_k_of_the_number_switches_part_k_on(
    tmp_path: Path, args: dict[str, object], prompts: list[str]
):
    _, requests, _ = run_script(run_prompt_matrix(CAT, PromptMatrixArgs(**args)), tmp_path)
    assert [request.prompt for request in requests] == prompts
    assert {(request.seed, request.n_iter) for request in requests} == {(5, 1)}
    assert [request.subseed for request in requests] == [9, 10, 11, 12]


def test_the_negative_prompt_can_vary_with_seeds_of_its_own(tmp_path: Path):
    args = PromptMatrixArgs(prompt_type="negative", different_seeds=True)
    _, requests, _ = run_script(run_prompt_matrix(CAT, args), tmp_path)
    assert [(r.negative_prompt, r.seed) for r in requests] == [("x", 5), ("x, y", 6)]
    assert {request.prompt for request in requests} == {CAT.prompt}


def test_the_grid_shows_all_with_margins_and_leaves_failed_ones_empty(tmp_path: Path):
    def draw(request: Txt2ImgRequest) -> Image.Image | None:
        return None if request.prompt == "a cat " else Image.new("RGB", (64, 64), "blue")

    args = PromptMatrixArgs(margin_size=10)
    _, _, result = run_script(run_prompt_matrix(CAT, args), tmp_path, draw)
    (made,) = result.images
    assert made.kind == "grid" and made.infotext.startswith("a cat , in a hat\n")
    assert callable(made.image)
    grid = made.image(GridSettings())
    left, top = grid.width - 138, grid.height - 138
    assert (left, top > 0) == (48, True)
    corners = [grid.getpixel((left + x, top + y)) for y in (5, 79) for x in (5, 79)]
    assert corners == [(255, 255, 255), (0, 0, 255), (0, 0, 255), (0, 0, 255)]


def test_a_prompt_without_parts_is_one_picture_with_a_grid_and_a_note(tmp_path: Path):
    single = CAT.replace(prompt="a cat")
    _, requests, result = run_script(run_prompt_matrix(single, PromptMatrixArgs()), tmp_path)
    assert [request.prompt for request in requests] == ["a cat"]
    (made,) = result.images
    assert callable(made.image) and made.image(GridSettings()).size == (64, 64)
    assert result.notes[0].startswith("The positive prompt has no | in it, so there is one picture")


def test_a_prompt_with_too_many_parts_is_refused():
    crowded = CAT.replace(prompt="a" + "|b" * 20)
    with pytest.raises(UserError, match="20 parts have 1048576 combinations; at most 10 parts"):
        next(run_prompt_matrix(crowded, PromptMatrixArgs()))

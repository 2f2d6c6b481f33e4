from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest
from modules.scripts.img2img_alternative import (
    IMG2IMG_ALTERNATIVE,
    Img2ImgAlternativeArgs,
    run_img2img_alternative,
)
from tests.scripts.script_runs import run_script

REQUEST = Img2ImgRequest(
    prompt="a dog",
    negative_prompt="blurry",
    init_image=ImageField.from_pil(Image.new("RGB", (64, 64), "blue")),
    denoising_strength=0.4,
    sampler_name="Heun",
    steps=7,
    width=64,
    height=64,
)


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [(True, ("a cat", "ugly", "Euler", 30, 1.0)), (False, ("a dog", "blurry", "Heun", 7, 0.4))],
)
def test_the_request_gets_the_way_to_its_noise_and_follows_it_where_that_is_asked_for(
    tmp_path: Path, overrides: bool, changed: tuple[Any, ...]
):
    args = Img2ImgAlternativeArgs(
        override_sampler=overrides,
        override_prompt=overrides,
        override_steps=overrides,
        override_strength=overrides,
        original_prompt="a cat",
        original_negative_prompt="ugly",
        decode_steps=30,
        randomness=0.25,
    )
    (cell,), (request,), _ = run_script(run_img2img_alternative(REQUEST, args), tmp_path)
    assert cell.name == ""
    assert (request.decode_prompt, request.decode_negative_prompt) == ("a cat", "ugly")
    assert (request.decode_steps, request.decode_cfg_scale) == (30, 1.0)
    assert (request.decode_randomness, request.decode_sigma_adjustment) == (0.25, False)
    result = (
        request.prompt,
        request.negative_prompt,
        request.sampler_name,
        request.steps,
        request.denoising_strength,
    )
    assert result == changed


def test_a_failure_is_that_of_its_only_job_and_a1111s_list_begins_with_a_text(tmp_path: Path):
    with pytest.raises(UserError, match="Too large"):
        run_script(
            run_img2img_alternative(REQUEST, Img2ImgAlternativeArgs()), tmp_path, lambda _: None
        )
    assert IMG2IMG_ALTERNATIVE.argument_order[:3] == ("", "override_sampler", "override_prompt")

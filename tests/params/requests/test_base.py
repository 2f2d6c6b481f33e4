from __future__ import annotations

import pytest
from PIL import Image
from pydantic import ValidationError

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.params.param import params_of, validate
from modules.params.requests.base import MAX_SEED
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest


def test_a_txt2img_request_has_sensible_defaults():
    request = Txt2ImgRequest()
    assert (request.width, request.height, request.steps) == (512, 512, 20)
    assert (request.sampler_name, request.scheduler, request.cfg_scale) == (
        "DPM++ 2M",
        "Automatic",
        7,
    )
    assert (request.seed, request.n_iter, request.batch_size) == (-1, 1, 1)
    assert request.task == "txt2img"


def test_a_request_cannot_be_changed_in_place():
    with pytest.raises(ValidationError):
        Txt2ImgRequest().steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_replace_returns_a_changed_copy_of_the_same_type():
    request = Txt2ImgRequest(prompt="a cat")
    changed = request.replace(steps=3, seed=5)
    assert isinstance(changed, Txt2ImgRequest)
    assert (changed.prompt, changed.steps, changed.seed) == ("a cat", 3, 5)
    assert request.steps == 20


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "Sampling steps is 0; the smallest valid value is 1."),
        ({"width": 513}, "Width is 513, not a multiple of 8; use 512 or 520."),
        ({"height": 8200}, "Height is 8200; the largest valid value is 8192."),
        ({"cfg_scale": 101}, "CFG Scale is 101; the largest valid value is 100."),
        ({"seed": -2}, "Seed is -2; the smallest valid value is -1."),
        ({"seed": 2**64}, f"Seed is {2**64}; the largest valid value is {MAX_SEED}."),
        ({"subseed": 2**64}, f"Variation seed is {2**64}; the largest valid value is {MAX_SEED}."),
        ({"batch_size": 65}, "Batch size is 65; the largest valid value is 64."),
        ({"n_iter": "two"}, "Batch count is 'two'; a number is needed."),
        ({"stepps": 3}, "There is no field 'stepps'."),
    ],
)
def test_replace_refuses_invalid_values(changes: dict[str, object], sentence: str):
    with pytest.raises(UserError) as caught:
        Txt2ImgRequest().replace(**changes)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", ["steps", "width", "height", "n_iter", "batch_size", "cfg_scale"])
def test_the_limits_of_a_slider_are_valid(name: str):
    low, high, _ = params_of(Txt2ImgRequest)[name].slider or (0, 0, 0)
    request = Txt2ImgRequest()
    assert request.replace(**{name: low})
    assert request.replace(**{name: high})


@pytest.mark.parametrize(
    "prompt", ["", "红色的圆", "👩‍🚀🌕", "a\nb\tc", "x" * 100_000, 'say "hi", now: go']
)
def test_a_prompt_may_have_any_length_and_script(prompt: str):
    assert validate(Txt2ImgRequest, {"prompt": prompt}).prompt == prompt


def test_a_depth_request_has_a1111s_defaults():
    request = DepthRequest()
    assert (request.init_image, request.depth_map, request.denoising_strength) == (None, None, 0.75)
    assert (request.task, request.output_subfolder) == ("depth2img", "img2img")
    assert Txt2ImgRequest().output_subfolder == "txt2img"


@pytest.mark.parametrize("strength", [-0.01, 1.01, "much"])
def test_a_denoising_strength_out_of_range_is_refused(strength):
    with pytest.raises(UserError, match="Denoising strength is"):
        validate(DepthRequest, {"denoising_strength": strength})


def test_a_request_can_be_copied_without_its_images():
    image = ImageField.from_pil(Image.new("RGB", (8, 8)))
    request = DepthRequest(prompt="a cat", init_image=image, depth_map=image)
    assert request.without_images() == DepthRequest(prompt="a cat")
    assert request.init_image == image
    assert Txt2ImgRequest(prompt="a cat").without_images() == Txt2ImgRequest(prompt="a cat")


@pytest.mark.parametrize(
    ("value", "seed"),
    [
        ("", -1),
        (" ", -1),
        ("3", 3),
        (" 4 ", 4),
        (5.0, 5),
        ("-1", -1),
        ("9007199254740993", 2**53 + 1),
        (2**63 + 1, 2**63 + 1),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_a_seed_may_be_text_and_an_empty_text_means_random(value: object, seed: int):
    request = validate(Txt2ImgRequest, {"seed": value, "subseed": value})
    assert (request.seed, request.subseed) == (seed, seed)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("abc", "Seed is 'abc'; a number is needed."),
        ("1.5", "Seed is 1.5; a whole number is needed."),
        (1.5, "Seed is 1.5; a whole number is needed."),
        (
            "18446744073709551616",
            "Seed is 18446744073709551616; the largest valid value is 18446744073709551615.",
        ),
        (10**400, f"Seed is {10**400}; the largest valid value is 18446744073709551615."),
        ("-2", "Seed is -2; the smallest valid value is -1."),
    ],
)
def test_an_invalid_seed_is_refused_and_never_rounded(value: object, sentence: str):
    with pytest.raises(UserError) as caught:
        validate(Txt2ImgRequest, {"seed": value})
    assert str(caught.value) == sentence

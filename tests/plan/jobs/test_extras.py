"""What the plan of a finished image says of its size, its infotext and its file."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from modules.core.errors import NotFound, Unsupported, UserError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.requests.extras import ExtrasRequest
from modules.params.settings import Settings
from modules.plan.jobs.extras import ExtrasPlan, plan_extras
from modules.plan.tables import PlanSources, PlanTables

RED = ImageField.from_pil(Image.new("RGB", (160, 96), "red"))
TO_256 = {"resize_mode": 1, "upscaling_resize_w": 256, "upscaling_resize_h": 256}
UPSCALED = "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"


@pytest.fixture
def sources(engine: Engine) -> PlanSources:
    return PlanSources(engine.models, PlanTables(), engine.paths.face_detector)


def plan(sources: PlanSources, options: dict[str, Any] | None = None, **fields: Any) -> ExtrasPlan:
    request = ExtrasRequest(**{"image": RED, "upscaler_1": "Lanczos", **fields})
    return plan_extras(request, Settings(**options or {}), sources)


@pytest.mark.parametrize(
    ("fields", "scale", "crop", "text"),
    [
        ({}, 2, None, UPSCALED),
        ({"upscaler_1": "lanczos"}, 2, None, UPSCALED),
        (
            {"upscaling_resize": 1.5, "max_side_length": 200},
            1.25,
            None,
            "Postprocess upscale by: 1.5, Max side length: 200, Postprocess upscaler: Lanczos",
        ),
        ({"max_side_length": 320}, 2, None, UPSCALED),
        (
            TO_256,
            256 / 96,
            (256, 256),
            "Postprocess upscale to: 256x256, Postprocess crop to: 256x256, Postprocess upscaler: Lanczos",
        ),
        (
            {**TO_256, "upscaling_crop": False, "max_side_length": 9},
            256 / 96,
            None,
            "Postprocess upscale to: 256x256, Postprocess upscaler: Lanczos",
        ),
        (
            {"upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.3},
            2,
            None,
            f"{UPSCALED}, Postprocess upscaler 2: Nearest",
        ),
        ({"upscaler_2": "Nearest"}, 2, None, UPSCALED),
    ],
)
def test_factor_crop_and_infotext_are_a1111s(
    sources: PlanSources,
    fields: dict[str, Any],
    scale: float,
    crop: tuple[int, int] | None,
    text: str,
):
    planned = plan(sources, **fields)
    assert planned.enlargement is not None
    assert (planned.enlargement.scale, planned.enlargement.crop) == (scale, crop)
    assert planned.postprocessing == text


def test_none_changes_nothing_and_says_nothing(sources: PlanSources):
    planned = plan(sources, upscaler_1="None", upscaler_2="Nearest")
    assert (planned.enlargement, planned.postprocessing) == (None, "")


def test_the_texts_of_the_source_are_kept(sources: PlanSources):
    texts = {"parameters": "a cat\nSteps: 20, Seed: 5", "workflow": "{}"}
    planned = plan(sources, source_texts=texts)
    assert planned.image_infotext(0) == f"a cat\nSteps: 20, Seed: 5, {UPSCALED}"
    assert planned.image_chunks(0) == {**texts, "postprocessing": UPSCALED}
    assert plan(sources, source_texts={"parameters": "a cat"}).image_infotext(0) == (
        f"a cat\n{UPSCALED}"
    )
    assert plan(sources).image_infotext(0) == UPSCALED


def test_the_file_is_named_by_the_options(sources: PlanSources):
    named = plan(sources, source_name="my cat").image_destination()
    assert named is not None and (named.folder, named.stem) == ("extras-images", "my cat")
    suffix = {"use_upscaler_name_as_suffix": True}
    named = plan(sources, suffix, source_name="my cat").image_destination()
    assert named is not None and named.stem == "my cat-Lanczos"
    numbered = plan(sources, {"use_original_name_batch": False}, source_name="my cat")
    assert numbered.image_destination() is None
    assert numbered.settings.samples_filename_pattern == "[none]"
    assert plan(sources, suffix).settings.samples_filename_pattern == "Lanczos"
    assert not plan(sources, save_output=False).settings.samples_save


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"image": None}, UserError, r"There is no picture\. Choose one to enlarge\."),
        ({"upscaler_1": "Lanczo"}, NotFound, "'Lanczos'"),
        ({"upscaler_1": "Latent"}, Unsupported, "'Latent' upscales latents, not finished pictures"),
        (
            {"gfpgan_visibility": 0.5},
            Unsupported,
            r"GFPGAN has no file\. Put GFPGANv1\.4\.pth from .* into models/GFPGAN",
        ),
        ({"codeformer_visibility": 1}, Unsupported, "CodeFormer has no file"),
        (
            {"resize_mode": 1, "upscaling_resize_w": 20000, "upscaling_resize_h": 20000},
            UserError,
            r"33328x20000 pixels, 667 million, .* at most 68 million .* 'Largest result of upscaling'",
        ),
    ],
)
def test_what_cannot_be_done_is_told_before_the_job_is_queued(
    sources: PlanSources, fields: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        plan(sources, **fields)

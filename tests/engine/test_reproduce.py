from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context, read_infotext
from modules.engine.reproduce import (
    ReproductionResult,
    compare_reproduction,
    parse_for_reproduction,
)
from modules.images.metadata import Metadata, read_metadata
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

TEXT = "a cat\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x64, Model: first, Version: v1.10.1"
PICTURE = Image.new("RGB", (64, 64), "red")


def file_of(text: str, format: str = "PNG") -> Metadata:
    return Metadata(format, (64, 64), {"parameters": text})


def verdict_on(
    engine: Engine, again: Image.Image, text: str = TEXT, format: str = "PNG"
) -> ReproductionResult:
    metadata = file_of(text, format)
    reading = parse_for_reproduction(metadata, make_infotext_context(engine))
    return compare_reproduction(
        PICTURE, metadata, reading, again, "a cat\nSteps: 4, Model hash: 6ce0161689, Seed: 3"
    )


def test_a_picture_of_ours_comes_back_the_same(engine: Engine):
    job = engine.submit(Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7))
    assert job.wait(PATIENCE_S)
    (made,) = job.status().images
    metadata = read_metadata(made.path.read_bytes())
    reading = parse_for_reproduction(metadata, make_infotext_context(engine))
    again = engine.submit(reading.to_request())
    assert again.wait(PATIENCE_S)
    (second,) = again.status().images
    assert second.infotext == made.infotext
    with Image.open(made.path) as original, Image.open(second.path) as copy:
        verdict = compare_reproduction(original, metadata, reading, copy, second.infotext)
    assert verdict.sentence == "Identical: all 4096 pixels are the same."
    assert verdict.caveats == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The picture's file does not tell how it was made."),
        ("a cat", "The picture's file does not tell how it was made."),
        (TEXT + ", Denoising strength: 0.5", "The picture was made from another picture"),
        (TEXT + ", Mask blur: 4", "The picture was made from another picture"),
        (
            TEXT.replace("Euler a", "Jump"),
            "The picture cannot be made again here. Sampler (Jump): There is no sampler",
        ),
        (
            TEXT.replace("64x64", "65x64"),
            "The picture cannot be made again here. Size (65x64): Width is 65",
        ),
        (
            "a\nSteps: 4, Sampler: Euler, Odd: 1",
            "The picture's file does not tell enough to make it again: Seed, Size, C",
        ),
    ],
)
def test_what_cannot_be_made_again_is_said_in_words(engine: Engine, text: str, sentence: str):
    with pytest.raises(UserError) as caught:
        parse_for_reproduction(file_of(text), make_infotext_context(engine))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("level", "format", "start"),
    [
        (255, "PNG", "Identical: all 4096 pixels are the same."),
        (
            253,
            "PNG",
            "The same but for rounding: the largest difference is 2 of 255, the mean 0.67, and 100.0%",
        ),
        (
            250,
            "JPEG",
            "As alike as a JPEG file can tell, which keeps no exact pixels: the largest difference is 5",
        ),
        (250, "PNG", "Nearly the same: "),
        (100, "JPEG", "Not the same: the largest difference is 155 of 255"),
    ],
)
def test_the_verdict_says_how_alike_they_are(engine: Engine, level: int, format: str, start: str):
    verdict = verdict_on(engine, Image.new("RGB", (64, 64), (level, 0, 0)), format=format)
    assert verdict.sentence.startswith(start)
    assert verdict.comparison is not None


def test_where_the_noise_was_drawn_is_listed_when_it_may_have_mattered(engine: Engine):
    other = Image.new("RGB", (64, 64))
    said = "The noise was drawn on a graphics card; an NVIDIA card's is assumed."
    assert said in verdict_on(engine, other).caveats
    assert said not in verdict_on(engine, PICTURE).caveats
    assert said not in verdict_on(engine, other, TEXT + ", RNG: CPU").caveats


def test_a_picture_that_was_resized_is_told(engine: Engine):
    verdict = verdict_on(engine, Image.new("RGB", (128, 64)))
    assert verdict.sentence.startswith(
        "Not the same: the picture has 64x64 pixels and the new one 128x64;"
    )
    assert verdict.comparison is None


def test_what_could_not_be_matched_is_listed(engine: Engine):
    text = TEXT.replace("Model: first", "Model: gone, Model hash: 0123456789, Odd key: 1")
    assert verdict_on(engine, PICTURE, text).caveats == (
        "The picture was made with gone [0123456789], which is not here. Put the file into the checkpoints' folder.",
        "Odd key (1): nothing here knows this key.",
        "Model hash is 6ce0161689 here and was 0123456789.",
    )


def test_another_version_of_this_program_is_listed(engine: Engine):
    text = TEXT.replace("Version: v1.10.1", "App: stable-diffusion-webui 0.0.9")
    assert verdict_on(engine, PICTURE, text).caveats == (
        "It was made with version 0.0.9; this is 0.1.0.",
    )


def test_an_infotext_is_read_with_the_engines_own_tables(engine: Engine):
    engine.samplers.add(replace(engine.samplers.get("Euler"), name="Jump", aliases=()))
    reading = read_infotext(engine, TEXT.replace("Euler a", "Jump"), Txt2ImgRequest)
    assert reading.values["sampler_name"] == "Jump"
    assert reading.values["sd_model_checkpoint"] == "first.safetensors"

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context, read_infotext
from modules.engine.reproduce import (
    ReproductionResult,
    compare_reproduction,
    parse_for_reproduction,
    rerun_image,
)
from modules.images.metadata import Metadata, read_metadata
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

TEXT = "a cat\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x64, Model: first, Version: v1.10.1"
ORIGINAL = Image.new("RGB", (64, 64), "red")
FOUR_IMAGES = Txt2ImgRequest(
    prompt="a cat", width=64, height=64, steps=2, seed=7, n_iter=2, batch_size=2
)


def metadata_of(text: str, format: str = "PNG") -> Metadata:
    return Metadata(format, (64, 64), {"parameters": text})


def compare_with(
    engine: Engine, reproduction: Image.Image, text: str = TEXT, format: str = "PNG"
) -> ReproductionResult:
    metadata = metadata_of(text, format)
    parsed = parse_for_reproduction(metadata, make_infotext_context(engine))
    return compare_reproduction(
        ORIGINAL, metadata, parsed, reproduction, "a cat\nSteps: 4, Model hash: 6ce0161689, Seed: 3"
    )


def test_an_own_image_is_reproduced_identically(engine: Engine):
    job = engine.submit(Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7))
    assert job.wait(PATIENCE_S)
    (first,) = job.status().images
    metadata = read_metadata(first.path.read_bytes())
    parsed = parse_for_reproduction(metadata, make_infotext_context(engine))
    new_job = engine.submit(parsed.to_request())
    assert new_job.wait(PATIENCE_S)
    (second,) = new_job.status().images
    assert second.infotext == first.infotext
    with Image.open(first.path) as original, Image.open(second.path) as copy:
        verdict = compare_reproduction(original, metadata, parsed, copy, second.infotext)
    assert verdict.sentence == "Identical: all 4096 pixels are the same."
    assert verdict.caveats == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The picture's file contains no generation parameters."),
        ("a cat", "The picture's file contains no generation parameters."),
        (TEXT + ", Denoising strength: 0.5", "The picture was made from another picture"),
        (TEXT + ", Mask blur: 4", "The picture was made from another picture"),
        (
            TEXT.replace("Euler a", "Jump"),
            "The picture cannot be reproduced here. Sampler (Jump): There is no sampler",
        ),
        (
            TEXT.replace("64x64", "64x9000"),
            "The picture cannot be reproduced here. Size (64x9000): Height is 9000",
        ),
        (
            "a\nSteps: 4, Sampler: Euler, Odd: 1",
            "The picture's file lacks parameters that are needed to reproduce it: Seed, Size, C",
        ),
    ],
)
def test_an_image_that_cannot_be_reproduced_is_refused_with_the_reason(
    engine: Engine, text: str, message: str
):
    with pytest.raises(UserError) as caught:
        parse_for_reproduction(metadata_of(text), make_infotext_context(engine))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("red", "format", "start"),
    [
        (255, "PNG", "Identical: all 4096 pixels are the same."),
        (
            253,
            "PNG",
            "The same except for rounding: the largest difference is 2 of 255, the mean 0.67, and 100.0%",
        ),
        (
            250,
            "JPEG",
            "As similar as a JPEG file can show, because its compression is lossy: the largest difference is 5",
        ),
        (250, "PNG", "Nearly the same: "),
        (100, "JPEG", "Not the same: the largest difference is 155 of 255"),
    ],
)
def test_the_verdict_states_how_similar_the_images_are(
    engine: Engine, red: int, format: str, start: str
):
    verdict = compare_with(engine, Image.new("RGB", (64, 64), (red, 0, 0)), format=format)
    assert verdict.sentence.startswith(start)
    assert verdict.comparison is not None


def test_the_noise_source_is_listed_when_it_may_have_mattered(engine: Engine):
    other = Image.new("RGB", (64, 64))
    caveat = "The noise was generated on a graphics card; an NVIDIA card is assumed."
    assert caveat in compare_with(engine, other).caveats
    assert caveat not in compare_with(engine, ORIGINAL).caveats
    assert caveat not in compare_with(engine, other, TEXT + ", RNG: CPU").caveats


def test_a_resized_image_is_reported(engine: Engine):
    verdict = compare_with(engine, Image.new("RGB", (128, 64)))
    assert verdict.sentence.startswith(
        "Not the same: the picture has 64x64 pixels and the new one 128x64;"
    )
    assert verdict.comparison is None


def test_what_could_not_be_matched_is_listed(engine: Engine):
    text = TEXT.replace("Model: first", "Model: gone, Model hash: 0123456789, Odd key: 1")
    assert compare_with(engine, ORIGINAL, text).caveats == (
        "The picture was made with gone [0123456789], which is not here. Put the file into the checkpoints' folder.",
        "Odd key (1): this key is unknown.",
        "Model hash is 6ce0161689 here and was 0123456789.",
    )


def test_another_version_of_this_program_is_listed(engine: Engine):
    text = TEXT.replace("Version: v1.10.1", "App: stable-diffusion-webui 0.0.9")
    assert compare_with(engine, ORIGINAL, text).caveats == (
        "It was made with version 0.0.9; this is 0.1.0.",
    )


def test_an_infotext_is_read_with_the_engines_registries(engine: Engine):
    engine.samplers.add(replace(engine.samplers.get("Euler"), name="Jump", aliases=()))
    parsed = read_infotext(engine, TEXT.replace("Euler a", "Jump"), Txt2ImgRequest)
    assert parsed.values["sampler_name"] == "Jump"
    assert parsed.values["sd_model_checkpoint"] == "first.safetensors"


@pytest.mark.parametrize(("strength", "seed", "subseed"), [(0.0, 10, 103), (0.5, 7, 103)])
def test_rerun_makes_a_single_image_from_its_own_seeds(engine: Engine, strength, seed, subseed):
    job = engine.submit(FOUR_IMAGES.replace(subseed=100, subseed_strength=strength))
    assert job.wait(PATIENCE_S)
    new_job = rerun_image(engine.queue, job.id, 3)
    assert new_job.plan.record
    assert new_job.wait(PATIENCE_S)
    request = new_job.plan.request
    assert (request.prompt, request.n_iter, request.batch_size) == ("a cat", 1, 1)
    assert (request.seed, request.subseed) == (seed, subseed)
    assert new_job.status().images[0].seed == job.status().images[3].seed


def test_an_unknown_job_cannot_be_rerun(engine: Engine):
    with pytest.raises(NotFound):
        rerun_image(engine.queue, "nothing", 0)

from __future__ import annotations

import io

import pytest
from PIL import Image

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.page.png_info import (
    ImageFacts,
    Reproduction,
    compare_with_upload,
    read_image_facts,
    start_reproduction,
)
from modules.engine.page.uploads import UploadStore, make_upload_store
from modules.images.metadata import make_exif_bytes, make_png_info
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

TEXT = "a cat\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x64, Model: first, Odd: 1"


def png(text: str = TEXT, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (side, side), (3, 0, 0))  # what seed 3 draws here
    image.save(buffer, "PNG", pnginfo=make_png_info(text) if text else None)
    return buffer.getvalue()


@pytest.fixture
def uploads(engine: Engine) -> UploadStore:
    return make_upload_store(engine)


@pytest.fixture
def upload(uploads: UploadStore) -> str:
    return uploads.add(png()).id


def compare(engine: Engine, uploads: UploadStore, job_id: str) -> Reproduction:
    return compare_with_upload(engine, uploads, job_id, engine.status(job_id))


def test_the_fields_of_an_image_are_told_with_the_reason_of_those_not_applied(engine: Engine):
    facts = read_image_facts(engine, png())
    rows = {row.key: (row.value, row.reason) for row in facts.fields}
    assert "Steps: 4, Sampler: Euler a" in facts.text
    assert facts.origin == "A1111"
    assert rows["Prompt"] == ("a cat", "")
    assert rows["Steps"] == ("4", "")
    assert rows["Odd"] == ("1", "this key is unknown.")


def test_a_missing_model_is_told(engine: Engine):
    facts = read_image_facts(engine, png(TEXT.replace("Model: first", "Model: gone")))
    assert any("gone, which is not here" in sentence for sentence in facts.missing_files)


def test_an_image_without_metadata_has_no_facts(engine: Engine):
    assert read_image_facts(engine, png("")) == ImageFacts("")


@pytest.mark.parametrize(
    ("data", "sentence"), [(b"", "file is empty"), (b"no picture", "The picture is not a PNG")]
)
def test_a_file_that_is_not_an_image_is_an_error(engine: Engine, data: bytes, sentence: str):
    with pytest.raises(UserError, match=sentence):
        read_image_facts(engine, data)


def test_an_image_is_reproduced_and_compared(engine: Engine, uploads: UploadStore, upload: str):
    job_id = start_reproduction(engine, uploads, upload)
    assert engine.job(job_id).wait(PATIENCE_S)
    reproduction = compare(engine, uploads, job_id)
    assert reproduction.upload_id == upload
    assert reproduction.result.sentence == "Identical: all 4096 pixels are the same."
    assert "Odd (1): this key is unknown." in reproduction.result.caveats


def test_a_reproduction_is_followed_like_a_single_job(
    engine: Engine, uploads: UploadStore, upload: str, executor: FakeExecutor
):
    executor.hold_at(2)
    job_id = start_reproduction(engine, uploads, upload)
    assert executor.held.wait(PATIENCE_S)
    status = engine.status(job_id)
    assert (status.phase, status.progress.step, status.image_count) == ("Sampling", 1, 1)
    engine.interrupt(job_id)
    executor.release()
    assert engine.job(job_id).wait(PATIENCE_S)
    with pytest.raises(WebUIError, match="Interrupted: 0 of 1 pictures were finished"):
        compare(engine, uploads, job_id)


def test_a_failed_reproduction_is_an_error(
    engine: Engine, uploads: UploadStore, upload: str, executor: FakeExecutor
):
    executor.failures.append(UserError("Too large."))
    job_id = start_reproduction(engine, uploads, upload)
    assert engine.job(job_id).wait(PATIENCE_S)
    with pytest.raises(WebUIError, match="Too large"):
        compare(engine, uploads, job_id)


def test_an_image_is_compared_after_a_restart(
    engine: Engine,
    uploads: UploadStore,
    upload: str,
    executor: FakeExecutor,
    tokenizer: ClipTokenizer,
):
    executor.hold_at(2)
    executor.release_at_stop()
    job_id = start_reproduction(engine, uploads, upload)
    assert executor.held.wait(PATIENCE_S)
    engine.stop()
    restarted = Engine(engine.paths, FakeExecutor(), tokenizer, engine.registries)
    restarted.start()
    assert restarted.job(job_id).wait(PATIENCE_S)
    result = compare(restarted, make_upload_store(restarted), job_id).result
    restarted.stop()
    assert result.sentence == "Identical: all 4096 pixels are the same."


def test_another_job_is_not_compared(engine: Engine, uploads: UploadStore):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=2))
    assert job.wait(PATIENCE_S)
    with pytest.raises(WebUIError, match="no longer known"):
        compare(engine, uploads, job.id)


def test_an_img2img_image_is_shown_but_not_reproduced(engine: Engine, uploads: UploadStore):
    buffer = io.BytesIO()
    text = f"{TEXT}, Denoising strength: 0.5, Mask blur: 4"
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", exif=make_exif_bytes(text))
    rows = {
        row.key: (row.value, row.reason)
        for row in read_image_facts(engine, buffer.getvalue()).fields
    }
    assert rows["Mask blur"] == ("4", "")
    upload = uploads.add(buffer.getvalue()).id
    with pytest.raises(UserError, match="made from another picture"):
        start_reproduction(engine, uploads, upload)

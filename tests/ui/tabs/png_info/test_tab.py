from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.images.metadata import make_exif_bytes, make_png_info
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, build_override_settings
from modules.ui.tabs.png_info.reproduce import Reproduction
from modules.ui.tabs.png_info.tab import InfotextSender, PngInfo
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

TEXT = "a cat\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x64, Model: first, Odd: 1"


@pytest.fixture
def upload(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "upload.png"
    Image.new("RGB", (64, 64), (3, 0, 0)).save(
        path, pnginfo=make_png_info(TEXT)
    )  # what seed 3 draws here
    return {"path": str(path)}


def test_infotext_and_fields_of_an_image_are_shown(engine: Engine, upload: dict[str, Any]):
    text, fields, _, _, _, message = PngInfo(engine).show(upload)
    assert "Steps: 4, Sampler: Euler a" in text
    assert "<td>Odd</td><td>1</td><td>this key is unknown.</td>" in fields
    assert message == ""


@pytest.mark.parametrize(
    ("content", "index", "sentence"),
    [
        (b"", 5, "file is empty"),
        (b"no picture", 5, "The picture is not a PNG"),
        (None, 5, "no longer on the server"),
    ],
)
def test_a_file_that_is_not_an_image_is_an_error(
    engine: Engine, tmp_path: Path, content: bytes | None, index: int, sentence: str
):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    outputs = PngInfo(engine).show({"path": str(path)})
    assert sentence in outputs[index]
    assert sentence in Reproduction(engine).submit({"path": str(path)})[1]


def test_an_image_without_metadata_shows_a_note(engine: Engine, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    assert (
        "contains no generation parameters"
        in PngInfo(engine).show({"path": str(tmp_path / "bare.png")})[2]
    )
    assert PngInfo(engine).show(None)[:3] == ("", "", "")


def test_an_image_is_reproduced_and_compared(engine: Engine, upload: dict[str, Any]):
    job_id, message, _ = Reproduction(engine).submit(upload)
    assert message == ""
    assert engine.job(job_id).wait(PATIENCE_S)
    _, verdict, gallery = Reproduction(engine).collect(job_id)
    assert "Identical: all 4096 pixels are the same." in verdict
    assert "<li>Odd (1): this key is unknown.</li>" in verdict
    assert [caption for _, caption in gallery.constructor_args["value"]] == [
        "The picture",
        "Made again",
        "The difference",
    ]


def test_a_reproduction_is_followed_like_a_single_job(
    engine: Engine, upload: dict[str, Any], executor: FakeExecutor
):
    executor.hold_at(2)
    job_id, _, _ = Reproduction(engine).submit(upload)
    assert executor.held.wait(PATIENCE_S)
    status = engine.status(job_id)
    assert (status.phase, status.progress.step, status.image_count) == ("Sampling", 1, 1)
    engine.interrupt(job_id)
    executor.release()
    assert engine.job(job_id).wait(PATIENCE_S)
    message, verdict, _ = Reproduction(engine).collect(job_id)
    assert "Interrupted: 0 of 1 pictures were finished." in message
    assert verdict == ""


def test_a_failed_reproduction_is_an_error(
    engine: Engine, upload: dict[str, Any], executor: FakeExecutor
):
    executor.failures.append(UserError("Too large."))
    job_id, _, _ = Reproduction(engine).submit(upload)
    assert engine.job(job_id).wait(PATIENCE_S)
    assert "Too large." in Reproduction(engine).collect(job_id)[0]


def test_an_image_is_compared_after_a_restart(
    engine: Engine,
    upload: dict[str, Any],
    executor: FakeExecutor,
    tokenizer: ClipTokenizer,
):
    executor.hold_at(2)
    executor.release_at_stop()
    job_id, _, _ = Reproduction(engine).submit(upload)
    assert executor.held.wait(PATIENCE_S)
    engine.stop()
    restarted = Engine(engine.paths, FakeExecutor(), tokenizer, engine.registries)
    restarted.start()
    assert restarted.job(job_id).wait(PATIENCE_S)
    _, verdict, _ = Reproduction(restarted).collect(job_id)
    restarted.stop()
    assert "Identical: all 4096 pixels are the same." in verdict


def test_another_job_is_not_compared(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=2))
    assert job.wait(PATIENCE_S)
    assert "This job is no longer known." in Reproduction(engine).collect(job.id)[0]


def test_an_img2img_image_is_shown_but_not_reproduced(engine: Engine, tmp_path: Path):
    path = tmp_path / "inpainted.jpg"
    Image.new("RGB", (64, 64)).save(
        path, exif=make_exif_bytes(f"{TEXT}, Denoising strength: 0.5, Mask blur: 4")
    )
    job_id, message, _ = Reproduction(engine).submit({"path": str(path)})
    assert job_id == ""
    assert "made from another picture" in message
    _, fields, *_ = PngInfo(engine).show({"path": str(path)})
    assert "<tr><td>Mask blur</td><td>4</td><td></td></tr>" in fields


def test_fields_and_image_are_sent_to_a_tab(engine: Engine, upload: dict[str, Any]):
    message = gr.HTML()
    with gr.Blocks():
        txt2img, img2img = (
            Form(Txt2ImgRequest, engine, "txt2img"),
            Form(Img2ImgRequest, engine, "img2img"),
        )
        for form in (txt2img, img2img):
            form.add_remaining_fields()
            form.extra_components[OVERRIDE_SETTINGS] = build_override_settings(form.prefix)
    sent = InfotextSender(engine, txt2img, message).send(upload)
    assert (sent[txt2img.components["prompt"]], sent[txt2img.components["steps"]]) == ("a cat", 4)
    sent = InfotextSender(engine, img2img, message).send(upload)
    assert sent[img2img.components["init_image"]] == upload["path"]
    assert sent[img2img.components["seed"]] == 3
    sent = InfotextSender(engine, txt2img, message).send(None)
    assert "Upload a picture first." in sent[message]

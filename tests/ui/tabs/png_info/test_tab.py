from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.images.metadata import make_exif_bytes, make_png_info
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, build_override_settings
from modules.ui.tabs.png_info.reproduce import _collector, _submitter
from modules.ui.tabs.png_info.tab import _sender, _shower
from tests.engine.fake_executor import PATIENCE_S

TEXT = "a cat\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x64, Model: first, Odd: 1"


@pytest.fixture
def upload(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "upload.png"
    Image.new("RGB", (64, 64), (3, 0, 0)).save(
        path, pnginfo=make_png_info(TEXT)
    )  # what seed 3 draws here
    return {"path": str(path)}


def test_a_picture_is_told(engine: Engine, upload: dict[str, Any]):
    text, fields, _, _, _, message = _shower(engine)(upload)
    assert "Steps: 4, Sampler: Euler a" in text
    assert "<td>Odd</td><td>1</td><td>nothing here knows this key.</td>" in fields
    assert message == ""


@pytest.mark.parametrize(
    ("content", "place", "sentence"),
    [
        (b"", 5, "file is empty"),
        (b"no picture", 5, "The picture is not a PNG"),
        (None, 5, "no longer on the server"),
    ],
)
def test_a_file_that_is_no_picture_is_told_in_one_sentence(
    engine: Engine, tmp_path: Path, content: bytes | None, place: int, sentence: str
):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    shown = _shower(engine)({"path": str(path)})
    assert sentence in shown[place]
    assert sentence in _submitter(engine)({"path": str(path)})[2]


def test_a_picture_without_metadata_says_so(engine: Engine, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    assert (
        "does not tell how it was made" in _shower(engine)({"path": str(tmp_path / "bare.png")})[2]
    )
    assert _shower(engine)(None)[:3] == ("", "", "")


def test_a_picture_is_made_again_and_compared(engine: Engine, upload: dict[str, Any]):
    asked, job_id, message, _ = _submitter(engine)(upload)
    assert (message, asked) == ("", (job_id, upload))
    assert engine.job(job_id).wait(PATIENCE_S)
    _, verdict, gallery = _collector(engine)(job_id, asked)
    assert "Identical: all 4096 pixels are the same." in verdict
    assert "<li>Odd (1): nothing here knows this key.</li>" in verdict
    assert [caption for _, caption in gallery.constructor_args["value"]] == [
        "The picture",
        "Made again",
        "The difference",
    ]


def test_a_reload_during_the_job_loses_the_comparison_and_says_so(
    engine: Engine, upload: dict[str, Any]
):
    _, job_id, _, _ = _submitter(engine)(upload)
    assert engine.job(job_id).wait(PATIENCE_S)
    assert "press Reproduce again" in _collector(engine)(job_id, None)[0]


def test_a_picture_made_from_a_picture_is_not_reproduced_but_told(engine: Engine, tmp_path: Path):
    path = tmp_path / "inpainted.jpg"
    Image.new("RGB", (64, 64)).save(
        path, exif=make_exif_bytes(f"{TEXT}, Denoising strength: 0.5, Mask blur: 4")
    )
    asked, job_id, message, _ = _submitter(engine)({"path": str(path)})
    assert (asked, job_id) == (None, "")
    assert "made from another picture" in message
    _, fields, *_ = _shower(engine)({"path": str(path)})
    assert "<tr><td>Mask blur</td><td>4</td><td></td></tr>" in fields


def test_fields_and_picture_are_sent_to_a_tab(engine: Engine, upload: dict[str, Any]):
    message = gr.HTML()
    with gr.Blocks():
        words, picture = (
            Form(Txt2ImgRequest, engine, "txt2img"),
            Form(Img2ImgRequest, engine, "img2img"),
        )
        for form in (words, picture):
            form.add_remaining_fields()
            form.extra_components[OVERRIDE_SETTINGS] = build_override_settings(form.prefix)
    sent = _sender(engine, words, message)(upload)
    assert (sent[words.components["prompt"]], sent[words.components["steps"]]) == ("a cat", 4)
    sent = _sender(engine, picture, message)(upload)
    assert sent[picture.components["init_image"]] == upload["path"]
    assert sent[picture.components["seed"]] == 3
    assert "Put a picture in first." in _sender(engine, words, message)(None)[message]

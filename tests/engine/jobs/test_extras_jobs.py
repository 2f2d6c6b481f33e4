"""Extras as jobs: saved with the texts of their source, many of a folder as a group, waiting ones after a restart."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.engine.engine import Engine
from modules.engine.page.file_batch import start_file_batch
from modules.engine.page.job_images import values_to_send
from modules.engine.page.requests import make_page_request
from modules.engine.page.uploads import make_upload_store
from modules.params.requests.extras import ExtrasRequest
from modules.plan.jobs.extras import read_source
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

PARAMETERS = (
    "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7.0, Seed: 18446744073709551615, Size: 16x8"
)
DONE = "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"


def encode(text: str = "", colour: str = "red") -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    if text:
        info.add_text("parameters", text)
    info.add_text("workflow", "{}")
    Image.new("RGB", (16, 8), colour).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def request(data: bytes) -> ExtrasRequest:
    return ExtrasRequest(**read_source(data), upscaler_1="Lanczos")


def test_a_result_is_saved_with_the_texts_of_its_source(engine: Engine):
    job = engine.submit(request(encode(PARAMETERS)))
    assert job.wait(PATIENCE_S)
    (image,) = job.status().images
    assert image.path == engine.paths.outputs / "extras-images" / "00000.png"
    assert (image.size, image.seed) == ((32, 16), 2**64 - 1)
    assert image.infotext == f"{PARAMETERS}, {DONE}"
    with Image.open(image.path) as file:
        assert file.info["parameters"] == PARAMETERS
        assert (file.info["workflow"], file.info["postprocessing"]) == ("{}", DONE)
    sent = values_to_send(engine, job.id, 0)
    assert (sent["prompt"], sent["steps"], sent["width"]) == ("a cat", 20, 32)


def test_one_format_with_room_for_one_text_has_both_in_it(engine: Engine):
    engine.change_settings({"samples_format": "jpg"})
    job = engine.submit(request(encode("a cat")))
    assert job.wait(PATIENCE_S)
    (image,) = job.status().images
    with Image.open(image.path) as file:
        comment = file.getexif().get_ifd(0x8769)[0x9286]
    assert comment.removeprefix(b"UNICODE\0").decode("utf-16-be") == f"a cat\n{DONE}"
    assert values_to_send(engine, job.id, 0) == {"width": 32, "height": 16}, "it has no parameters"


def test_a_folder_of_the_server_becomes_a_job_for_each_picture(engine: Engine):
    folder = engine.paths.data / "inputs" / "holidays"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / f"{name}.png").write_bytes(encode(PARAMETERS))
    (folder / "three.png").write_bytes(b"no picture")
    values = {"upscaler_1": "Nearest", "batch_folder": "inputs/holidays", "image": None}
    group = start_file_batch(engine, "extras", values)
    assert group.wait(PATIENCE_S)
    status = group.status()
    assert [image.path.name for image in status.images] == ["one.png", "two.png"]
    assert {image.path.parent.name for image in status.images} == {"extras-images"}
    (note,) = status.notes
    assert note.startswith("three.png: The picture is not a PNG")


def test_the_page_sends_an_upload_with_its_texts(engine: Engine):
    upload = make_upload_store(engine).add(encode(PARAMETERS))
    values = {"image": upload.id, "upscaler_1": "Lanczos", "override_settings": {}}
    made = make_page_request(engine, "extras", values)
    assert isinstance(made, ExtrasRequest)
    assert made.source_texts == {"parameters": PARAMETERS, "workflow": "{}"}
    assert made.source_name == ""


def test_a_waiting_job_is_made_after_a_restart_with_its_picture(start_engine: Callable[..., Any]):
    first, _ = start_engine()
    first.queue.pause()
    waiting = first.submit(request(encode(PARAMETERS, "blue")))
    first.stop()
    second, _ = start_engine(queue_after_restart="resumed")
    assert second.job(waiting.id).wait(PATIENCE_S)
    (image,) = second.status(waiting.id).images
    with Image.open(image.path) as file:
        assert file.getpixel((3, 3)) == (0, 0, 255)
        assert file.info["postprocessing"] == DONE


def test_it_waits_in_the_queue_and_can_be_cancelled_and_retried(
    engine: Engine, executor: FakeExecutor
):
    engine.queue.pause()
    job = engine.submit(request(encode()))
    job.interrupt()
    assert job.status().error == "Interrupted: 0 of 1 pictures were finished."
    engine.queue.resume()
    again = engine.queue.retry(job.id)
    assert again.wait(PATIENCE_S)
    assert [image.size for image in again.status().images] == [(32, 16)]
    executor.wait_until_idle()
    assert Path(again.status().images[0].path).is_file()

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.file_batch import FileBatch
from modules.params.requests.base import GenerationRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

FILES = [Path(f"{name}.png") for name in ("ant", "bee", "cat")]


def make_request(file: Path) -> GenerationRequest:
    if file.stem == "bee":
        raise UserError("The picture is damaged.")
    return Txt2ImgRequest(prompt=file.stem, width=64, height=64, steps=2, seed=5)


def wait_for(batch: FileBatch) -> FileBatch:
    assert batch.wait(PATIENCE_S)
    return batch


def test_each_file_becomes_an_image_of_the_same_name_and_a_failed_file_is_reported(engine: Engine):
    status = wait_for(engine.file_batches.start(FILES, make_request, "zoo")).status()
    assert status.state == "done"
    assert status.notes == ("bee.png: The picture is damaged.",)
    assert [image.path for image in status.images] == [
        engine.paths.outputs / "zoo" / name for name in ("ant.png", "cat.png")
    ]
    assert [image.index for image in status.images] == [0, 1]
    with Image.open(status.images[1].path) as image:
        assert image.info["parameters"].startswith("cat\n")


def test_an_existing_file_is_not_overwritten(engine: Engine):
    wait_for(engine.file_batches.start(FILES[:1], make_request, "zoo"))
    second = wait_for(engine.file_batches.start(FILES[:1], make_request, "zoo")).status()
    assert [image.path.name for image in second.images] == ["ant-1.png"]
    assert len(list((engine.paths.outputs / "zoo").iterdir())) == 2


def test_without_a_folder_images_are_saved_as_usual(engine: Engine):
    status = wait_for(engine.file_batches.start(FILES[:1], make_request)).status()
    assert status.images[0].path.parts[-3] == "txt2img-images"


def test_a_failed_job_is_reported_and_the_batch_continues(engine: Engine, executor: FakeExecutor):
    executor.failures.append(UserError("Too large."))
    status = wait_for(engine.file_batches.start([FILES[0], FILES[2]], make_request)).status()
    assert (status.state, status.notes, len(status.images)) == ("done", ("ant.png: Too large.",), 1)


def test_a_batch_without_any_image_has_failed(engine: Engine):
    status = wait_for(engine.file_batches.start(FILES[1:2], make_request)).status()
    assert (status.state, status.images) == ("failed", ())


def test_a_batch_is_found_and_followed_like_a_job(engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    batch = engine.file_batches.start(FILES, make_request)
    assert executor.held.wait(PATIENCE_S)
    status = engine.job(batch.id).status()
    assert (status.state, status.image_count) == ("running", 3)
    assert status.phase == "ant.png, 1 of 3 files: Sampling"
    assert 0 < status.progress.fraction < 0.34
    executor.release()
    assert wait_for(batch).status().progress.fraction == 1
    assert batch.request is not None and batch.request.prompt == "cat"


def test_an_interrupt_omits_the_remaining_files(engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    batch = engine.file_batches.start(FILES, make_request)
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt(batch.id)
    executor.release()
    status = wait_for(batch).status()
    assert (status.state, status.error) == ("cancelled", "Interrupted: 0 of 3 files were finished.")
    assert executor.seen == ["ant"]


def test_a_skip_continues_with_the_next_file(engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    batch = engine.file_batches.start(FILES, make_request)
    assert executor.held.wait(PATIENCE_S)
    batch.skip()
    executor.release()
    status = wait_for(batch).status()
    assert (status.state, [image.infotext[:3] for image in status.images]) == ("done", ["cat"])


@pytest.mark.parametrize("running", [True, False])
def test_a_stopping_engine_ends_the_batch(engine: Engine, executor: FakeExecutor, running: bool):
    executor.hold_at(1)
    batch = engine.file_batches.start(FILES, make_request)
    if running:
        assert executor.held.wait(PATIENCE_S)
    executor.release()
    engine.stop()
    wait_for(batch)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_status import JobStatus
from modules.images.inpaint.mask_sources import BRUSH, FILE, TRANSPARENCY
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.img2img import Img2ImgRequest
from modules.scripts.file_batch import FileBatchArgs, run_file_batch
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

BASE = Img2ImgRequest(prompt="a hat", width=64, height=64, steps=2, seed=5)
NAMES = ("ant", "bee", "cat", "dog")
DOT = json.dumps(
    {"size": [32, 24], "strokes": [{"radius": 4, "points": [16, 12], "colour": "#00ff00"}]}
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three images and a file that is none."""
    folder = tmp_path / "pets"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(folder / f"{name}.png")
    (folder / "bee.png").write_text("this is no picture")
    return [folder / f"{name}.png" for name in NAMES]


def start(engine: Engine, files: list[Path], **args: Any) -> str:
    values = {"files": tuple(map(str, files)), "output_folder": "zoo", **args}
    return engine.run_script("File batch", BASE, values, "page").id


def wait_for(engine: Engine, group_id: str) -> JobStatus:
    assert engine.job(group_id).wait(PATIENCE_S)
    return engine.status(group_id)


def zoo(engine: Engine) -> list[str]:
    return sorted(path.name for path in (engine.paths.outputs / "zoo").iterdir())


def make_requests(
    *files: Path, request: Img2ImgRequest = BASE, **args: Any
) -> list[Img2ImgRequest]:
    arguments = FileBatchArgs(files=tuple(map(str, files)), **args)
    return [cell.make_request() for cell in next(run_file_batch(request, arguments))]


def test_each_file_becomes_an_image_of_the_same_name_and_a_bad_file_is_a_note(
    engine: Engine, files: list[Path]
):
    status = wait_for(engine, start(engine, files))
    assert status.state == "done"
    (note,) = status.notes
    assert note.startswith("bee.png: The picture is not a PNG")
    assert zoo(engine) == ["ant.png", "cat.png", "dog.png"]


def test_an_existing_file_is_not_overwritten(engine: Engine, files: list[Path]):
    for _ in range(2):
        status = wait_for(engine, start(engine, files[:1]))
    assert [image.path.name for image in status.images] == ["ant-1.png"]
    assert zoo(engine) == ["ant-1.png", "ant.png"]


def test_without_a_folder_images_are_saved_as_usual(engine: Engine, files: list[Path]):
    status = wait_for(engine, start(engine, files[:1], output_folder=""))
    assert status.images[0].path.parts[-3] == "img2img-images"


def test_the_progress_names_the_file(engine: Engine, executor: FakeExecutor, files: list[Path]):
    executor.hold_at(2)
    group_id = start(engine, files)
    assert executor.held.wait(PATIENCE_S)
    assert engine.status(group_id).phase == "ant.png, 1 of 4 files: Sampling"
    engine.interrupt(group_id)
    executor.release()
    assert wait_for(engine, group_id).error == "Interrupted: 0 of 4 files were finished."


def kill(engine: Engine) -> None:
    """Leave the job store as a killed server does: nothing is written any more."""
    engine.queue.store.close()


@pytest.mark.parametrize("end", [kill, Engine.stop], ids=["killed", "stopped"])
def test_a_batch_goes_on_at_the_right_file_after_a_restart_and_saves_no_file_twice(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]],
    files: list[Path],
    end: Callable[[Engine], None],
):
    engine, executor = start_engine()
    executor.hold_at(2)
    executor.release_at_stop()
    group_id = start(engine, files)
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    running = engine.running_job()
    assert running is not None
    end(engine)
    engine.interrupt(group_id)
    engine.stop()
    assert (zoo(engine), len(executor.seen)) == (["ant.png"], 2)
    saved = (engine.paths.outputs / "zoo" / "ant.png").read_bytes()
    files[0].unlink()  # a file that is done is not read again

    engine, executor = start_engine()
    status = wait_for(engine, group_id)
    assert len(executor.seen) == 2
    assert status.state == "done"
    assert [image.path.name for image in status.images] == ["ant.png", "cat.png", "dog.png"]
    assert [note.partition(":")[0] for note in status.notes] == ["bee.png"]
    assert zoo(engine) == ["ant.png", "cat.png", "dog.png"]
    assert (engine.paths.outputs / "zoo" / "ant.png").read_bytes() == saved
    assert engine.queue.record(running.id).state in ("failed", "cancelled")


def test_a_file_that_is_gone_after_a_restart_is_a_note(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]], files: list[Path]
):
    engine, _ = start_engine()
    engine.queue.pause()
    group_id = start(engine, files)
    engine.stop()
    files[0].unlink()
    engine, _ = start_engine()
    status = wait_for(engine, group_id)
    assert status.notes[0] == "ant.png: The file cannot be read: No such file or directory."
    assert zoo(engine) == ["cat.png", "dog.png"]


def make_pets(folder: Path) -> list[Path]:
    files = [folder / f"{number}.png" for number in range(5)]
    for file in files:
        Image.new("RGB", (32, 24), "red").save(file)
    return files


def test_as_many_files_run_at_once_as_there_are_slots(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]], tmp_path: Path
):
    engine, executor = start_engine(slots=3)
    executor.hold_at(2)
    group_id = start(engine, make_pets(tmp_path))
    executor.wait_until_held(3)
    assert engine.queue.store.waiting_count() == 0
    status = engine.status(group_id)
    assert status.phase == "0.png, 1 of 5 files (3 run at once): Sampling"
    assert status.progress.fraction == pytest.approx(3 * 0.5 / 5)
    executor.release()
    status = wait_for(engine, group_id)
    assert (status.state, len(executor.seen)) == ("done", 5)
    assert [image.path.name for image in status.images] == [f"{n}.png" for n in range(5)]
    assert [image.index for image in status.images] == list(range(5))


def test_a_file_that_fails_gives_its_slot_to_the_next_one(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]], tmp_path: Path
):
    engine, executor = start_engine(slots=3)
    files = make_pets(tmp_path)
    files[1].write_text("this is no picture")
    executor.hold_at(2)
    group_id = start(engine, files)
    executor.wait_until_held(3)
    assert engine.status(group_id).phase == "0.png, 1 of 5 files (3 run at once): Sampling"
    executor.release()
    status = wait_for(engine, group_id)
    assert [image.path.name for image in status.images] == ["0.png", "2.png", "3.png", "4.png"]
    assert [note.partition(":")[0] for note in status.notes] == ["1.png"]


@pytest.mark.parametrize("slots", [1, 3])
def test_a_file_is_read_when_its_turn_comes(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]], tmp_path: Path, slots: int
):
    engine, executor = start_engine(slots=slots)
    files = make_pets(tmp_path)
    executor.hold_at(2)
    group_id = start(engine, files)
    executor.wait_until_held(slots)
    for file in files[slots:]:
        file.unlink()
    executor.release()
    status = wait_for(engine, group_id)
    assert [image.path.name for image in status.images] == [f"{n}.png" for n in range(slots)]
    assert len(status.notes) == 5 - slots


@pytest.mark.parametrize("end", [kill, Engine.stop], ids=["killed", "stopped"])
def test_files_that_ran_at_once_go_on_after_a_restart(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]],
    tmp_path: Path,
    end: Callable[[Engine], None],
):
    engine, executor = start_engine(slots=3)
    executor.hold_at(2)
    executor.release_at_stop()
    group_id = start(engine, make_pets(tmp_path))
    executor.wait_until_held(3)
    end(engine)
    engine.interrupt(group_id)
    engine.stop()
    assert not list(engine.paths.outputs.rglob("*.png"))
    engine, executor = start_engine(slots=3)
    status = wait_for(engine, group_id)
    assert [image.path.name for image in status.images] == zoo(engine)
    assert zoo(engine) == [f"{n}.png" for n in range(5)]


def test_each_file_may_have_its_own_size_times_a_factor(files: list[Path]):
    (request,) = make_requests(files[0], scale_by=4.0)
    assert (request.width, request.height) == (128, 96)


def test_a_sketch_is_painted_on_each_file(files: list[Path]):
    for request in make_requests(files[0], files[2], strokes=DOT):
        assert request.init_image is not None
        assert request.init_image.to_pil().getpixel((16, 12)) == (0, 255, 0)
        assert request.task == "img2img"


def test_brush_strokes_become_the_mask_of_each_file(files: list[Path]):
    (request,) = make_requests(files[0], strokes=DOT, mask_source=BRUSH)
    assert request.mask is not None
    assert request.mask.to_pil().getbbox() == (12, 8, 21, 17)
    assert request.init_image == ImageField.from_bytes(files[0].read_bytes())


def test_an_uploaded_mask_is_that_of_every_file(files: list[Path]):
    mask = ImageField.from_pil(Image.linear_gradient("L"), MASK)
    first, second = make_requests(
        files[0], files[2], request=BASE.replace(mask=mask), mask_source=FILE
    )
    assert first.mask == second.mask == mask


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FILE, "There is no file with a mask."),
        (TRANSPARENCY, "Nothing in the picture is transparent."),
    ],
)
def test_a_file_without_a_mask_is_an_error(files: list[Path], source: str, message: str):
    with pytest.raises(UserError, match=message):
        make_requests(files[0], mask_source=source)


def test_files_wait_while_there_is_no_worker_and_go_on_when_one_comes(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]], tmp_path: Path
):
    engine, executor = start_engine(slots=2)
    executor.slots = 0
    group_id = start(engine, make_pets(tmp_path))
    while not engine.queue.store.waiting_count():
        assert not engine.job(group_id).wait(0.01)
    executor.slots = 2
    engine.queue.resume()
    assert len(wait_for(engine, group_id).images) == 5

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.job_status import JobState
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import StoredRequest, deserialize
from modules.params.image import ImageField
from modules.params.requests.base import MAX_SEED, GenerationRequest
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings

DEFAULTS = Settings()
INPUT_IMAGE = ImageField.from_pil(Image.linear_gradient("L").resize((16, 8)).convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def add(
    store: JobStore,
    job_id: str = "one",
    request: GenerationRequest = Txt2ImgRequest(),  # noqa: B008 - frozen
    number: int = 1,
) -> bool:
    with store.hold_request(request, DEFAULTS) as stored:
        return store.add(QueuePosition(0, number, job_id, "api"), stored, 2)


def end(store: JobStore, job_id: str = "one", state: JobState = "done") -> None:
    store.log_end(replace(store.record(job_id).status(), state=state))


def input_image_count(folder: Path) -> int:
    return len(list((folder / "pictures").glob("*")))


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
requests = st.builds(
    Txt2ImgRequest,
    prompt=texts,
    negative_prompt=texts,
    seed=st.integers(0, MAX_SEED),
    cfg_scale=st.floats(0, 100),
    steps=st.integers(1, 1000),
    styles=st.tuples(texts),
    enable_hr=st.booleans(),
    override_settings=st.fixed_dictionaries(
        {}, optional={"eta_ancestral": st.floats(0, 1), "tiling": st.booleans()}
    ),
)
settings_objects = st.builds(
    Settings, s_churn=st.floats(0, 10), queue_after_restart=st.sampled_from(("resumed", "paused"))
)


@given(requests, settings_objects)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_request_is_read_back_as_it_was_stored(tmp_path_factory, request, settings_objects):
    folder = tmp_path_factory.mktemp("queue")
    store = JobStore(folder)
    with store.hold_request(request, settings_objects) as stored:
        assert store.add(QueuePosition(3, 7, "one", "page"), stored, 5)
    store.close()
    record = JobStore(folder).record("one")
    assert deserialize(record.stored_request, store.input_image) == (request, settings_objects)
    assert (record.queue_position, record.state, record.image_count) == (
        QueuePosition(3, 7, "one", "page"),
        "queued",
        5,
    )


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, MAX_SEED])
def test_an_images_seed_is_read_back_as_it_was_stored(folder: Path, seed: int):
    store = JobStore(folder)
    add(store)
    store.log_image("one", 0, GeneratedImage(0, seed, "", folder / "a.png"))
    store.close()
    assert JobStore(folder).record("one").images[0].seed == seed


def test_a_request_is_read_back_with_its_images(folder: Path):
    store = JobStore(folder)
    mask = ImageField.from_pil(Image.new("L", (16, 8), 255))
    request = Img2ImgRequest(init_image=INPUT_IMAGE, mask=mask)
    add(store, request=request)
    record = store.record("one")
    assert record.stored_request.task == "inpaint"
    assert len(record.stored_request.request) < 3000, "images are not part of the record"
    assert deserialize(record.stored_request, store.input_image) == (request, DEFAULTS)


def test_a_request_stored_by_another_version_is_refused_with_the_reason():
    stored = StoredRequest("txt2img", '{"warp": 9}', "{}", {})
    with pytest.raises(UserError, match="There is no field 'warp'"):
        deserialize(stored, lambda name: INPUT_IMAGE)
    with pytest.raises(UserError, match="There is no task 'txt2video' in this version"):
        deserialize(StoredRequest("txt2video", "{}", "{}", {}), lambda name: INPUT_IMAGE)


def test_a_job_is_recorded_from_start_to_end(folder: Path):
    store = JobStore(folder)
    add(store)
    store.log_start("one")
    image = GeneratedImage(0, 7, "a cat\nSteps: 4", Path("/outputs/1.png"), "The disk is full.")
    store.log_image("one", 0, image)
    assert store.record("one").state == "running"
    end(store)
    record = store.record("one")
    assert (record.state, record.images, record.status().progress.fraction) == (
        "done",
        (image,),
        1.0,
    )
    assert record.ended >= record.started >= record.created
    assert [record.id for record in store.ended_jobs(10)] == ["one"]
    assert store.active_jobs(10) == []


def test_queued_jobs_are_listed_in_order_after_the_running_one(folder: Path):
    store = JobStore(folder)
    for number, job_id in enumerate(("one", "two", "three")):
        add(store, job_id, number=number)
    store.log_start("three")
    store.update_positions([QueuePosition(0, -1, "two", "api")])
    assert [record.id for record in store.active_jobs(10)] == ["three", "two", "one"]
    assert (store.waiting_count(), len(store.active_jobs(1))) == (2, 2)


def test_after_a_crash_the_running_job_has_failed_and_the_others_are_queued(folder: Path):
    store = JobStore(folder)
    for number, job_id in enumerate(("ran", "first", "second", "bare")):
        add(store, job_id, number=number)
    for job_id in ("ran", "bare"):
        store.log_start(job_id)
    path = folder / "x.png"
    path.write_bytes(b"an image")
    for position in range(2):
        store.log_image("ran", position, GeneratedImage(position, 1, "", path))
    store.log_image("bare", 0, GeneratedImage(0, 1, "", path))
    store.close()  # killing the server does not change the rows
    reopened = JobStore(folder)
    assert [record.id for record in reopened.take_leftover_jobs()] == ["first", "second"]
    assert reopened.take_leftover_jobs() == []
    record = reopened.record("ran")
    assert (record.state, record.error) == (
        "failed",
        "The server was stopped while it ran; 2 pictures were finished.",
    )
    assert len(record.images) == 2
    assert reopened.record("bare").error.endswith("; 1 picture was finished.")


def test_an_image_that_was_announced_before_a_crash_counts_only_if_there_is_a_file(folder: Path):
    store = JobStore(folder)
    written, empty, unwritten = (folder / f"{name}.png" for name in ("ant", "bee", "cat"))
    unmounted = folder / "disk" / "dog.png"
    for path in (written, empty, unwritten, unmounted):
        add(store, path.stem)
        store.log_start(path.stem)
        store.log_image(path.stem, 0, GeneratedImage(0, 1, "", path))
    written.write_bytes(b"an image")
    empty.touch()
    store.close()
    reopened = JobStore(folder)
    kept = {
        path.stem
        for path in (written, empty, unwritten, unmounted)
        if reopened.record(path.stem).images
    }
    assert kept == {"ant", "dog"}


def test_an_image_that_is_saved_elsewhere_has_one_record(folder: Path):
    store = JobStore(folder)
    add(store)
    for name in ("full/1.png", "spare/1.png"):
        store.log_image("one", 0, GeneratedImage(0, 1, "", Path(name)))
    assert [image.path for image in store.record("one").images] == [Path("spare/1.png")]
    store.forget_image("one", 0)
    assert store.record("one").images == ()


def test_input_images_are_kept_as_long_as_a_job_may_need_them(folder: Path):
    store = JobStore(folder)
    request = Img2ImgRequest(init_image=INPUT_IMAGE)
    add(store, "one", request)
    add(store, "two", request)
    assert input_image_count(folder) == 1
    end(store, "one", "done")
    assert input_image_count(folder) == 1
    end(store, "two", "failed")
    assert input_image_count(folder) == 1, "a failed job can be retried"
    store.close()
    add(JobStore(folder), "three")
    assert input_image_count(folder) == 1


def test_the_oldest_failed_jobs_lose_their_input_images(folder: Path):
    store = JobStore(folder, max_retriable=1)
    for number, job_id in enumerate(("one", "two")):
        image = ImageField.from_pil(Image.new("RGB", (8, 8), (number, 0, 0)))
        add(store, job_id, Img2ImgRequest(init_image=image))
        end(store, job_id, "cancelled")
    assert input_image_count(folder) == 1
    assert (
        store.record("one").stored_request.image_names,
        len(store.record("two").stored_request.image_names),
    ) == ({}, 1)


def test_the_latest_finished_jobs_keep_the_images_of_their_units(folder: Path):
    store = JobStore(folder, max_retriable=1)
    for number, job_id in enumerate(("one", "two")):
        control = ImageField.from_pil(Image.new("RGB", (8, 8), (number, 0, 0)))
        unit = ControlUnit(enabled=True, image=control)
        add(store, job_id, Img2ImgRequest(init_image=INPUT_IMAGE, control_units=(unit,)))
        store.log_image(job_id, 0, GeneratedImage(0, 1, f"text of {job_id}", Path("x.png")))
        end(store, job_id, "done")
    assert input_image_count(folder) == 1
    found = [store.find_image_job(f"text of {job_id}") for job_id in ("one", "two", "three")]
    names = [() if one is None else tuple(one.stored_request.image_names) for one in found]
    assert names == [(), ("control_units.0.image",), ()]
    assert found[2] is None


def test_a_unit_has_all_its_images_again(folder: Path):
    store = JobStore(folder)
    images = [ImageField.from_pil(Image.new("RGB", (8, 8), (number, 0, 0))) for number in range(12)]
    unit = ControlUnit(enabled=True, image=INPUT_IMAGE, more_images=tuple(images))
    request = Img2ImgRequest(init_image=INPUT_IMAGE, control_units=(ControlUnit(), unit))
    assert request.without_images().with_images(request.input_images()) == request
    add(store, "one", request)
    restored, _ = store.restore_request(store.record("one").stored_request)
    assert restored.input_images() == request.input_images()
    assert restored.control_units[1].more_images == tuple(images)


def test_input_images_that_no_job_refers_to_are_deleted_at_the_next_start(folder: Path):
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "left.png.part").write_bytes(b"")
    JobStore(folder).take_leftover_jobs()
    assert input_image_count(folder) == 0


def test_only_a_limited_number_of_ended_jobs_is_stored(folder: Path):
    store = JobStore(folder)
    for job_id in ("old", "new"):
        add(store, job_id)
        store.log_image(job_id, 0, GeneratedImage(0, 1, "", Path("x.png")))
        end(store, job_id)
    store.close()
    reopened = JobStore(folder, max_ended=1)
    assert [record.id for record in reopened.ended_jobs(10)] == ["new"]
    with pytest.raises(NotFound, match="no longer known"):
        reopened.record("old")


# The file


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside_with_a_warning(folder: Path, content: bytes):
    folder.mkdir()
    (folder / "jobs.sqlite").write_bytes(content)
    store = JobStore(folder)
    assert add(store)
    assert "is unreadable" in store.warning() and "jobs.sqlite.unreadable" in store.warning()
    assert (folder / "jobs.sqlite.unreadable").read_bytes() == content


def test_a_second_server_on_the_same_folder_stores_nothing_and_warns(folder: Path):
    first, second = JobStore(folder), JobStore(folder)
    add(first)
    assert not add(second, "two", Img2ImgRequest(init_image=INPUT_IMAGE))
    assert "another server uses this data folder" in second.warning()
    assert second.take_leftover_jobs() == [] and not second.is_durable()
    assert [record.id for record in second.active_jobs(10)] == ["two"]
    assert [record.id for record in first.active_jobs(10)] == ["one"]
    assert not (folder / "pictures").exists()


def test_a_folder_that_cannot_be_written_causes_only_a_warning(folder: Path):
    folder.write_text("a file where the folder should be")
    store = JobStore(folder)
    assert not add(store)
    end(store)
    assert "will be lost" in store.warning()
    assert [record.id for record in store.ended_jobs(10)] == ["one"]


def test_a_closed_store_ignores_further_events(folder: Path):
    store = JobStore(folder)
    add(store)
    store.close()
    store.log_start("one")
    assert (store.active_jobs(1), store.is_durable()) == ([], False)
    assert JobStore(folder).record("one").state == "queued"


def test_the_rows_of_images_outlive_the_record_of_their_job_while_there_are_files(folder: Path):
    store = JobStore(folder)
    kept = folder.with_name("kept.png")
    kept.write_bytes(b"")
    for job_id, path in (("one", kept), ("two", folder / "gone.png"), ("new", kept)):
        add(store, job_id)
        store.log_image(job_id, 0, GeneratedImage(0, 1, "", path))
        end(store, job_id)
    store.close()
    reopened = JobStore(folder, max_ended=1)
    assert [record.id for record in reopened.ended_jobs(10)] == ["new"]
    reopened.close()
    with closing(sqlite3.connect(folder / "jobs.sqlite")) as connection:
        rows = connection.execute("SELECT job_id FROM images ORDER BY id").fetchall()
    assert rows == [("one",), ("new",)]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("exists", [False, True])
def test_prompts_and_input_images_are_for_this_user_alone(folder: Path, exists: bool):
    if exists:
        folder.mkdir(mode=0o755)
        with closing(sqlite3.connect(folder / "jobs.sqlite")) as connection:
            connection.execute("PRAGMA user_version = 0")
        (folder / "jobs.sqlite").touch(mode=0o644)
    store = JobStore(folder)
    add(store)
    assert folder.stat().st_mode & 0o077 == 0
    names = {path.name: path.stat().st_mode & 0o077 for path in folder.glob("jobs.sqlite*")}
    assert names == dict.fromkeys(names, 0)
    assert "jobs.sqlite-wal" in names
    store.close()

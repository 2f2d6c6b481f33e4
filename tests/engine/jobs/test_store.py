from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import StoredRequest, deserialize
from modules.params.image import ImageField
from modules.params.requests.base import MAX_SEED, GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings

DEFAULTS = Settings()
PICTURE = ImageField.from_pil(Image.linear_gradient("L").resize((16, 8)).convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def add(
    store: JobStore,
    job_id: str = "one",
    request: GenerationRequest = Txt2ImgRequest(),  # noqa: B008 - frozen
    number: int = 1,
) -> bool:
    with store.hold_request(request, DEFAULTS) as frozen:
        return store.add(QueuePosition(0, number, job_id, "api"), frozen, 2)


def end(store: JobStore, job_id: str = "one", state: str = "done") -> None:
    store.log_end(
        store.record(job_id)
        .status()
        .__class__(**{**vars(store.record(job_id).status()), "state": state})
    )


def pictures_in(folder: Path) -> int:
    return len(list((folder / "pictures").glob("*")))


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
requests = st.builds(
    Txt2ImgRequest,
    prompt=words,
    negative_prompt=words,
    seed=st.integers(0, MAX_SEED),
    cfg_scale=st.floats(0, 100),
    steps=st.integers(1, 1000),
    styles=st.tuples(words),
    enable_hr=st.booleans(),
    override_settings=st.fixed_dictionaries(
        {}, optional={"eta_ancestral": st.floats(0, 1), "tiling": st.booleans()}
    ),
)
options = st.builds(
    Settings, s_churn=st.floats(0, 10), queue_after_restart=st.sampled_from(("resumed", "paused"))
)


@given(requests, options)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_request_comes_back_as_it_was_stored(tmp_path_factory, request, options):
    folder = tmp_path_factory.mktemp("queue")
    store = JobStore(folder)
    with store.hold_request(request, options) as frozen:
        assert store.add(QueuePosition(3, 7, "one", "page"), frozen, 5)
    store.close()
    row = JobStore(folder).record("one")
    assert deserialize(row.stored_request, store.input_image) == (request, options)
    assert (row.queue_position, row.state, row.image_count) == (
        QueuePosition(3, 7, "one", "page"),
        "queued",
        5,
    )


def test_a_request_comes_back_with_its_pictures(folder: Path):
    store = JobStore(folder)
    mask = ImageField.from_pil(Image.new("L", (16, 8), 255))
    request = Img2ImgRequest(init_image=PICTURE, mask=mask)
    add(store, request=request)
    row = store.record("one")
    assert row.stored_request.task == "inpaint"
    assert len(row.stored_request.request) < 3000, "pictures are no part of the row"
    assert deserialize(row.stored_request, store.input_image) == (request, DEFAULTS)


def test_what_another_version_stored_is_refused_in_words():
    frozen = StoredRequest("txt2img", '{"warp": 9}', "{}", {})
    with pytest.raises(UserError, match="There is no field 'warp'"):
        deserialize(frozen, lambda name: PICTURE)
    with pytest.raises(UserError, match="knows no task 'txt2video'"):
        deserialize(StoredRequest("txt2video", "{}", "{}", {}), lambda name: PICTURE)


def test_a_job_is_told_from_its_beginning_to_its_end(folder: Path):
    store = JobStore(folder)
    add(store)
    store.log_start("one")
    image = GeneratedImage(0, 7, "a cat\nSteps: 4", Path("/outputs/1.png"), "The disk is full.")
    store.log_image("one", 0, image)
    assert store.record("one").state == "running"
    end(store)
    row = store.record("one")
    assert (row.state, row.images, row.status().progress.fraction) == ("done", (image,), 1.0)
    assert row.ended >= row.started >= row.created
    assert [row.id for row in store.ended_jobs(10)] == ["one"]
    assert store.active_jobs(10) == []


def test_waiting_jobs_are_listed_in_order_behind_the_running_one(folder: Path):
    store = JobStore(folder)
    for number, job_id in enumerate(("one", "two", "three")):
        add(store, job_id, number=number)
    store.log_start("three")
    store.update_positions([QueuePosition(0, -1, "two", "api")])
    assert [row.id for row in store.active_jobs(10)] == ["three", "two", "one"]
    assert (store.waiting_count(), len(store.active_jobs(1))) == (2, 2)


def test_after_a_crash_the_running_job_has_failed_and_the_others_wait(folder: Path):
    store = JobStore(folder)
    for number, job_id in enumerate(("ran", "first", "second", "bare")):
        add(store, job_id, number=number)
    for job_id in ("ran", "bare"):
        store.log_start(job_id)
    for position in range(2):
        store.log_image("ran", position, GeneratedImage(position, 1, "", Path("x.png")))
    store.log_image("bare", 0, GeneratedImage(0, 1, "", Path("x.png")))
    store.close()  # a kill leaves the rows as they are
    again = JobStore(folder)
    assert [row.id for row in again.take_leftover_jobs()] == ["first", "second"]
    assert again.take_leftover_jobs() == []
    row = again.record("ran")
    assert (row.state, row.error) == (
        "failed",
        "The server was stopped while it ran; 2 pictures were finished.",
    )
    assert len(row.images) == 2
    assert again.record("bare").error.endswith("; 1 picture was finished.")


def test_pictures_are_kept_as_long_as_a_job_may_need_them(folder: Path):
    store = JobStore(folder)
    request = Img2ImgRequest(init_image=PICTURE)
    add(store, "one", request)
    add(store, "two", request)
    assert pictures_in(folder) == 1
    end(store, "one", "done")
    assert pictures_in(folder) == 1
    end(store, "two", "failed")
    assert pictures_in(folder) == 1, "a failed job can be tried again"
    store.close()
    add(JobStore(folder), "three")
    assert pictures_in(folder) == 1


def test_the_oldest_failed_jobs_lose_their_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modules.engine.jobs.store._MOST_RETRIABLE", 1)
    store = JobStore(folder)
    for number, job_id in enumerate(("one", "two")):
        picture = ImageField.from_pil(Image.new("RGB", (8, 8), (number, 0, 0)))
        add(store, job_id, Img2ImgRequest(init_image=picture))
        end(store, job_id, "cancelled")
    assert pictures_in(folder) == 1
    assert (
        store.record("one").stored_request.image_names,
        len(store.record("two").stored_request.image_names),
    ) == ({}, 1)


def test_pictures_that_no_job_refers_to_are_deleted_at_the_next_start(folder: Path):
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "left.png.part").write_bytes(b"")
    JobStore(folder).take_leftover_jobs()
    assert pictures_in(folder) == 0


def test_only_so_many_ended_jobs_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch):
    store = JobStore(folder)
    for job_id in ("old", "new"):
        add(store, job_id)
        store.log_image(job_id, 0, GeneratedImage(0, 1, "", Path("x.png")))
        end(store, job_id)
    store.close()
    monkeypatch.setattr("modules.engine.jobs.store._MOST_ENDED", 1)
    again = JobStore(folder)
    assert [row.id for row in again.ended_jobs(10)] == ["new"]
    with pytest.raises(NotFound, match="no longer known"):
        again.record("old")


# The file


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside_with_words(folder: Path, content: bytes):
    folder.mkdir()
    (folder / "jobs.sqlite").write_bytes(content)
    store = JobStore(folder)
    assert add(store)
    assert "is unreadable" in store.warning() and "jobs.sqlite.unreadable" in store.warning()
    assert (folder / "jobs.sqlite.unreadable").read_bytes() == content


def test_a_file_of_a_later_version_is_moved_aside(folder: Path):
    add(JobStore(folder))
    store = JobStore(folder.with_name("later"))
    add(store)
    store.close()
    with sqlite3.connect(folder.with_name("later") / "jobs.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = JobStore(folder.with_name("later"))
    assert "of version 99, this program of 1" in again.warning()
    assert again.ended_jobs(10) == again.active_jobs(10) == []


def test_a_second_server_on_the_same_folder_remembers_nothing_and_says_so(folder: Path):
    first, second = JobStore(folder), JobStore(folder)
    add(first)
    assert not add(second, "two", Img2ImgRequest(init_image=PICTURE))
    assert "another server uses this data folder" in second.warning()
    assert second.take_leftover_jobs() == [] and not second.is_durable()
    assert [row.id for row in second.active_jobs(10)] == ["two"]
    assert [row.id for row in first.active_jobs(10)] == ["one"]
    assert not (folder / "pictures").exists()


def test_a_folder_that_cannot_be_written_is_told_and_nothing_fails(folder: Path):
    folder.write_text("a file where the folder should be")
    store = JobStore(folder)
    assert not add(store)
    end(store)
    assert "will be forgotten" in store.warning()
    assert [row.id for row in store.ended_jobs(10)] == ["one"]


def test_a_closed_store_takes_no_more_words(folder: Path):
    store = JobStore(folder)
    add(store)
    store.close()
    store.log_start("one")
    assert (store.active_jobs(1), store.is_durable()) == ([], False)
    assert JobStore(folder).record("one").state == "queued"

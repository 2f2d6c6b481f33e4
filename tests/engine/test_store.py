from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.frozen import Frozen, thaw
from modules.engine.line import Place
from modules.engine.store import Store
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
    store: Store,
    job_id: str = "one",
    request: GenerationRequest = Txt2ImgRequest(),  # noqa: B008 - frozen
    number: int = 1,
) -> bool:
    with store.frozen(request, DEFAULTS) as frozen:
        return store.add(Place(0, number, job_id, "api"), frozen, 2)


def end(store: Store, job_id: str = "one", state: str = "done") -> None:
    store.ended(
        store.row(job_id).status().__class__(**{**vars(store.row(job_id).status()), "state": state})
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
    store = Store(folder)
    with store.frozen(request, options) as frozen:
        assert store.add(Place(3, 7, "one", "page"), frozen, 5)
    store.close()
    row = Store(folder).row("one")
    assert thaw(row.frozen, store.picture) == (request, options)
    assert (row.place, row.state, row.image_count) == (Place(3, 7, "one", "page"), "queued", 5)


def test_a_request_comes_back_with_its_pictures(folder: Path):
    store = Store(folder)
    mask = ImageField.from_pil(Image.new("L", (16, 8), 255))
    request = Img2ImgRequest(init_image=PICTURE, mask=mask)
    add(store, request=request)
    row = store.row("one")
    assert row.frozen.task == "inpaint"
    assert len(row.frozen.request) < 3000, "pictures are no part of the row"
    assert thaw(row.frozen, store.picture) == (request, DEFAULTS)


def test_what_another_version_stored_is_refused_in_words():
    frozen = Frozen("txt2img", '{"warp": 9}', "{}", {})
    with pytest.raises(UserError, match="There is no field 'warp'"):
        thaw(frozen, lambda name: PICTURE)
    with pytest.raises(UserError, match="knows no task 'txt2video'"):
        thaw(Frozen("txt2video", "{}", "{}", {}), lambda name: PICTURE)


def test_a_job_is_told_from_its_beginning_to_its_end(folder: Path):
    store = Store(folder)
    add(store)
    store.started("one")
    image = GeneratedImage(0, 7, "a cat\nSteps: 4", Path("/outputs/1.png"), "The disk is full.")
    store.kept("one", 0, image)
    assert store.row("one").state == "running"
    end(store)
    row = store.row("one")
    assert (row.state, row.images, row.status().progress.fraction) == ("done", (image,), 1.0)
    assert row.ended >= row.started >= row.created
    assert [row.id for row in store.past(10)] == ["one"]
    assert store.waiting(10) == []


def test_waiting_jobs_are_listed_in_order_behind_the_running_one(folder: Path):
    store = Store(folder)
    for number, job_id in enumerate(("one", "two", "three")):
        add(store, job_id, number=number)
    store.started("three")
    store.moved([Place(0, -1, "two", "api")])
    assert [row.id for row in store.waiting(10)] == ["three", "two", "one"]
    assert (store.waiting_count(), len(store.waiting(1))) == (2, 2)


def test_after_a_crash_the_running_job_has_failed_and_the_others_wait(folder: Path):
    store = Store(folder)
    for number, job_id in enumerate(("ran", "first", "second", "bare")):
        add(store, job_id, number=number)
    for job_id in ("ran", "bare"):
        store.started(job_id)
    for position in range(2):
        store.kept("ran", position, GeneratedImage(position, 1, "", Path("x.png")))
    store.kept("bare", 0, GeneratedImage(0, 1, "", Path("x.png")))
    store.close()  # a kill leaves the rows as they are
    again = Store(folder)
    assert [row.id for row in again.left_over()] == ["first", "second"]
    assert again.left_over() == []
    row = again.row("ran")
    assert (row.state, row.error) == (
        "failed",
        "The server was stopped while it ran; 2 pictures were finished.",
    )
    assert len(row.images) == 2
    assert again.row("bare").error.endswith("; 1 picture was finished.")


def test_pictures_are_kept_as_long_as_a_job_may_need_them(folder: Path):
    store = Store(folder)
    request = Img2ImgRequest(init_image=PICTURE)
    add(store, "one", request)
    add(store, "two", request)
    assert pictures_in(folder) == 1
    end(store, "one", "done")
    assert pictures_in(folder) == 1
    end(store, "two", "failed")
    assert pictures_in(folder) == 1, "a failed job can be tried again"
    store.close()
    add(Store(folder), "three")
    assert pictures_in(folder) == 1


def test_the_oldest_failed_jobs_lose_their_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modules.engine.store._MOST_RETRIABLE", 1)
    store = Store(folder)
    for number, job_id in enumerate(("one", "two")):
        picture = ImageField.from_pil(Image.new("RGB", (8, 8), (number, 0, 0)))
        add(store, job_id, Img2ImgRequest(init_image=picture))
        end(store, job_id, "cancelled")
    assert pictures_in(folder) == 1
    assert (store.row("one").frozen.pictures, len(store.row("two").frozen.pictures)) == ({}, 1)


def test_pictures_that_no_job_refers_to_are_deleted_at_the_next_start(folder: Path):
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "left.png.part").write_bytes(b"")
    Store(folder).left_over()
    assert pictures_in(folder) == 0


def test_only_so_many_ended_jobs_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(folder)
    for job_id in ("old", "new"):
        add(store, job_id)
        store.kept(job_id, 0, GeneratedImage(0, 1, "", Path("x.png")))
        end(store, job_id)
    store.close()
    monkeypatch.setattr("modules.engine.store._MOST_ENDED", 1)
    again = Store(folder)
    assert [row.id for row in again.past(10)] == ["new"]
    with pytest.raises(NotFound, match="no longer known"):
        again.row("old")


# The file


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside_with_words(folder: Path, content: bytes):
    folder.mkdir()
    (folder / "jobs.sqlite").write_bytes(content)
    store = Store(folder)
    assert add(store)
    assert "is unreadable" in store.remark() and "jobs.sqlite.unreadable" in store.remark()
    assert (folder / "jobs.sqlite.unreadable").read_bytes() == content


def test_a_file_of_a_later_version_is_moved_aside(folder: Path):
    add(Store(folder))
    store = Store(folder.with_name("later"))
    add(store)
    store.close()
    with sqlite3.connect(folder.with_name("later") / "jobs.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = Store(folder.with_name("later"))
    assert "of version 99, this program of 1" in again.remark()
    assert again.past(10) == again.waiting(10) == []


def test_a_second_server_on_the_same_folder_remembers_nothing_and_says_so(folder: Path):
    first, second = Store(folder), Store(folder)
    add(first)
    assert not add(second, "two", Img2ImgRequest(init_image=PICTURE))
    assert "another server uses this data folder" in second.remark()
    assert second.left_over() == [] and not second.is_durable()
    assert [row.id for row in second.waiting(10)] == ["two"]
    assert [row.id for row in first.waiting(10)] == ["one"]
    assert not (folder / "pictures").exists()


def test_a_folder_that_cannot_be_written_is_told_and_nothing_fails(folder: Path):
    folder.write_text("a file where the folder should be")
    store = Store(folder)
    assert not add(store)
    end(store)
    assert "will be forgotten" in store.remark()
    assert [row.id for row in store.past(10)] == ["one"]


def test_a_closed_store_takes_no_more_words(folder: Path):
    store = Store(folder)
    add(store)
    store.close()
    store.started("one")
    assert (store.waiting(1), store.is_durable()) == ([], False)
    assert Store(folder).row("one").state == "queued"

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modules.engine.jobs.database.image_search import index_prompts
from modules.engine.jobs.database.migrations import MIGRATIONS
from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import deserialize
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings
from tests.engine.jobs.test_store import add, end

VERSION_1 = Path(__file__).with_name("queue_of_version_1")


@pytest.fixture
def old_queue(tmp_path: Path) -> Path:
    """A copy of a queue that a program of version 1 wrote."""
    return Path(shutil.copytree(VERSION_1, tmp_path / "queue"))


def migrate(folder: Path) -> None:
    store = JobStore(folder)
    assert store.warning() == ""
    store.close()


def query(folder: Path, text: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "jobs.sqlite")) as connection:
        return connection.execute(text).fetchall()


def by_prompt(records: Sequence[JobRecord]) -> dict[str, JobRecord]:
    return {f"{record.state} {record.request_fields['prompt'][:9]}": record for record in records}


def fail_on_rows(connection: sqlite3.Connection) -> None:
    """A migration that fails in the middle of its work, where there are jobs."""
    connection.execute("CREATE TABLE half (id)")
    connection.execute("UPDATE jobs SET source = 'spoilt'")
    if connection.execute("SELECT count(*) FROM jobs").fetchone()[0]:
        connection.execute("SELECT * FROM nowhere")


def test_every_job_of_version_1_is_read(old_queue: Path):
    store = JobStore(old_queue)
    assert store.warning() == ""
    waiting = store.take_leftover_jobs()
    ended = by_prompt(store.ended_jobs(10))
    assert [record.request_fields["prompt"] for record in waiting] == ["a red hat", "a fish"]
    assert list(ended) == ["failed a bird", "cancelled a dog", "failed a red hat", "done a cat, tr"]
    assert ended["failed a red hat"].error == "Too large."
    assert ended["failed a bird"].error.endswith("; 1 picture was finished.")
    done = ended["done a cat, tr"]
    assert done.notes == ("The disk is full. It was saved elsewhere.",)
    assert [(image.index, image.seed, image.size) for image in done.images] == [
        (0, 7, (64, 72)),
        (1, 8, (64, 72)),
    ]
    assert done.images[0].infotext.startswith("a cat, très détaillé\nin two lines\nSteps: 2, ")
    assert done.images[0].warning == "The disk is full. It was saved elsewhere."
    assert done.images[0].path.name == "00000-7.png"


def test_the_input_images_of_version_1_are_read(old_queue: Path):
    store = JobStore(old_queue)
    for record in (
        store.take_leftover_jobs()[0],
        by_prompt(store.ended_jobs(10))["failed a red hat"],
    ):
        request, settings = deserialize(record.stored_request, store.input_image)
        assert (request.init_image.size, request.mask.mode) == ((16, 8), "L")
        assert settings == Settings(sd_model_checkpoint="first.safetensors")


def test_the_images_get_a_table_of_their_own(old_queue: Path):
    migrate(old_queue)
    rows = query(
        old_queue, "SELECT model, width, height, seed, prompt, favourite FROM images ORDER BY id"
    )
    cat = "a cat, très détaillé\nin two lines"
    assert rows[:2] == [("first.safetensors", 64, 72, seed, cat, 0) for seed in (7, 8)]
    times = query(
        old_queue,
        "SELECT images.created = jobs.ended FROM images JOIN jobs ON job_id = jobs.id"
        " WHERE state = 'done'",
    )
    assert set(times) == {(1,)}


@pytest.mark.parametrize(
    ("infotext", "size"),
    [
        ("a Size: 9x9 cat\nSteps: 2, Size: 64x72", (64, 72)),
        ("a cat\nSize: 64x72, Hires upscale: 1.5", (96, 108)),
        ("a cat\nSize: 64x72, Hires upscale: 2, Hires resize: 128x0", (128, 144)),
        ("a cat\nSize: 64x72, Hires resize: 100x90", (100, 90)),
        ("a cat", (0, 0)),
    ],
)
def test_the_size_of_an_old_image_is_read_from_its_infotext(
    old_queue: Path, infotext: str, size: tuple[int, int]
):
    with closing(sqlite3.connect(old_queue / "jobs.sqlite")) as connection, connection:
        connection.execute("UPDATE images SET infotext = ?", (infotext,))
    (image, _) = by_prompt(JobStore(old_queue).ended_jobs(10))["done a cat, tr"].images
    assert image.size == size


@pytest.mark.parametrize("request_text", ["{", "[]", "null"])
@pytest.mark.parametrize(
    "infotext", [f"a cat\nSize: {'9' * 30}x8", "a cat\nSize: 64x0, Hires resize: 0x64"]
)
def test_one_odd_row_does_not_keep_the_others_back(
    old_queue: Path, request_text: str, infotext: str
):
    with closing(sqlite3.connect(old_queue / "jobs.sqlite")) as connection, connection:
        connection.execute("UPDATE jobs SET request = ? WHERE state = 'done'", (request_text,))
        connection.execute("UPDATE images SET infotext = ?", (infotext,))
    migrate(old_queue)
    assert query(old_queue, "SELECT count(*), max(width), max(height) FROM images") == [(3, 0, 0)]
    done = "SELECT DISTINCT prompt FROM images JOIN jobs ON job_id = jobs.id WHERE state = 'done'"
    assert query(old_queue, done) == [("",)]


def test_prompts_of_old_and_new_images_are_found(old_queue: Path):
    search = "SELECT seed FROM images JOIN image_search ON id = image_search.rowid WHERE image_search MATCH ?"
    store = JobStore(old_queue)
    add(store, "one", Txt2ImgRequest(prompt="a détaillé mouse"))
    store.log_image("one", 0, GeneratedImage(0, 99, "", Path("x.png"), size=(8, 16)))
    end(store, "one")
    store.close()
    with closing(sqlite3.connect(old_queue / "jobs.sqlite")) as connection:
        found = [seed for (seed,) in connection.execute(search, ("detaille",))]
        assert sorted(found) == [7, 8, 99]
        connection.execute("DELETE FROM images WHERE seed = 8")
        assert len(connection.execute(search, ("detaille",)).fetchall()) == 2


def test_a_queue_works_where_sqlite_has_no_full_text_search(old_queue: Path):
    migrate(old_queue)
    with closing(sqlite3.connect(old_queue / "jobs.sqlite")) as connection:
        index_prompts(connection, has_search=False)
        connection.execute("DELETE FROM images WHERE seed = 8")
        connection.commit()
        index_prompts(connection, has_search=True)
        text = "SELECT count(*) FROM image_search WHERE image_search MATCH 'cat'"
        assert connection.execute(text).fetchone() == (1,)


def test_what_a_killed_server_wrote_last_is_migrated_too(old_queue: Path, tmp_path: Path):
    killed = tmp_path / "killed"
    with closing(sqlite3.connect(old_queue / "jobs.sqlite")) as connection:
        with connection:
            connection.execute("UPDATE jobs SET error = 'Too small.' WHERE state = 'failed'")
        shutil.copytree(old_queue, killed)  # with the journal that closing would remove
    assert (killed / "jobs.sqlite-wal").stat().st_size
    ended = by_prompt(JobStore(killed).ended_jobs(10))
    assert ended["failed a red hat"].error == "Too small."


def test_an_image_of_a_new_job_has_the_columns_of_its_request(tmp_path: Path):
    store = JobStore(tmp_path)
    add(store, "one", Txt2ImgRequest(prompt="a cat", sd_model_checkpoint="first.safetensors"))
    store.log_image("one", 0, GeneratedImage(0, 99, "", Path("x.png"), size=(8, 16)))
    store.close()
    columns = "model, width, height, seed, prompt, favourite, created > 0"
    assert query(tmp_path, f"SELECT {columns} FROM images") == [
        ("first.safetensors", 8, 16, 99, "a cat", 0, 1)
    ]


def test_a_migrated_queue_is_opened_again_as_it_is(old_queue: Path):
    first = JobStore(old_queue)
    before = first.ended_jobs(10)
    first.close()
    second = JobStore(old_queue)
    assert second.ended_jobs(10) == before
    second.close()
    assert query(old_queue, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert sorted(path.name for path in old_queue.glob("jobs*")) == ["jobs.sqlite"]


def test_a_new_queue_has_the_tables_of_a_migrated_one(old_queue: Path, tmp_path: Path):
    for folder in (old_queue, tmp_path / "new"):
        migrate(folder)
    tables = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
    assert query(old_queue, tables) == query(tmp_path / "new", tables)


def test_a_migration_that_fails_midway_leaves_the_old_file_usable(old_queue: Path):
    before = query(VERSION_1, "SELECT * FROM jobs")
    store = JobStore(old_queue, migrations=(*MIGRATIONS, fail_on_rows))
    assert store.warning() == (
        "The queue will be lost at the end of this run: jobs.sqlite of version 1 cannot be converted to version 4"
        " (no such table: nowhere); it is left as it is."
    )
    assert store.take_leftover_jobs() == []
    assert not add(store)
    assert [record.id for record in store.active_jobs(10)] == ["one"]
    store.close()
    assert query(old_queue, "SELECT * FROM jobs") == before
    assert query(old_queue, "PRAGMA user_version") == [(1,)]
    with closing(sqlite3.connect(old_queue / "jobs.sqlite.backup")) as backup:
        assert backup.execute("SELECT * FROM jobs").fetchall() == before
    assert len(JobStore(old_queue).ended_jobs(10)) == 4
    assert not (old_queue / "jobs.sqlite.backup").exists()


@pytest.mark.parametrize("is_in_journal", [False, True])
def test_a_file_of_a_newer_version_is_left_byte_for_byte_alone(tmp_path: Path, is_in_journal: bool):
    folder, closed = tmp_path / "queue", tmp_path / "closed"
    store = JobStore(folder)
    add(store)
    store.close()
    newer = sqlite3.connect(folder / "jobs.sqlite")
    with newer:
        newer.execute("PRAGMA user_version = 99")
    if is_in_journal:  # as after a kill
        shutil.copytree(folder, closed)
        folder = closed
    newer.close()
    before = {
        path.name: path.read_bytes()
        for path in folder.glob("jobs.sqlite*")
        if "shm" not in path.name
    }
    assert len(before) == 1 + is_in_journal
    store = JobStore(folder)
    assert store.warning() == (
        "The queue will be lost at the end of this run: a newer version of this program wrote jobs.sqlite, which is"
        " left as it is (its version is 99, this program's is 3)."
    )
    assert store.take_leftover_jobs() == []
    assert not add(store, "two")
    end(store, "two")
    assert [record.id for record in store.ended_jobs(10)] == ["two"]
    store.close()
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert not list(folder.glob("*unreadable*"))

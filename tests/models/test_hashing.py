import hashlib
import json
import threading

import pytest

from modules.core.errors import BadFile
from modules.models.files.scan import FileStamp
from modules.models.hashing import FileHasher, hash_next_chunk

TIMEOUT_S = 60


def stamp_of(path):
    status = path.stat()
    return FileStamp(str(path), status.st_size, status.st_mtime_ns)


def write(path, content):
    path.write_bytes(content)
    return stamp_of(path)


@pytest.fixture
def hasher(tmp_path):
    hasher = FileHasher(tmp_path / "cache" / "hashes.json", lambda stamp, digest: None)
    yield hasher
    hasher.stop()


def test_a_hash_is_sha256_of_the_whole_file(hasher, tmp_path):
    stamp = write(tmp_path / "a", b"weights" * 3_000_000)
    assert hasher.get_cached(stamp) == ""
    digest = hasher.wait(stamp)
    assert digest == hashlib.sha256(b"weights" * 3_000_000).hexdigest()
    assert hasher.get_cached(stamp) == digest


def test_an_empty_file_has_a_hash(hasher, tmp_path):
    assert hasher.wait(write(tmp_path / "a", b"")) == hashlib.sha256(b"").hexdigest()


def test_hashes_are_cached_on_disk_until_the_file_changes(hasher, tmp_path):
    stamp = write(tmp_path / "a", b"one")
    hasher.wait(stamp)
    restarted = FileHasher(tmp_path / "cache" / "hashes.json", lambda stamp, digest: None)
    assert restarted.get_cached(stamp) == hashlib.sha256(b"one").hexdigest()
    assert restarted.get_cached(write(tmp_path / "a", b"other")) == ""
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("content", ["{broken", "[1]", '{"a": [1, 2]}', '{"a": "b"}', "\udcff"])
def test_a_damaged_cache_is_rebuilt(tmp_path, content):
    file = tmp_path / "hashes.json"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    hasher = FileHasher(file, lambda stamp, digest: None)
    stamp = write(tmp_path / "a", b"one")
    digest = hasher.wait(stamp)
    assert json.loads(file.read_text(encoding="utf-8"))[stamp.path][2] == digest


def test_an_urgent_file_is_hashed_first_even_before_one_in_progress(tmp_path):
    order, finished = [], threading.Event()
    names = [tmp_path / name for name in ("big", "second", "urgent")]
    big, second, urgent = (write(name, b"x" * 400_000) for name in names)

    def record(stamp, digest):
        order.append(stamp)
        if len(order) == 3:
            finished.set()

    def hash_chunk_after_urgent_arrives(job):
        if job.stamp == big and job.offset:  # stays in progress until the urgent file is queued
            with hasher._changed:
                hasher._changed.wait_for(
                    lambda: (
                        hasher.get_cached(urgent)
                        or urgent in [queued.stamp for queued in hasher._jobs]
                    )
                )
        return hash_next_chunk(job, chunk_bytes=1000)

    hasher = FileHasher(tmp_path / "hashes.json", record, hash_chunk_after_urgent_arrives)
    hasher.enqueue([big, second])
    hasher.wait(urgent)
    assert finished.wait(TIMEOUT_S)
    assert order == [urgent, big, second]
    assert hasher.get_cached(big) == hashlib.sha256(b"x" * 400_000).hexdigest()


def test_waiting_ends_at_the_timeout_and_hashing_continues(tmp_path):
    resume = threading.Event()
    hasher = FileHasher(
        tmp_path / "hashes.json",
        lambda stamp, digest: None,
        lambda job: resume.wait(TIMEOUT_S) and hash_next_chunk(job),
    )
    stamp = write(tmp_path / "a", b"x" * 400_000)
    assert hasher.wait(stamp, timeout_s=0.001) == ""
    resume.set()
    assert hasher.wait(stamp) != ""


def test_a_missing_or_changed_file_is_an_error_not_a_wrong_hash(hasher, tmp_path):
    stamp = write(tmp_path / "a", b"one")
    (tmp_path / "a").write_bytes(b"longer than before")
    with pytest.raises(BadFile, match="changed"):
        hasher.wait(stamp)
    (tmp_path / "a").unlink()
    with pytest.raises(BadFile, match="No such file"):
        hasher.wait(stamp)


def test_stopping_ends_every_wait(tmp_path):
    never_ends = lambda job: False  # noqa: E731
    hasher = FileHasher(tmp_path / "hashes.json", lambda stamp, digest: None, never_ends)
    stamp = write(tmp_path / "a", b"x")
    threading.Timer(0.05, hasher.stop).start()
    assert hasher.wait(stamp) == ""


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    hasher = FileHasher(tmp_path / "cache" / "hashes.json", lambda stamp, digest: None)
    assert hasher.wait(write(tmp_path / "a", b"one")) == hashlib.sha256(b"one").hexdigest()
    assert "cannot be written" in caplog.text

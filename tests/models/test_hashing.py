import hashlib
import json
import threading

import pytest

from modules.core.errors import BadFile
from modules.models import hashing
from modules.models.hashing import FileHasher
from modules.models.scan import FileStamp

PATIENCE_S = 60


def stamp_of(path):
    status = path.stat()
    return FileStamp(str(path), status.st_size, status.st_mtime_ns)


def write(path, content):
    path.write_bytes(content)
    return stamp_of(path)


@pytest.fixture
def hashes(tmp_path):
    made = FileHasher(tmp_path / "cache" / "hashes.json", lambda stamp, digest: None)
    yield made
    made.stop()


def test_a_hash_is_sha256_of_the_whole_file(hashes, tmp_path):
    stamp = write(tmp_path / "a", b"weights" * 3_000_000)
    assert hashes.get_cached(stamp) == ""
    digest = hashes.wait(stamp)
    assert digest == hashlib.sha256(b"weights" * 3_000_000).hexdigest()
    assert hashes.get_cached(stamp) == digest


def test_an_empty_file_has_a_hash(hashes, tmp_path):
    assert hashes.wait(write(tmp_path / "a", b"")) == hashlib.sha256(b"").hexdigest()


def test_hashes_are_remembered_until_the_file_changes(hashes, tmp_path):
    stamp = write(tmp_path / "a", b"one")
    hashes.wait(stamp)
    again = FileHasher(tmp_path / "cache" / "hashes.json", lambda stamp, digest: None)
    assert again.get_cached(stamp) == hashlib.sha256(b"one").hexdigest()
    assert again.get_cached(write(tmp_path / "a", b"other")) == ""
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("content", ["{broken", "[1]", '{"a": [1, 2]}', '{"a": "b"}', "\udcff"])
def test_a_damaged_cache_is_begun_anew(tmp_path, content):
    file = tmp_path / "hashes.json"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    hashes = FileHasher(file, lambda stamp, digest: None)
    stamp = write(tmp_path / "a", b"one")
    digest = hashes.wait(stamp)
    assert json.loads(file.read_text(encoding="utf-8"))[stamp.path][2] == digest


def test_the_urgent_file_is_first_even_before_one_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "CHUNK_BYTES", 1000)
    done, finished = [], threading.Event()
    names = [tmp_path / name for name in ("big", "second", "urgent")]
    big, second, urgent = (write(name, b"x" * 400_000) for name in names)

    def note(stamp, digest):
        done.append(stamp)
        if len(done) == 3:
            finished.set()

    hashes = FileHasher(tmp_path / "hashes.json", note)
    advance = hashing._advance

    def advance_to_the_urgent(job):
        if job.stamp == big and job.offset:  # stays under way until the urgent one has come
            with hashes._changed:
                hashes._changed.wait_for(
                    lambda: (
                        hashes.get_cached(urgent) or urgent in [one.stamp for one in hashes._jobs]
                    )
                )
        return advance(job)

    monkeypatch.setattr(hashing, "_advance", advance_to_the_urgent)
    hashes.enqueue([big, second])
    hashes.wait(urgent)
    assert finished.wait(PATIENCE_S)
    assert done == [urgent, big, second]
    assert hashes.get_cached(big) == hashlib.sha256(b"x" * 400_000).hexdigest()


def test_waiting_ends_with_the_time_given_and_the_work_goes_on(tmp_path, monkeypatch):
    go_on, advance = threading.Event(), hashing._advance
    monkeypatch.setattr(hashing, "_advance", lambda job: go_on.wait(PATIENCE_S) and advance(job))
    hashes = FileHasher(tmp_path / "hashes.json", lambda stamp, digest: None)
    stamp = write(tmp_path / "a", b"x" * 400_000)
    assert hashes.wait(stamp, timeout_s=0.001) == ""
    go_on.set()
    assert hashes.wait(stamp) != ""


def test_a_file_that_is_gone_or_has_changed_is_an_error_not_a_wrong_hash(hashes, tmp_path):
    stamp = write(tmp_path / "a", b"one")
    (tmp_path / "a").write_bytes(b"longer than before")
    with pytest.raises(BadFile, match="changed"):
        hashes.wait(stamp)
    (tmp_path / "a").unlink()
    with pytest.raises(BadFile, match="No such file"):
        hashes.wait(stamp)


def test_stopping_ends_those_who_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "_advance", lambda job: False)  # a file without an end
    hashes = FileHasher(tmp_path / "hashes.json", lambda stamp, digest: None)
    stamp = write(tmp_path / "a", b"x")
    threading.Timer(0.05, hashes.stop).start()
    assert hashes.wait(stamp) == ""


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    hashes = FileHasher(tmp_path / "cache" / "hashes.json", lambda stamp, digest: None)
    assert hashes.wait(write(tmp_path / "a", b"one")) == hashlib.sha256(b"one").hexdigest()
    assert "cannot be remembered" in caplog.text

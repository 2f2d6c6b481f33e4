"""The stamp of a finished set-up."""

from __future__ import annotations

import pytest

from modules.launch.stamp import (
    STAMP_NAME,
    TEST_STAMP_NAME,
    Stamp,
    fingerprint,
    read_stamp,
    remove_stamp,
    write_stamp,
)

STAMP = Stamp("abc", "3.12", "2.13.0+cu130", "cuda", "a card", "a warning")


def test_a_stamp_is_read_as_it_was_written(tmp_path):
    write_stamp(tmp_path, STAMP)
    assert read_stamp(tmp_path) == STAMP
    assert [path.name for path in tmp_path.iterdir()] == [STAMP_NAME]


def test_each_name_is_a_stamp_of_its_own(tmp_path):
    write_stamp(tmp_path, STAMP, TEST_STAMP_NAME)
    assert read_stamp(tmp_path) is None
    assert read_stamp(tmp_path, TEST_STAMP_NAME) == STAMP


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"fingerprint": "abc"}', "\udc80"])
def test_a_torn_stamp_is_none(tmp_path, content):
    (tmp_path / STAMP_NAME).write_text(content, encoding="utf-8", errors="surrogateescape")
    assert read_stamp(tmp_path) is None


def test_removing_needs_no_stamp(tmp_path):
    remove_stamp(tmp_path)
    write_stamp(tmp_path, STAMP)
    remove_stamp(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_changes_with_content_and_facts_only(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_bytes(b"a==1\n")
    two.write_bytes(b"a==1\r\n")
    assert fingerprint([one], "x") == fingerprint([two], "x")
    assert fingerprint([one], "x") != fingerprint([one], "y")
    assert fingerprint([one], "", "x") != fingerprint([one], "x", "")
    assert fingerprint([one]) != fingerprint([tmp_path / "missing.txt"])

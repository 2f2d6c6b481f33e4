"""The install state of a finished set-up."""

from __future__ import annotations

import pytest

from modules.launch.install_state import (
    STATE_FILENAME,
    TEST_STATE_FILENAME,
    InstallState,
    fingerprint,
    read_install_state,
    remove_install_state,
    write_install_state,
)

STATE = InstallState("abc", "3.12", "2.13.0+cu130", "cuda", "a card", "a warning")


def test_a_state_is_read_as_it_was_written(tmp_path):
    write_install_state(tmp_path, STATE)
    assert read_install_state(tmp_path) == STATE
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILENAME]


def test_each_file_name_holds_a_separate_state(tmp_path):
    write_install_state(tmp_path, STATE, TEST_STATE_FILENAME)
    assert read_install_state(tmp_path) is None
    assert read_install_state(tmp_path, TEST_STATE_FILENAME) == STATE


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"fingerprint": "abc"}', "\udc80"])
def test_an_incomplete_state_is_none(tmp_path, content):
    (tmp_path / STATE_FILENAME).write_text(content, encoding="utf-8", errors="surrogateescape")
    assert read_install_state(tmp_path) is None


def test_removing_a_missing_state_is_no_error(tmp_path):
    remove_install_state(tmp_path)
    write_install_state(tmp_path, STATE)
    remove_install_state(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_changes_with_content_and_facts_only(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_bytes(b"a==1\n")
    two.write_bytes(b"a==1\r\n")
    assert fingerprint([one], "x") == fingerprint([two], "x")
    assert fingerprint([one], "x") != fingerprint([one], "y")
    assert fingerprint([one], "", "x") != fingerprint([one], "x", "")
    assert fingerprint([one]) != fingerprint([tmp_path / "missing.txt"])

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modules.core.errors import NotFound, StorageError, UserError
from modules.prompt.styles import Style, Styles, apply_style


@pytest.fixture
def styles(tmp_path: Path) -> Styles:
    return Styles(tmp_path / "data" / "styles.csv")


@pytest.mark.parametrize(
    ("prompt", "style", "expected"),
    [
        ("a cat", "ink drawing", "a cat, ink drawing"),
        ("a cat", "a photo of {prompt}, sharp", "a photo of a cat, sharp"),
        (" a cat ", " ink ", "a cat, ink"),
        ("a cat", "", "a cat"),
        ("", "ink", "ink"),
        ("", "{prompt}!", "!"),
    ],
)
def test_a_style_wraps_the_prompt_or_follows_it(prompt: str, style: str, expected: str):
    assert apply_style(prompt, style) == expected


def test_without_a_file_there_are_no_styles(styles: Styles):
    assert styles.all() == []


def test_a_file_written_by_a1111_is_read(styles: Styles):
    styles.path.parent.mkdir()
    text = '\ufeffname,prompt,negative_prompt\r\nInk,"ink, ""fine""\nlines",photo\r\nPlain,,\r\n'
    styles.path.write_bytes(text.encode())
    assert styles.all() == [Style("Ink", 'ink, "fine"\nlines', "photo"), Style("Plain")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"name,text\nold,ink\n", [Style("old", "ink")]),
        (b"name,prompt\nshort\n,nameless\nlong,a,b,c\n", [Style("short"), Style("long", "a")]),
        (b"name,prompt\nx,caf\xe9\n", [Style("x", "caf\u00e9")]),
        (b"name,prompt\nx,first\nx,second\n", [Style("x", "second")]),
        (b"no columns at all\n1\n2\n", []),
        (b'name,prompt\nx,"never closed', [Style("x", "never closed")]),
    ],
)
def test_malformed_files_are_read_as_far_as_possible(
    styles: Styles, data: bytes, expected: list[Style]
):
    styles.path.parent.mkdir()
    styles.path.write_bytes(data)
    assert styles.all() == expected


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300))
def test_any_file_content_is_accepted(styles: Styles, data: bytes):
    styles.path.parent.mkdir(exist_ok=True)
    styles.path.write_bytes(data)
    assert isinstance(styles.all(), list)


def test_a_saved_style_is_read_back_and_replaces_one_of_the_same_name(styles: Styles):
    styles.save(Style("ink", 'a "b", c\nd', "e"))
    styles.save(Style("oil", "o"))
    styles.save(Style("ink", "new"))
    assert styles.all() == [Style("ink", "new"), Style("oil", "o")]
    assert styles.path.read_bytes().startswith(b"\xef\xbb\xbfname,prompt,negative_prompt")


def test_a_style_can_be_deleted(styles: Styles):
    styles.save(Style("ink", "a"))
    styles.save(Style("oil", "o"))
    styles.delete("ink")
    assert styles.names() == ["oil"]


def test_an_unknown_style_is_rejected_with_the_nearest_name(styles: Styles):
    styles.save(Style("watercolour", "a"))
    with pytest.raises(NotFound) as caught:
        styles.get("watercolor")
    assert str(caught.value) == "There is no style named 'watercolor'. Did you mean 'watercolour'?"


def test_a_style_without_a_name_is_rejected(styles: Styles):
    with pytest.raises(UserError, match=r"A style needs a name\."):
        styles.save(Style("  "))


def test_a_failed_write_is_reported_and_leaves_the_file_unchanged(
    styles: Styles, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    styles.save(Style("old"))
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="could not be stored"):
        styles.save(Style("ink"))
    assert styles.names() == ["old"]


def test_an_unreadable_file_is_reported(tmp_path: Path):
    with pytest.raises(StorageError, match="cannot be read"):
        Styles(tmp_path).all()
    assert Styles(tmp_path).names() == []

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
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


PORTRAIT = Style("Portrait", "soft light, 85mm", "blurry")
NIGHT = Style("Night", "stars, moon", "day")
QUOTED = (
    'name,prompt,negative_prompt\nPortrait,"soft light, 85mm",blurry\nNight,"stars, moon",day\n'
)
SEMICOLONS = (
    "name;prompt;negative_prompt\nPortrait;soft light, 85mm;blurry\nNight;stars, moon;day\n"
)


@pytest.mark.parametrize(
    "data",
    [
        SEMICOLONS.encode(),
        SEMICOLONS.replace("\n", "\r\n").encode("utf-8-sig"),
        SEMICOLONS.replace(";", "\t").encode("utf-16"),
        SEMICOLONS.replace(";", "\t").encode("utf-16-le"),
        SEMICOLONS.replace(";", "|").encode("utf-16-be"),
        SEMICOLONS.partition("\n")[2].encode(),
        QUOTED.partition("\n")[2].encode(),
        QUOTED.encode("utf-32"),
        QUOTED.replace("name,prompt,negative_prompt", "Name,PROMPT, Negative Prompt ").encode(),
        QUOTED.replace("name,prompt,negative_prompt", "Name,Text,Negative-Prompt").encode(),
        b"sep=;\r\n" + SEMICOLONS.encode(),
        b"sep=#\n" + SEMICOLONS.replace(";", "#").encode(),
    ],
)
def test_the_forms_of_spreadsheets_are_read_and_kept_when_a_style_is_saved(
    styles: Styles, data: bytes
):
    styles.path.parent.mkdir()
    styles.path.write_bytes(data)
    assert styles.all() == [PORTRAIT, NIGHT]
    assert styles.save(Style("new")) == ""
    assert styles.all() == [PORTRAIT, NIGHT, Style("new")]
    assert [path.name for path in styles.path.parent.iterdir()] == ["styles.csv"]


def test_a_long_cell_and_the_styles_after_it_are_kept(styles: Styles):
    styles.save(Style("long", "a" * 200_000))
    styles.save(Style("after", "b"))
    styles.save(Style("last", "c"))
    assert [len(style.prompt) for style in styles.all()] == [200_000, 1, 1]
    assert csv.field_size_limit() == 131_072


def test_foreign_columns_duplicates_and_nameless_rows_are_kept(styles: Styles):
    styles.path.parent.mkdir()
    text = "name,icon,prompt,negative_prompt\nx,1,first,\n,2,nameless,\nx,3,second,\ny,4,a,b,more\n"
    styles.path.write_text(text)
    styles.save(Style("x", "third"))
    assert styles.path.read_text("utf-8-sig") == text.replace("second", "third")


def test_a_column_that_is_missing_is_added(styles: Styles):
    styles.path.parent.mkdir()
    styles.path.write_text("name,prompt\nx,a\n")
    styles.save(Style("y", "b", "c"))
    assert styles.all() == [Style("x", "a"), Style("y", "b", "c")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"one column\nwithout styles\n", "it has no column 'name'"),
        (b"title,prompt,negative_prompt,icon\na,b,c,d\n", "it has no column 'name'"),
        (b'name,prompt\nx,"never closed\ny,b\n', "a line is malformed"),
        (b'name,prompt\nx,"closed" too soon\n', "a line is malformed"),
        ("name,prompt\nx,картина\n".encode("cp1251"), "its encoding is neither"),
        (b"name,prompt\nx,a\0b\n", "its encoding is neither"),
        (QUOTED.encode("utf-16")[:-1], "its encoding is neither"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xff\xfe" * 9, "its encoding is neither"),
    ],
)
def test_what_was_not_understood_is_kept_aside_before_the_file_is_written(
    styles: Styles, data: bytes, reason: str
):
    styles.path.parent.mkdir()
    for name in ("styles.csv.unreadable", "styles.csv.unreadable-2"):
        styles.path.write_bytes(data)
        remark = styles.save(Style("new"))
        assert reason in remark
        assert f"It is kept as {name};" in remark
        assert styles.path.with_name(name).read_bytes() == data
        assert "new" in styles.names()


def test_a_copy_that_cannot_be_made_leaves_the_file_unchanged(
    styles: Styles, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    styles.path.parent.mkdir()
    styles.path.write_bytes(b"one column\n")
    monkeypatch.setattr("shutil.copyfileobj", refuse)
    with pytest.raises(StorageError, match="No space left"):
        styles.save(Style("new"))
    assert [path.name for path in styles.path.parent.iterdir()] == ["styles.csv"]
    assert styles.path.read_bytes() == b"one column\n"


def test_half_a_character_is_rejected(styles: Styles):
    with pytest.raises(UserError, match="half a character"):
        styles.save(Style("x", "\ud800"))
    assert styles.all() == []


def test_styles_saved_at_the_same_time_are_all_kept(styles: Styles):
    names = [f"style {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: styles.save(Style(name)), names))
    assert sorted(styles.names()) == names


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

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from modules.prompt.dynamic.wildcards import WildcardLibrary


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"red\r\n\r\n  blue  \r\n", ("blue", "red")),
        ("\ufeffroot\n".encode(), ("root",)),
        ("grün\n".encode("utf-16"), ("grün",)),
        ("grün\n".encode("cp1252"), ("grün",)),
        (b"# all of these\nred # warm\n#ff0000\na#1\n", ("a#1", "red")),
        (b"", ()),
    ],
)
def test_text_files_hold_a_value_a_line(data: bytes, texts: tuple[str, ...], tmp_path: Path):
    (tmp_path / "colour.txt").write_bytes(data)
    assert WildcardLibrary(tmp_path).read().find("colour").texts == texts


def test_yaml_and_json_files_hold_lists_by_their_keys(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "zoo.yaml").write_text(
        "cats: [tabby, 2::persian, {text: lynx, weight: 3}, 7, null, [x]]\n"
        "dogs:\n  small: pug\n  large: &d [husky, husky]\n  same: *d\nnone:\n",
        "utf-8",
    )
    (tmp_path / "list.json").write_text('["a", "b"]', "utf-8")
    found = WildcardLibrary(tmp_path).read()
    names = ["list", "sub/cats", "sub/dogs/large", "sub/dogs/same", "sub/dogs/small"]
    assert found.names() == names
    cats = found.find("sub/cats")
    assert dict(zip(cats.texts, cats.weights, strict=True)) == {
        "7": 1,
        "lynx": 3,
        "persian": 2,
        "tabby": 1,
    }
    assert found.find("sub/dogs/*").texts == ("husky", "pug")
    assert found.find("s?b/[cd]ats").texts == cats.texts
    assert found.find("**/large").texts == found.find("LARGE").texts == ("husky",)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("bad.yaml", "a: [b", "expected"),
        ("deep.yaml", "a: " + "{a: " * 30 + "b" + "}" * 30, "nested more than 20 times"),
        (
            "bomb.yaml",
            "a: &a {" + ", ".join(f"k{i}: x" for i in range(9)) + "}\n"
            + "".join(
                f"{c}: &{c} {{" + ", ".join(f"k{i}: *{p}" for i in range(9)) + "}\n"
                for p, c in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "more than 20000 keys",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_in_the_log(
    name: str, text: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "good.txt").write_text("a", "utf-8")
    library = WildcardLibrary(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert library.read().names() == ["good"]
        assert library.read().names() == ["good"]
    assert len(caplog.messages) == 1  # until the file changes
    assert name in caplog.messages[0] and reason in caplog.messages[0]


def test_files_are_read_again_when_they_change(tmp_path: Path):
    library = WildcardLibrary(tmp_path / "wildcards")
    assert library.read().names() == []
    (tmp_path / "wildcards" / ".hidden").mkdir(parents=True)
    path = tmp_path / "wildcards" / "colour.txt"
    path.write_text("red", "utf-8")
    (tmp_path / "wildcards" / ".hidden" / "x.txt").write_text("x", "utf-8")
    (tmp_path / "wildcards" / "loop").symlink_to(tmp_path / "wildcards")
    first = library.read()
    assert first.names() == ["colour"]
    path.write_text("blue", "utf-8")
    os.utime(path, (1, 1))
    assert library.read().find("colour").texts == ("blue",)
    assert first.find("colour").texts == ("red",)
    path.unlink()
    assert library.read().names() == []

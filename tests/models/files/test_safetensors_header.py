"""The list of tensors of a .safetensors file: what is written plainly and what is parsed token by token are the same."""

from __future__ import annotations

import json

import pytest

from modules.models.files.safetensors_header import Entry, parse_list

FIELDS = {
    "a.weight": ("F16", [2, 3], [0, 12]),
    "b": ("F32", [], [12, 16]),
    "empty": ("F32", [0, 4], [16, 16]),
    "ü\n": ("BF16", [1], [16, 18]),
}
EXPECTED = {
    name: Entry(tuple(shape), dtype, *span) for name, (dtype, shape, span) in FIELDS.items()
}


def as_json(order: tuple[str, ...], **options: object) -> str:
    entries = {
        name: {
            key: dict(zip(("dtype", "shape", "data_offsets"), row, strict=True))[key]
            for key in order
        }
        for name, row in FIELDS.items()
    }
    return json.dumps({"__metadata__": {"format": "pt"}, **entries}, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"separators": (",", ":")},
        {},
        {"indent": 1},
        {"ensure_ascii": False},
    ],
)
@pytest.mark.parametrize(
    "order", [("dtype", "shape", "data_offsets"), ("data_offsets", "shape", "dtype")]
)
def test_a_list_is_the_same_however_it_is_written(order: tuple[str, ...], options: dict):
    assert parse_list(as_json(order, **options)) == (EXPECTED, {"format": "pt"})
    assert parse_list(as_json(order, **options) + "  \n") == (EXPECTED, {"format": "pt"})


GOOD = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


@pytest.mark.parametrize(
    "text",
    [
        "{" + GOOD + ",}",
        "{" + GOOD,
        "{" + GOOD + "}}",
        "{," + GOOD + "}",
        "{" + GOOD + "," + GOOD + "}",
        "{" + GOOD.replace("[2]", "[02]") + "}",
        "{" + GOOD.replace("[2]", "[2,]") + "}",
        "{" + GOOD.replace("[2]", "[1 2]") + "}",
        "{" + GOOD.replace("[2]", "[٢]") + "}",
        "{" + GOOD.replace("[2]", "[3]") + "}",
        "{" + GOOD.replace("[0,2]", "[2,0]") + "}",
        "{" + GOOD.replace("[0,2]", "[2,1]") + "}",
        "{" + GOOD.replace("[0,2]", "[-2,0]") + "}",
        "{" + GOOD.replace("[0,2]", "[0,2,4]") + "}",
        "{" + GOOD.replace("U8", "U8 ").replace("[2]", "[2.0]") + "}",
        "{" + GOOD.replace('"a"', '"' + "a" * 501 + '"') + "}",
        "{" + GOOD.replace('"a"', '"\\ud800"') + "}",
        "{" + GOOD.replace('"a"', '"a\tb"') + "}",
        "{" + GOOD.replace("[2]", "[9223372036854775808]") + "}",
    ],
)
def test_a_list_with_anything_else_in_it_is_refused(text: str):
    with pytest.raises(ValueError):
        parse_list(text)
    with pytest.raises(ValueError):
        parse_list(text.replace("{", '{"__metadata__":{"a":"b"},', 1))


def test_files_that_differ_in_their_metadata_alone_share_the_parsed_list():
    lists = [parse_list('{"__metadata__":{"a":"' + text + '"},' + GOOD + "}") for text in "bc"]
    assert lists[0][0] is lists[1][0] and lists[0][0] == {"a": Entry((2,), "U8", 0, 2)}
    assert [metadata["a"] for _, metadata in lists] == ["b", "c"]
    assert (lists[0][0].end, lists[0][0].starts) == (2, {"a": 0})
    with pytest.raises(ValueError):
        parse_list('{"__metadata__":{},' + GOOD + ',"__metadata__":{}}')


def test_a_tensor_named_like_the_metadata_is_refused():
    assert parse_list("{" + GOOD + "}")[0] == {"a": Entry((2,), "U8", 0, 2)}
    with pytest.raises(ValueError):
        parse_list("{" + GOOD.replace('"a"', '"__metadata__"') + "}")

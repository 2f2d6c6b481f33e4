import pytest

from modules.core.errors import NotFound, UserError
from modules.models.ldm.yaml import YamlCache, read_yaml


def read(tmp_path, text):
    file = tmp_path / "model.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(file)


def test_values_are_read_by_their_type(tmp_path):
    section = read(tmp_path, "a:\n  n: 3\n  x: 1e-4\n  l: [1, 2]\n  s: v\n  f: true\n").section("a")
    assert section.integer("n") == 3
    assert section.number("x") == 0.0001
    assert section.integers("l") == (1, 2)
    assert section.integers("n") == (3,)
    assert section.string("s") == "v"
    assert section.boolean("f", default=False)
    assert section.section("absent").values == {}
    assert section.integer("absent", 7) == 7


def test_a_path_leads_through_mappings_and_lists(tmp_path):
    root = read(tmp_path, "a:\n  l:\n  - n: 1\n  - n: 2\n")
    assert root.at("a.l.1").integer("n") == 2
    assert root.at("a.l.7").values == root.at("a.m.0").values == {}
    with pytest.raises(UserError, match=r"a\.l\.0\.n should be a mapping"):
        root.at("a.l.0.n")


def test_references_within_the_file_are_resolved(tmp_path):
    assert read(tmp_path, "a: 64\nb: ${a}\n").integer("b") == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  n: three", r"model.yaml', a\.n should be a whole number, not 'three'"),
        ("a:\n  n: true", r"a\.n should be a whole number, not True"),
        ("a: 5", "a should be a mapping, not 5"),
        ("a:\n  m: 3", r"lacks a\.n"),
    ],
)
def test_an_invalid_value_is_reported_with_file_and_key(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text).section("a").integer("n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "broken in line 3"),
        (
            "a: !!python/object/apply:os.system ['touch x']\n",
            "broken in line 1: could not determine",
        ),
        ("- 1\n- 2\n", "does not describe a model"),
        ("a: ${nowhere}\n", "broken"),
        (b"\xff\xfe\x00", "not a text file"),
        ("a: &a [1]\nb: [" + "*a," * 60 + "]\n", "too deeply nested"),
        ("# " + "x" * 300_000, "too large"),
        ("[" * 100_000, "too deeply nested"),
    ],
)
def test_an_invalid_file_is_described(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        read_yaml(tmp_path / "gone.yaml")


def test_a_file_is_read_again_only_after_a_change(tmp_path):
    file, cache = tmp_path / "model.yaml", YamlCache()
    file.write_text("model: {params: {image_size: 64}}")
    first = cache.read(file)
    assert cache.read(file) is first
    file.write_text("model: {params: {image_size: 96}}  # longer")
    assert cache.read(file).section("model").section("params").integer("image_size") == 96
    file.unlink()
    with pytest.raises(NotFound):
        cache.read(file)

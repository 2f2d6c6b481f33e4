import time
from pathlib import Path

import pytest

from modules.core.errors import NotFound, Unsupported, UserError
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


REFERENCE = "broken in line 2: a reference such as"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 64\nb: ${a}\n", REFERENCE),
        ("a: 1\n${a}: 1\n", REFERENCE),
        ('a: 1\nb: "\\x24{a}"\n', REFERENCE),
        ("a: 1\nb: |\n  x\n  ${oc.env:SECRET}\n", REFERENCE),
        ("a: 1\nb: ${oc.env:SECRET}\n", REFERENCE),
        ("a: 1\nb: ${oc.decode:'[1]'}\n", REFERENCE),
        ('a: 1\nb: [x, {y: "${.a}"}]\n', REFERENCE),
        ("a: 1\nb: " + "${" * 2000 + "a" + "}" * 2000, REFERENCE),
        ("a: &a {x: 1}\nb: &b [*b]\n", "too many values or aliases"),
        ("a: &a [" + "1," * 900 + "1]\nb: [*a, *a, *a]\n", "too many values or aliases"),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(20)),
            "too many values or aliases",
        ),
        ("a: [" + "1," * 3000 + "1]\n", "too many values or aliases"),
        ("".join(f"a{n}: 1\n" for n in range(1500)), "too many values or aliases"),
        ("x" * 5000 + ": 1\n", "too large"),
        ("a: 0x" + "f" * 50_000 + "\n", "too large"),
        ("a: 1" + ":59" * 50_000 + "\n", "too large"),
        ('a: "\\ud800"\n', "half a character"),
        ('"\\udfff": 1\n', "half a character"),
        ("a: !!timestamp x\n", "the tag"),
        ("a: !!int ''\n", "the tag"),
        ("a: !!bool x\n", "the tag"),
        ("a: !!set {x, y}\n", "the tag"),
        ("a: !!python/name:os.system\n", "the tag"),
        ("!!omap [x: 1]\n", "the tag"),
        ("5\n", "does not describe a model"),
        ("text\n", "does not describe a model"),
        ("a: 1\n---\nb: 1\n", "broken in line 2"),
        ("a: 0x_\n", "broken"),
        ("a: *nobody\n", "too many values or aliases"),
    ],
)
def test_what_could_take_memory_or_time_or_look_elsewhere_is_refused(
    tmp_path, monkeypatch, text, message
):
    monkeypatch.setenv("SECRET", "open sesame")
    started = time.thread_time()
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, text)
    assert time.thread_time() - started < 2
    assert "sesame" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_few_aliases_and_merges_are_read(tmp_path):
    root = read(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert root.section("b").values == {"x": 1, "y": 2}
    assert root.at("c.1").integer("x") == 1


def test_a_dollar_without_a_brace_and_comments_are_no_references(tmp_path):
    assert read(tmp_path, "# ${a}\na: $b {c}\n").string("a") == "$b {c}"


def test_every_key_is_text(tmp_path):
    assert list(read(tmp_path, "1: a\n.nan: b\nx: d\n").values) == [
        "1",
        "nan",
        "x",
    ]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e400", "1" + "0" * 400])
def test_a_number_is_finite(tmp_path, value):
    section = read(tmp_path, f"a: {value}\n")
    with pytest.raises(UserError, match="a should be a finite number"):
        section.number("a")


@pytest.mark.parametrize("value", ["1" + "0" * 400, "-1" + "0" * 10, "0x" + "f" * 900])
def test_a_whole_number_is_bounded(tmp_path, value):
    section = read(tmp_path, f"a: {value}\nl: [{value}]\n")
    with pytest.raises(UserError, match="a should be at most"):
        section.integer("a")
    with pytest.raises(UserError, match="l should be a list of numbers of at most"):
        section.integers("l")


def test_a_long_unsupported_value_is_shortened(tmp_path):
    section = read(tmp_path, "a: [" + "1," * 900 + "1]\n")
    with pytest.raises(Unsupported) as caught:
        section.require_supported({"a": (1,)})
    assert len(str(caught.value)) < 500


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a system without devices")
def test_a_link_to_a_device_without_end_is_not_read(tmp_path):
    (tmp_path / "model.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="it is not a file"):
        read_yaml(tmp_path / "model.yaml")

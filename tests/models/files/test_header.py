import tracemalloc

import pytest

from modules.core.errors import BadFile, NotFound
from modules.models.files.header import read_header
from tests.models.model_files import shapes_of, write_safetensors


def error_of(path):
    with pytest.raises(BadFile) as caught:
        read_header(path)
    return str(caught.value)


def test_names_shapes_and_metadata_are_read_without_the_weights(tmp_path):
    path = write_safetensors(tmp_path / "full.safetensors", shapes_of("sd1"))
    header = read_header(path)
    assert header.container == "safetensors"
    assert header.tensors["model.diffusion_model.input_blocks.0.0.weight"].shape == (320, 4, 3, 3)
    assert header.tensors["betas"].dtype == "F16"
    assert header.metadata == {"format": "pt"}
    assert path.stat().st_size > 2_000_000_000


def test_a_wrong_extension_does_not_matter(tmp_path):
    path = write_safetensors(tmp_path / "really_safetensors.ckpt", {"a": [2, 3]})
    assert read_header(path).container == "safetensors"


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        read_header(tmp_path / "gone.safetensors")


def test_an_incomplete_download_reports_how_much_is_present(tmp_path):
    path = write_safetensors(tmp_path / "half.safetensors", shapes_of("sd1"))
    with path.open("r+b") as file:
        file.truncate(1_200_000_000)
    assert "'half.safetensors' is incomplete: 1.2 of 2.1 GB. Download it again." in error_of(path)


def test_a_file_cut_within_its_header_is_incomplete(tmp_path):
    path = write_safetensors(tmp_path / "start.safetensors", shapes_of("vae"))
    with path.open("r+b") as file:
        file.truncate(1000)
    assert "incomplete" in error_of(path)


def test_a_file_with_bytes_after_its_last_tensor_is_refused(tmp_path):
    path = write_safetensors(tmp_path / "long.safetensors", {"a": [2]})
    path.write_bytes(path.read_bytes() + b"12345")
    assert "5 bytes too many" in error_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 42\n",
            "Git LFS pointer",
        ),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n  <HTML><head>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        (bytes(100_000), "begins with zeros"),
        (b"not a model at all", "neither"),
        (b"PK\x03\x04 half a zip archive", "incomplete"),
        (b"\x80", "damaged"),
        (b"\x80\x02garbage", "damaged"),
        ((9).to_bytes(8, "little") + b'{"a": 12}', "damaged list"),
        ((4).to_bytes(8, "little") + b"{oh}", "damaged list"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "neither"),
        ((90_000_000).to_bytes(8, "little") + b"{}", "incomplete"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_described(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert message in error_of(path)


@pytest.mark.parametrize(
    "entry",
    [
        '{"dtype": "F16", "shape": [2], "data_offsets": [0, 5]}',
        '{"dtype": "F16", "shape": [-2], "data_offsets": [0, -4]}',
        '{"dtype": "F16", "shape": [2], "data_offsets": [0]}',
        '{"dtype": "F16", "shape": 2, "data_offsets": [0, 4]}',
        '{"shape": [2], "data_offsets": [0, 4]}',
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        '{"dtype": "F16", "shape": [2], "data_offsets": [0, 4], "x": '
        + "[" * 1400
        + "]" * 1400
        + "}",
        '{"dtype": "Q", "shape": [2], "data_offsets": [0, 1' + "0" * 2000 + "]}",
        '{"dtype": "Q", "shape": [2], "data_offsets": [0, 1' + "0" * 10_000 + "]}",
        '{"dtype": "Q", "shape": [1' + "0" * 2000 + '], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [Infinity], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [1e300], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [2.5], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [true], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [{}], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [[1], [2]], "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": "12", "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": {"1": 2}, "data_offsets": [0, 4]}',
        '{"dtype": "Q", "shape": [' + "1," * 3000 + '1], "data_offsets": [0, 4]}',
        '{"dtype": "F16", "shape": [0, 4611686018427387904, 4], "data_offsets": [0, 0]}',
        '{"dtype": "Q", "shape": [2], "data_offsets": [0, NaN]}',
        '{"dtype": "Q", "shape": [2], "data_offsets": [0, -Infinity]}',
        '{"dtype": "Q", "shape": [2], "data_offsets": [false, true]}',
        '{"dtype": "Q", "shape": [2], "data_offsets": [4, 0]}',
        '{"dtype": "F16", "shape": [2], "data_offsets": [0, 4, 8]}',
        '{"dtype": "\\ud800", "shape": [2], "data_offsets": [0, 4]}',
        '{"dtype": ["F16"], "shape": [2], "data_offsets": [0, 4]}',
        '{"dtype": "F16", "dtype": "F32", "shape": [2], "data_offsets": [0, 4]}',
        "null",
        '"text"',
    ],
)
def test_a_damaged_entry_is_a_damaged_list(tmp_path, entry):
    header = f'{{"a": {entry}}}'.encode()
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "damaged list of tensors" in error_of(path)


def test_a_folder_cannot_be_read(tmp_path):
    assert "cannot be read" in error_of(tmp_path)


GOOD = '{"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}'


def write_header(path, text, body=bytes(4)):
    header = text.encode(errors="surrogatepass")
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f'{{"a": {GOOD}, "a": {GOOD}}}',
        f'{{"\\ud800": {GOOD}}}',
        f'{{"\ud800": {GOOD}}}',
        f'{{"{"a" * 1000}": {GOOD}}}',
        f'{{"a": {GOOD}}} {{}}',
        f'{{"a": {GOOD},}}',
        f'{{"a" {GOOD}}}',
        f"{{a: {GOOD}}}",
        f'{{"__metadata__": [1, 2], "a": {GOOD}}}',
        f'{{"__metadata__": "text", "a": {GOOD}}}',
        f'{{"__metadata__": {{"x": {{"y": 1}}}}, "a": {GOOD}}}',
        f'{{"__metadata__": {{"x": 1}}, "a": {GOOD}}}',
        f'{{"__metadata__": {{}}, "__metadata__": {{}}, "a": {GOOD}}}',
        '{"__metadata__": {' + ",".join(f'"{n}": ""' for n in range(20_000)) + "}}",
        '{"a":' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        '{"a": [' + "[]," * 4_000_000 + "0]}",
    ],
)
def test_an_odd_list_of_tensors_is_damage_and_costs_little(tmp_path, text):
    path = write_header(tmp_path / "odd.safetensors", text)
    tracemalloc.start()
    assert "damaged list of tensors" in error_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_a_list_longer_than_that_of_any_model_is_not_read(tmp_path):
    path = write_header(tmp_path / "long.safetensors", "{" + " " * 90_000_000 + "}")
    assert "has a list of tensors of 90.0 MB; no model has more than 16 MB" in error_of(path)


def test_real_forms_of_the_list_are_read(tmp_path):
    notes = '{"ss_tag_frequency": "{\\"a\\": {\\"b\\": 1}}", "half": "\\ud83d", "\u00e9": ""}'
    entry = '{"data_offsets":[0,4],"extra":null,"dtype":"F16","shape":[2]}'
    text = f'{{ "__metadata__" : {notes} ,\n"b" : {entry}, "\u00e9": {GOOD} }}   '
    header = read_header(write_header(tmp_path / "real.safetensors", text))
    assert list(header.tensors) == ["b", "\u00e9"]
    assert header.metadata["ss_tag_frequency"] == '{"a": {"b": 1}}'
    assert header.metadata["half"] == "?"
    bare = read_header(write_header(tmp_path / "bare.safetensors", '{"__metadata__": null}', b""))
    assert bare.metadata == bare.tensors == {}


def test_more_tensors_than_any_model_has_are_damage(tmp_path):
    text = "{" + ",".join(f'"{n}": {GOOD}' for n in range(60_000)) + "}"
    assert "damaged list" in error_of(write_header(tmp_path / "many.safetensors", text))

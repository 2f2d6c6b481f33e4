"""The tool that compares what two versions of the program make."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from tools import fingerprint
from tools.fingerprint import Line, Server, compare, digest_json, digest_pixels, read_lines
from tools.fingerprint_case import Names, case
from tools.fingerprint_cases import all_cases
from tools.fingerprint_images import fill_in

NAMES = Names(("/openapi.json",), ("Euler", "DDIM"), ("Karras",), ("None", "Lanczos"), ("Latent",))
SAME, OTHER = Line("a/1", "00", '"x"'), Line("a/1", "11", '"x"')


def coded(image: Image.Image, format: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_digest_is_of_pixels_and_not_of_files():
    image = Image.radial_gradient("L").convert("RGB")
    assert digest_pixels([coded(image)]) == digest_pixels([coded(image, "BMP")])


def test_one_pixel_makes_another_digest():
    image = Image.new("RGB", (8, 8))
    before = digest_pixels([coded(image)])
    image.putpixel((3, 3), (0, 0, 1))
    assert digest_pixels([coded(image)]) != before


def test_the_same_bytes_in_another_size_make_another_digest():
    sizes = [(8, 2), (2, 8)]
    assert len({digest_pixels([coded(Image.new("RGB", size))]) for size in sizes}) == 2


def test_json_is_without_the_folders_of_its_run():
    servers = [Server(Path("/a"), Path("/tmp/b"), 1), Server(Path("/c"), Path("/tmp/d"), 2)]
    digests = [
        digest_json(server, {"x": str(server.data / "y"), "z": [str(server.root)]})
        for server in servers
    ]
    assert digests[0] == digests[1]
    assert digests[0][1] == '{"x": "<data>/y", "z": ["<root>"]}'


def test_long_json_is_shortened_to_its_digest():
    digest, text = digest_json(Server(Path("/a"), Path("/b"), 1), ["x" * 3000])
    assert text == digest


def test_equal_lines_have_no_difference():
    assert compare([SAME], [SAME]) == (["0 of 1 cases differ."], 0)


def test_a_difference_shows_what_was_expected_and_what_came():
    lines, count = compare([SAME], [OTHER])
    assert count == 1
    assert lines == [
        *("--- expected", "+++ got", '-a/1\t00\t"x"', '+a/1\t11\t"x"'),
        "1 of 1 cases differ.",
    ]


def test_a_case_that_is_missing_or_new_is_a_difference():
    assert compare([SAME], [])[1] == compare([], [SAME])[1] == 1


def test_lines_come_back_from_a_file(tmp_path: Path):
    lines = [SAME, Line("b", "refused 422", '"a\\nb\u2028c"')]
    file = tmp_path / "lines.tsv"
    file.write_text("\n".join(map(str, lines)) + "\n", encoding="utf-8")
    assert read_lines(file) == lines


def test_every_case_has_a_name_of_its_own_and_images_that_are_drawn():
    cases = all_cases(NAMES)
    assert len({one.name for one in cases}) == len(cases)
    assert "@" not in {str(text)[:1] for one in cases for text in fill_in(one.body or {}).values()}


def test_what_a_case_asks_for_comes_before_what_its_task_does():
    made = case("group", "img2img", {"denoising_strength": 0.1, "steps": 3}, row="row")
    assert made.name == "group/img2img/demo/row"
    assert (made.body or {})["denoising_strength"] == 0.1
    assert (made.body or {})["override_settings"] == {"sd_model_checkpoint": "demo.safetensors"}


@pytest.mark.slow
def test_the_program_gives_the_same_lines_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    only = "^(json/sdapi/v1/upscalers|schedule/txt2img/demo/Karras|request/txt2img/demo/size)$"
    assert fingerprint.main(["--only", only]) == 0
    file = tmp_path / "before.tsv"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    names, digests, texts = zip(
        *((one.name, one.digest, one.text) for one in read_lines(file)), strict=True
    )
    assert names == (
        "json/sdapi/v1/upscalers",
        "request/txt2img/demo/size",
        "schedule/txt2img/demo/Karras",
    )
    assert digests[1] == "refused 422"
    assert "Schedule type: Karras" in texts[2]
    assert fingerprint.main(["--only", only, "--against", str(file)]) == 0
    assert capsys.readouterr().out == "0 of 3 cases differ.\n"

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.images.filename import FilenameTokens, fill_pattern, next_file_number, output_folder

VALUES = {
    "prompt": "a cat, red",
    "negative_prompt": "dog",
    "width": "64",
    "height": "32",
    "steps": "20",
    "cfg": "7.5",
    "sampler": "DPM++ 2M",
    "model_name": "dream",
    "model_hash": "0123456789",
    "batch_number": "2",
    "generation_number": "5",
    "job_timestamp": "20260131120000",
}
TOKENS = FilenameTokens("txt2img", 42, VALUES, datetime(2026, 1, 31, 12, 30, 5))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("[seed]", "42"),
        ("[seed]-[prompt_spaces]", "42-a cat, red"),
        ("[prompt]", "a_cat,_red"),
        ("[prompt_words]", "a cat red"),
        ("[width]x[height] [steps] [cfg] [sampler]", "64x32 20 7.5 DPM++ 2M"),
        ("[model_name]-[model_hash]", "dream-0123456789"),
        ("[date]", "2026-01-31"),
        ("[datetime]", "20260131123005"),
        ("[datetime<%H.%M>]", "12.30"),
        ("[datetime<%Y/%m>]", "2026_01"),
        ("[job_timestamp]-[batch_number]-[generation_number]", "20260131120000-2-5"),
        ("[SEED]", "42"),
        ("[hasprompt<cat|><dog|nodog>]", "catnodog"),
        ("[none]", ""),
        ("[nonsense]", "[nonsense]"),
        ("plain words", "plain words"),
    ],
)
def test_tokens_are_replaced(pattern: str, name: str):
    assert fill_pattern(pattern, TOKENS) == name


def test_a_hash_has_the_requested_length():
    assert len(fill_pattern("[prompt_hash]", TOKENS)) == 8
    assert len(fill_pattern("[prompt_hash<12>]", TOKENS)) == 12


@pytest.mark.parametrize(
    "pattern", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "[prompt]/../..", "...", "C:\\x"]
)
def test_no_pattern_leads_to_another_folder(pattern: str):
    name = fill_pattern(pattern, FilenameTokens("txt2img", 1, {"prompt": "../../../evil\0"}))
    assert not set(name) & set("/\\:\0")
    assert not name.startswith(".")


@pytest.mark.parametrize("name", ["con", "NUL", "com1.png", "lpt9"])
def test_device_names_are_prefixed(name: str):
    assert fill_pattern(name, TOKENS) == f"_{name}"


@given(st.text(max_size=400), st.text(max_size=400))
def test_every_filename_is_valid_and_stays_inside_the_outputs(pattern: str, prompt: str):
    tokens = FilenameTokens("txt2img", 1, {"prompt": prompt})
    name = fill_pattern(pattern + "[prompt]", tokens)
    assert len(name.encode()) <= 200
    assert not set(name) & set('<>:"/\\|?*\0\n')
    outputs = Path("/outputs")
    folder = output_folder(outputs, pattern + "/[prompt]", tokens)
    assert outputs / "txt2img-images" in (folder, *folder.parents)
    assert ".." not in folder.parts


def test_there_is_a_folder_per_task_and_day():
    assert output_folder(Path("outputs"), "[date]", TOKENS) == Path(
        "outputs/txt2img-images/2026-01-31"
    )
    assert output_folder(Path("outputs"), "", TOKENS) == Path("outputs/txt2img-images")


def test_a_slash_starts_a_subfolder():
    folder = output_folder(Path("outputs"), "[model_name]/[date]\\x", TOKENS)
    assert folder == Path("outputs/txt2img-images/dream/2026-01-31/x")


def test_numbering_starts_at_zero(tmp_path: Path):
    assert next_file_number(tmp_path) == 0
    assert next_file_number(tmp_path / "not there") == 0


def test_numbering_continues_after_the_largest_number(tmp_path: Path):
    for name in (
        "00000-1.png",
        "00007-1.jpg",
        "100000-5.png",
        "notes.txt",
        "9-1.png",
        ".00200-1.png",
        "2026-01.png",
    ):
        (tmp_path / name).touch()
    assert next_file_number(tmp_path) == 100001


def test_numbers_of_deleted_images_are_not_reused(tmp_path: Path):
    (tmp_path / "00003-1.png").touch()
    assert next_file_number(tmp_path) == 4

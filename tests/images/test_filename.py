from __future__ import annotations

from datetime import date
from pathlib import Path

from modules.images.filename import day_folder, file_name, next_number


def test_a_name_is_number_and_seed():
    assert file_name(0, 42, "png") == "00000-42.png"
    assert file_name(123456, 2**53 - 1, "png") == "123456-9007199254740991.png"


def test_there_is_a_folder_for_each_task_and_day():
    folder = day_folder(Path("outputs"), "txt2img", date(2026, 1, 31))
    assert folder == Path("outputs/txt2img-images/2026-01-31")


def test_counting_begins_at_zero(tmp_path: Path):
    assert next_number(tmp_path) == 0
    assert next_number(tmp_path / "not there") == 0


def test_counting_goes_on_after_the_largest_number(tmp_path: Path):
    for name in ("00000-1.png", "00007-1.jpg", "100000-5.png", "notes.txt", "9-1.png", ".00200-1.png"):
        (tmp_path / name).touch()
    assert next_number(tmp_path) == 100001


def test_numbers_of_deleted_pictures_in_between_stay_free(tmp_path: Path):
    (tmp_path / "00003-1.png").touch()
    assert next_number(tmp_path) == 4

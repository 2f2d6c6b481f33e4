from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import StorageError
from modules.images.filename import FilenameTokens
from modules.images.save import ImageStore, delete_older_files, read_infotext
from modules.params.settings.saving import GridSettings, SavingSettings

RED = Image.new("RGB", (16, 8), (255, 0, 0))
# Writes larger than 64 KB fail, as on a full disk.
FULL_DISK = """
import resource, sys
from pathlib import Path
from PIL import Image
from modules.core.errors import StorageError
from modules.images.filename import FilenameTokens
from modules.images.save import ImageStore
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
noise = Image.effect_noise((400, 400), 100)
try:
    ImageStore(Path(sys.argv[1])).save(noise, "text", FilenameTokens("txt2img", 1))
except StorageError as error:
    print(error)
"""


def test_the_first_image_of_the_day_is_number_zero(tmp_path: Path):
    path = ImageStore(tmp_path).save(RED, "text", FilenameTokens("txt2img", 42))
    assert path.name == "00000-42.png"
    assert path.parent.parent == tmp_path / "txt2img-images"


def test_a_saved_image_has_the_same_pixels(tmp_path: Path):
    path = ImageStore(tmp_path).save(RED, "text", FilenameTokens("txt2img", 1))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == RED.size
        assert image.tobytes() == RED.tobytes()


@pytest.mark.parametrize(
    "text",
    [
        "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a",
        "Ünïcödé Größe",
        "红色的圆 — 日本語 👩‍🚀",
        "",
        "tab\there",
        "x" * 100_000,
        "nul\x00inside",
    ],
)
def test_the_infotext_is_read_back_from_the_file(tmp_path: Path, text: str):
    path = ImageStore(tmp_path).save(RED, text, FilenameTokens("txt2img", 1))
    assert read_infotext(path) == text


def test_an_image_without_infotext_reads_as_empty(tmp_path: Path):
    RED.save(tmp_path / "plain.png")
    assert read_infotext(tmp_path / "plain.png") == ""


def test_concurrent_saves_never_overwrite_each_other(tmp_path: Path):
    stores = [ImageStore(tmp_path), ImageStore(tmp_path)]
    colours = [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        futures = [
            pool.submit(stores[number % 2].save, image, str(number), FilenameTokens("txt2img", 7))
            for number, image in enumerate(colours)
        ]
    saved = [future.result() for future in futures]
    assert len(set(saved)) == 40
    assert [read_infotext(path) for path in saved] == [str(number) for number in range(40)]
    assert sorted(path.name for path in saved[0].parent.iterdir()) == [
        f"{number:05d}-7.png" for number in range(40)
    ]


def test_another_file_with_the_next_name_is_not_overwritten(tmp_path: Path):
    store = ImageStore(tmp_path)
    folder = store.save(RED, "first", FilenameTokens("txt2img", 7)).parent
    (folder / "00001-7.png").mkdir()
    path = store.save(RED, "second", FilenameTokens("txt2img", 7))
    assert path.name == "00002-7.png"


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError) as caught:
        ImageStore(tmp_path / "file").save(RED, "text", FilenameTokens("txt2img", 1))
    assert str(tmp_path / "file") in caught.value.message
    assert "--data-dir" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_no_file_behind(tmp_path: Path, root: Path):
    process = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "could not be saved" in process.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("extension", "format"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")]
)
def test_every_format_carries_the_infotext(tmp_path: Path, extension: str, format: str):
    settings = SavingSettings(samples_format=extension)
    path = ImageStore(tmp_path).save(RED, "Größe, 日本", FilenameTokens("txt2img", 1), settings)
    assert path.name == f"00000-1.{extension}"
    with Image.open(path) as image:
        assert (image.format, image.size) == (format, RED.size)
    assert read_infotext(path) == "Größe, 日本"


def test_jpeg_quality_determines_the_file_size(tmp_path: Path):
    noise = Image.effect_noise((64, 64), 100)
    sizes = [
        ImageStore(tmp_path)
        .save(
            noise,
            "",
            FilenameTokens("txt2img", 1),
            SavingSettings(samples_format="jpg", jpeg_quality=quality),
        )
        .stat()
        .st_size
        for quality in (10, 95)
    ]
    assert sizes[0] * 2 < sizes[1]


def test_a_lossless_webp_keeps_every_pixel(tmp_path: Path):
    noise = Image.effect_noise((32, 32), 100).convert("RGB")
    settings = SavingSettings(samples_format="webp", webp_lossless=True)
    with Image.open(
        ImageStore(tmp_path).save(noise, "", FilenameTokens("txt2img", 1), settings)
    ) as image:
        assert image.tobytes() == noise.tobytes()


def test_an_image_that_its_format_cannot_hold_becomes_a_png(tmp_path: Path):
    wide = Image.new("L", (16384, 1))
    store = ImageStore(tmp_path)
    assert (
        store.save(
            wide, "", FilenameTokens("txt2img", 1), SavingSettings(samples_format="webp")
        ).suffix
        == ".png"
    )
    long = store.save(
        RED, "x" * 40_000, FilenameTokens("txt2img", 1), SavingSettings(samples_format="jpg")
    )
    assert (long.suffix, len(read_infotext(long))) == (".png", 40_000)


def test_the_infotext_can_be_omitted_and_written_as_a_text_file(tmp_path: Path):
    settings = SavingSettings(enable_pnginfo=False, save_txt=True)
    path = ImageStore(tmp_path).save(RED, "Steps: 1", FilenameTokens("txt2img", 1), settings)
    assert read_infotext(path) == ""
    assert path.with_suffix(".txt").read_text(encoding="utf-8") == "Steps: 1"


def test_a_text_beside_a_picture_never_replaces_another(tmp_path: Path):
    settings = SavingSettings(
        samples_filename_pattern="[seed]",
        save_images_add_number=False,
        save_to_dirs=False,
        save_txt=True,
    )
    caption = tmp_path / "txt2img-images" / "7.txt"
    caption.parent.mkdir()
    caption.write_text("a caption of the user's")
    path = ImageStore(tmp_path).save(RED, "Steps: 1", FilenameTokens("txt2img", 7), settings)
    assert path.name == "7-1.png"
    assert path.with_suffix(".txt").read_text() == "Steps: 1"
    assert caption.read_text() == "a caption of the user's"


def test_a_name_without_a_number_is_never_used_twice(tmp_path: Path):
    settings = SavingSettings(
        samples_filename_pattern="[seed]", save_images_add_number=False, save_to_dirs=False
    )
    names = [
        ImageStore(tmp_path).save(RED, "", FilenameTokens("txt2img", 7), settings).name
        for _ in range(3)
    ]
    assert names == ["7.png", "7-1.png", "7-2.png"]


def test_an_empty_pattern_still_gets_a_number(tmp_path: Path):
    settings = SavingSettings(samples_filename_pattern="[none]", save_images_add_number=False)
    assert (
        ImageStore(tmp_path).save(RED, "", FilenameTokens("txt2img", 7), settings).name
        == "00000.png"
    )


def test_grids_are_numbered_in_their_own_folder(tmp_path: Path):
    store, settings = ImageStore(tmp_path), SavingSettings(save_to_dirs=False)
    tokens = FilenameTokens("txt2img", 7, {"prompt": "a cat"})
    first = store.save_grid(RED, "text", tokens, settings, GridSettings())
    second = store.save_grid(
        RED, "text", tokens, settings, GridSettings(grid_extended_filename=True, grid_format="jpg")
    )
    assert first == tmp_path / "txt2img-grids" / "grid-0000.png"
    assert second.name == "grid-0001-7-a cat.jpg"
    assert read_infotext(second) == "text"


def test_old_files_are_deleted(tmp_path: Path):
    old, new = tmp_path / "sub" / "old.png", tmp_path / "new.png"
    old.parent.mkdir()
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    delete_older_files(tmp_path, 3600)
    assert (old.exists(), new.exists()) == (False, True)

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import StorageError
from modules.images.save import ImageStore, read_infotext

RED = Image.new("RGB", (16, 8), (255, 0, 0))
# Writes larger than 64 KB fail, as on a full disk.
FULL_DISK = """
import resource, sys
from pathlib import Path
from PIL import Image
from modules.core.errors import StorageError
from modules.images.save import ImageStore
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
noise = Image.effect_noise((400, 400), 100)
try:
    ImageStore(Path(sys.argv[1])).save(noise, "text", "txt2img", 1)
except StorageError as error:
    print(error)
"""


def test_the_first_picture_of_the_day_is_number_zero(tmp_path: Path):
    path = ImageStore(tmp_path).save(RED, "text", "txt2img", 42)
    assert path.name == "00000-42.png"
    assert path.parent.parent == tmp_path / "txt2img-images"


def test_a_saved_picture_is_the_picture(tmp_path: Path):
    path = ImageStore(tmp_path).save(RED, "text", "txt2img", 1)
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
def test_the_infotext_comes_back_from_the_file(tmp_path: Path, text: str):
    path = ImageStore(tmp_path).save(RED, text, "txt2img", 1)
    assert read_infotext(path) == text


def test_a_picture_without_infotext_reads_as_empty(tmp_path: Path):
    RED.save(tmp_path / "plain.png")
    assert read_infotext(tmp_path / "plain.png") == ""


def test_concurrent_saves_never_overwrite_each_other(tmp_path: Path):
    stores = [ImageStore(tmp_path), ImageStore(tmp_path)]
    colours = [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        futures = [
            pool.submit(stores[number % 2].save, image, str(number), "txt2img", 7)
            for number, image in enumerate(colours)
        ]
    saved = [future.result() for future in futures]
    assert len(set(saved)) == 40
    assert [read_infotext(path) for path in saved] == [str(number) for number in range(40)]
    assert sorted(path.name for path in saved[0].parent.iterdir()) == [
        f"{number:05d}-7.png" for number in range(40)
    ]


def test_a_foreign_file_with_the_next_name_is_kept(tmp_path: Path):
    store = ImageStore(tmp_path)
    folder = store.save(RED, "first", "txt2img", 7).parent
    (folder / "00001-7.png").mkdir()
    path = store.save(RED, "second", "txt2img", 7)
    assert path.name == "00002-7.png"


def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError) as caught:
        ImageStore(tmp_path / "file").save(RED, "text", "txt2img", 1)
    assert str(tmp_path / "file") in caught.value.text
    assert "--data-dir" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_no_file_behind(tmp_path: Path, root: Path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "could not be saved" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

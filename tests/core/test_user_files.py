from __future__ import annotations

import re
from pathlib import Path

import pytest

from modules.core.paths import Paths
from modules.core.user_files import copy_aside, decode_text, move_aside
from modules.engine.downloads.downloads import Downloads
from modules.engine.downloads.tokens import Tokens
from modules.engine.gallery.favourites import Favourites
from modules.engine.settings_file import SettingsFile
from modules.models.index import ModelIndex
from modules.prompt.styles import Style, Styles

MODULES = Path(__file__).parents[2] / "modules"
# Every file that the program writes over, and whose it is. What is the user's has a row in the test below.
WRITERS = {
    "core/atomic.py": "writes for the others",
    "core/user_files.py": "keeps copies",
    "prompt/styles.py": "styles.csv, the user's",
    "engine/settings_file.py": "config.json, the user's",
    "engine/downloads/downloads.py": "downloads.json, the user's; model files under new names",
    "engine/downloads/tokens.py": "tokens.json, the user's",
    "engine/gallery/favourites.py": "favourites.txt, the user's",
    "engine/model_sidecars.py": "notes beside a model file, read whole before",
    "engine/page/depth_preview.py": "cache/, computed again",
    "engine/page/uploads.py": "uploads, named by their content",
    "engine/model_trash.py": "a record in a new folder of the trash",
    "engine/networks/own_preview.py": "a preview, in place of the one that the user wants replaced",
    "engine/networks/thumbnails.py": "cache/, computed again",
    "engine/networks/user_metadata.py": "<name>.json, the user's: other keys stay, another file is refused",
    "engine/jobs/input_images.py": "queue/, named by their content",
    "engine/extensions/archive.py": "a new folder of its own",
    "engine/extensions/choice.py": "cache/, a mark of the running start",
    "engine/extensions/install.py": "an extension under a new name",
    "engine/downloads/package.py": "a temporary folder; model files under new names",
    "backend/loading/weight_cache.py": "cache/, converted again",
    "backend/openvino/graph.py": "cache/, traced again",
    "backend/merging/merge.py": "a checkpoint and its .yaml under new names",
    "images/save.py": "pictures and texts beside them, each under a new name",
    "launch/environment.py": "opens a log of TLS keys to append, and writes nothing",
    "launch/install.py": "venv/, made by the program",
    "launch/install_state.py": "venv/, made by the program",
    "launch/venv.py": "venv/, made by the program",
    "models/files/convert.py": "a checkpoint under a new name",
    "models/file_cache.py": "cache/, computed again",
}
WRITES = re.compile(r"open_writer\(|open_part\(|write_(?:text|bytes)\(|\.open\(\"[wax]")


def test_every_module_that_writes_files_is_in_the_table():
    writing = {
        str(path.relative_to(MODULES).as_posix())
        for path in MODULES.rglob("*.py")
        if WRITES.search(path.read_text(encoding="utf-8"))
    }
    assert writing <= set(WRITERS)


def save_style(path: Path) -> None:
    Styles(path).save(Style("new"))


def change_setting(path: Path) -> None:
    SettingsFile(path).update({"jpeg_quality": 70})


USER_FILES = {"styles.csv": save_style, "config.json": change_setting}
CONTENTS = {
    "styles.csv": "name,prompt\nnight,étoiles",
    "config.json": '{"samples_format": "jpg", "other": "é"}',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", USER_FILES)
def test_a_file_of_the_user_is_kept_whole_in_any_unicode(tmp_path: Path, name: str, encoding: str):
    (tmp_path / name).write_bytes(CONTENTS[name].encode(encoding))
    USER_FILES[name](tmp_path / name)
    text, _ = decode_text((tmp_path / name).read_bytes())
    assert "é" in text
    assert ("night" in text) or ('"samples_format": "jpg"' in text)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def start_downloads(path: Path) -> None:
    paths = Paths(MODULES.parent, path.parent)
    Downloads(paths, ModelIndex.from_paths(paths)).restore()


# Those that no other program writes.
OWN_FILES = {
    "downloads.json": start_downloads,
    "tokens.json": lambda path: Tokens(path).set("civitai.com", "12345678"),
    "favourites.txt": lambda path: Favourites(path).change(["a"], is_favourite=True),
}
ODD_BYTES = (b"\xff\xfe\0", b"PK\x03\x04\0\0\xff", b"<html>\x81")
# A list, which is no table of options; in the text of favourites it is a line like others.
ODD_CONTENTS = [
    *((name, data) for name in (*USER_FILES, *OWN_FILES) for data in ODD_BYTES),
    *((name, b"[1]") for name in (*USER_FILES, "downloads.json", "tokens.json")),
]


@pytest.mark.parametrize(("name", "data"), ODD_CONTENTS)
def test_a_file_of_the_user_that_is_not_understood_is_kept_aside(
    tmp_path: Path, name: str, data: bytes
):
    for suffix in ("", "-2", "-3"):
        (tmp_path / name).write_bytes(data)
        (USER_FILES | OWN_FILES)[name](tmp_path / name)
        assert (tmp_path / f"{name}.unreadable{suffix}").read_bytes() == data


@pytest.mark.parametrize("name", USER_FILES)
def test_a_file_of_the_user_keeps_its_link_and_its_permissions(tmp_path: Path, name: str):
    target = tmp_path / "shared" / name
    target.parent.mkdir()
    target.write_text(CONTENTS[name], encoding="utf-8")
    target.chmod(0o600)
    (tmp_path / name).symlink_to(target)
    USER_FILES[name](tmp_path / name)
    assert (tmp_path / name).is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text(encoding="utf-8") != CONTENTS[name]


@pytest.mark.parametrize("put_aside", [copy_aside, move_aside])
def test_what_was_kept_before_is_never_overwritten(tmp_path: Path, put_aside):
    file = tmp_path / "a.json"
    for number in range(3):
        file.write_text(str(number))
        put_aside(file)
    kept = ("a.json.unreadable", "a.json.unreadable-2", "a.json.unreadable-3")
    assert [(tmp_path / name).read_text() for name in kept] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("", True)),
        (b"a", ("a", True)),
        (b"caf\xe9", ("café", False)),
        ("日本".encode("utf-16"), ("日本", True)),
        (b"a\0b", ("ab", False)),
    ],
)
def test_a_text_is_decoded_and_a_guess_is_said(data: bytes, expected: tuple[str, bool]):
    assert decode_text(data) == expected

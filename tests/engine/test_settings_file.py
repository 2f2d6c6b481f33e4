from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modules.core.errors import StorageError
from modules.engine.settings_file import SettingsFile
from modules.params.settings import Settings

VERSION = {"webui_settings_version": 1}
SETTINGS = Settings(sd_model_checkpoint="a.safetensors")


@pytest.fixture
def file(tmp_path: Path) -> SettingsFile:
    return SettingsFile(tmp_path / "data" / "config.json")


def test_without_a_file_the_defaults_are_used(file: SettingsFile):
    assert file.read() == Settings()
    assert not file.path.parent.exists()


def test_written_settings_are_read_back(file: SettingsFile):
    file.write(SETTINGS)
    assert file.read() == SETTINGS


def test_only_what_differs_from_the_defaults_is_written(file: SettingsFile):
    file.write(Settings())
    assert json.loads(file.path.read_text(encoding="utf-8")) == VERSION


def test_keys_of_other_programs_are_kept(file: SettingsFile):
    file.path.parent.mkdir()
    file.path.write_text(
        '{"hide_samplers": ["LMS"], "sd_model_checkpoint": "old", "ключ": ["ü"]}', encoding="utf-8"
    )
    file.write(SETTINGS)
    assert json.loads(file.path.read_text(encoding="utf-8")) == {
        **VERSION,
        "hide_samplers": ["LMS"],
        "ключ": ["ü"],
        "sd_model_checkpoint": "a.safetensors",
    }


def test_a_null_of_a1111_means_the_default(file: SettingsFile):
    file.path.parent.mkdir()
    file.path.write_text('{"sd_model_checkpoint": null, "samples_format": "png"}', encoding="utf-8")
    assert file.read() == Settings()
    assert file.path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"[" * 100_000, b"\x00" * 100]
)
def test_an_unreadable_file_is_moved_aside(
    file: SettingsFile, content: bytes, caplog: pytest.LogCaptureFixture
):
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    assert file.read() == Settings()
    aside = file.path.with_name("config.json.unreadable")
    assert aside.read_bytes() == content
    assert not file.path.exists()
    assert "could not be read" in caplog.text
    assert file.warning.endswith(
        "it is kept as config.json.unreadable, and all options have their defaults."
    )


def test_an_invalid_value_resets_only_its_own_option(file: SettingsFile):
    file.path.parent.mkdir()
    file.path.write_text(
        '{"samples_format": "avif", "jpeg_quality": 90, "sd_vae": 3}', encoding="utf-8"
    )
    assert file.read() == Settings(jpeg_quality=90)
    assert file.warning.endswith("these options have their defaults: samples_format, sd_vae.")
    assert file.path.exists()


def test_an_invalid_value_of_another_option_stays_in_the_file(file: SettingsFile):
    file.path.parent.mkdir()
    file.path.write_text('{"samples_format": "avif", "sd_vae": 3}', encoding="utf-8")
    file.update({"sd_vae": "None"})
    stored = json.loads(file.path.read_text(encoding="utf-8"))
    assert stored == {**VERSION, "samples_format": "avif", "sd_vae": "None"}


def test_half_a_character_of_another_program_is_kept(file: SettingsFile):
    file.path.parent.mkdir()
    file.path.write_text('{"other": "\\ud800"}', encoding="utf-8")
    file.update({"jpeg_quality": 70})
    assert json.loads(file.path.read_text(encoding="utf-8"))["other"] == "\ud800"


@pytest.mark.parametrize("call", ["update", "write"])
def test_a_file_damaged_while_the_program_runs_is_kept_aside(file: SettingsFile, call: str):
    file.write(SETTINGS)
    file.path.write_text("{", encoding="utf-8")
    getattr(file, call)({"jpeg_quality": 70} if call == "update" else SETTINGS)
    assert file.path.with_name("config.json.unreadable").read_text(encoding="utf-8") == "{"


def test_a_file_that_can_neither_be_read_nor_renamed_is_not_overwritten(
    file: SettingsFile, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file.write(SETTINGS)
    data = file.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        patch.setattr(Path, "touch", refuse)
        with pytest.raises(StorageError, match="is left as it is"):
            file.update({"jpeg_quality": 70})
    assert file.path.read_bytes() == data


def test_concurrent_changes_are_all_stored(file: SettingsFile):
    names = [
        "send_seed",
        "send_size",
        "samples_save",
        "grid_save",
        "return_grid",
        "save_images_add_number",
    ]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: file.update({name: False}), names))
    assert json.loads(file.path.read_text(encoding="utf-8")) == {
        **VERSION,
        **dict.fromkeys(names, False),
    }


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    file = SettingsFile(tmp_path / "file" / "config.json")
    with pytest.raises(StorageError, match=r"could not be stored in .*config\.json: File exists"):
        file.write(SETTINGS)


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_file_as_it_was_and_no_other(
    file: SettingsFile, call: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file.write(SETTINGS)
    data = file.path.read_bytes()
    monkeypatch.setattr(call, refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        file.update({"jpeg_quality": 70})
    assert file.path.read_bytes() == data
    assert [path.name for path in file.path.parent.iterdir()] == ["config.json"]


def test_a_second_damaged_file_does_not_replace_the_first_kept_one(file: SettingsFile):
    file.path.parent.mkdir()
    for content, name in (("{1", "config.json.unreadable"), ("{2", "config.json.unreadable-2")):
        file.path.write_text(content)
        file.read()
        assert file.path.with_name(name).read_text() == content
        assert f"it is kept as {name}, " in file.warning


def test_no_partial_file_stays_behind(file: SettingsFile):
    file.write(SETTINGS)
    assert [path.name for path in file.path.parent.iterdir()] == ["config.json"]

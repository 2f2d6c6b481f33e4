import os

import pytest

from modules.models.files.scan import scan_folder

SUFFIXES = (".safetensors", ".ckpt")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(folder):
    return sorted(
        file.name for file in scan_folder(folder, SUFFIXES, (".vae.safetensors", ".vae.ckpt"))
    )


def test_checkpoints_are_found_at_any_depth_and_with_extensions_in_any_case(tmp_path):
    for name in ("a.safetensors", "sub/B.CKPT", "sub/deep/c.SafeTensors"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.safetensors", "sub/B.CKPT", "sub/deep/c.SafeTensors"]


def test_other_files_hidden_ones_and_unfinished_downloads_are_not_listed(tmp_path):
    for name in (
        "a.txt",
        "a.safetensors.part",
        ".hidden.safetensors",
        ".git/x.safetensors",
        "a.vae.safetensors",
        "b.vae.ckpt",
        "a.yaml",
    ):
        touch(tmp_path / name)
    assert names(tmp_path) == []


def test_a_yaml_of_the_same_name_is_the_checkpoints_config(tmp_path):
    touch(tmp_path / "a.safetensors")
    touch(tmp_path / "b.v2.ckpt")
    config = touch(tmp_path / "b.v2.yaml")
    found = {file.name: file.config for file in scan_folder(tmp_path, SUFFIXES)}
    assert found == {"a.safetensors": None, "b.v2.ckpt": config}


@pytest.mark.parametrize("suffix", [".yml", ".YAML", ".Yml", ".YML"])
def test_other_spellings_of_the_suffix_are_seen(tmp_path, suffix):
    touch(tmp_path / "a.b.safetensors")
    config = touch(tmp_path / f"a.b{suffix}")
    touch(tmp_path / f"a{suffix}")
    (file,) = scan_folder(tmp_path, SUFFIXES)
    assert file.config == config


def test_a_yaml_in_lower_case_counts_before_other_spellings(tmp_path):
    touch(tmp_path / "a.safetensors")
    for best in ("a.YML", "a.yml", "a.YAML", "a.yaml"):
        config = touch(tmp_path / best)
        (file,) = scan_folder(tmp_path, SUFFIXES)
        assert file.config == config


def test_links_are_followed_and_loops_are_not(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere / "x.safetensors")
    (elsewhere / "back").symlink_to(elsewhere)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    (folder / "file.safetensors").symlink_to(elsewhere / "x.safetensors")
    (folder / "up").symlink_to(folder)
    assert names(folder) == ["file.safetensors", "linked/x.safetensors"]


def test_a_real_folder_takes_precedence_over_a_link_to_it(tmp_path):
    touch(tmp_path / "real" / "x.safetensors")
    (tmp_path / "a_link").symlink_to(tmp_path / "real")
    assert names(tmp_path) == ["real/x.safetensors"]


def test_a_broken_link_is_listed_with_size_zero(tmp_path):
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (file,) = scan_folder(tmp_path, SUFFIXES)
    assert (file.name, file.size_bytes) == ("gone.safetensors", 0)


def test_a_pipe_is_not_listed(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert names(tmp_path) == []


def test_an_absent_folder_has_no_files(tmp_path):
    assert names(tmp_path / "absent") == []

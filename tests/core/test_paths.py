from __future__ import annotations

from pathlib import Path

from modules.core.command_line import parse_flags
from modules.core.paths import Paths

ROOT = Path("/program")
DATA = Path("/data")


def test_by_default_everything_is_in_the_repository():
    paths = Paths(ROOT, ROOT)
    assert paths.checkpoint_folders == (ROOT / "models" / "Stable-diffusion",)
    assert paths.outputs == ROOT / "outputs"
    assert paths.configs == ROOT / "configs"


def test_the_users_data_is_in_the_data_folder():
    paths = Paths(ROOT, DATA)
    assert paths.outputs == DATA / "outputs"
    assert paths.cache == DATA / "cache"
    assert paths.gradio_temp == DATA / "tmp" / "gradio"
    assert paths.configs == ROOT / "configs"


def test_the_users_checkpoints_come_before_the_shipped_ones():
    paths = Paths(ROOT, DATA, Path("/more"))
    assert paths.checkpoint_folders == (
        Path("/more"),
        DATA / "models" / "Stable-diffusion",
        ROOT / "models" / "Stable-diffusion",
    )


def test_text_encoders_may_be_in_the_folders_of_forge_and_comfyui():
    folders = [
        folder.relative_to(DATA).as_posix() for folder in Paths(ROOT, DATA).text_encoder_folders
    ]
    assert folders == ["models/text_encoder", "models/text_encoders", "models/clip"]


def test_paths_create_no_folders(tmp_path: Path):
    paths = Paths(tmp_path / "program", tmp_path / "data")
    assert paths.outputs and paths.cache and paths.gradio_temp and paths.checkpoint_folders
    assert list(tmp_path.iterdir()) == []


def test_upscalers_may_be_in_the_folders_of_a1111s_flags():
    flags = parse_flags(["--esrgan-models-path", "/e", "--dat-models-path=/d"])
    folders = Paths(ROOT, DATA, upscaler_dirs=flags.upscaler_dirs).upscaler_folders
    assert folders[0] == DATA / "models" / "ESRGAN"
    assert folders[-3:] == (Path("/e"), Path("/d"), ROOT / "models" / "RealESRGAN")

"""Control models are told from their headers, listed as sd-webui-controlnet does, and found by these names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from modules.core.errors import BadFile, NotFound
from modules.core.paths import Paths
from modules.models.control.layouts import (
    CONTROL_LLLITE,
    CONTROL_LORA,
    CONTROLNET,
    CONTROLNET_DIFFERENCE,
    CONTROLNET_DIFFUSERS,
    CONTROLNET_UNION,
    IP_ADAPTER,
    T2I_ADAPTER,
    T2I_STYLE,
)
from modules.models.index import ModelIndex
from modules.models.kinds import ANNOTATOR
from tests.models.control import control_shapes as shapes
from tests.models.model_files import CONFIGS, write_safetensors

SD1 = shapes.original("sd1")
EXAMPLES: list[tuple[shapes.Shapes, str, str, int]] = [
    (SD1, CONTROLNET, "SD 1.x", 768),
    (shapes.original("sd1", ""), CONTROLNET, "SD 1.x", 768),
    (shapes.original("sd2"), CONTROLNET, "SD 2.x", 1024),
    ({**shapes.original("sd1", ""), "difference": [0]}, CONTROLNET_DIFFERENCE, "SD 1.x", 768),
    (shapes.SDXL_DIFFUSERS, CONTROLNET_DIFFUSERS, "SDXL", 2048),
    (shapes.DIFFUSERS, CONTROLNET_DIFFUSERS, "SDXL", 0),  # the small one has no attention
    (shapes.UNION, CONTROLNET_UNION, "SDXL", 2048),
    (shapes.CONTROL_LORA, CONTROL_LORA, "SDXL", 2048),
    (shapes.LLLITE, CONTROL_LLLITE, "SDXL", 0),
    (shapes.IP_ADAPTER, IP_ADAPTER, "SD 1.x", 768),
    (shapes.T2I_ADAPTER, T2I_ADAPTER, "SD 1.x", 0),
    (shapes.T2I_STYLE, T2I_STYLE, "SD 1.x", 768),
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "configs").symlink_to(CONFIGS)
    return Paths(tmp_path, tmp_path / "data", controlnet_dir=tmp_path / "more")


def write(paths: Paths, name: str, content: shapes.Shapes = SD1) -> Path:
    return write_safetensors(paths.data / "models" / "ControlNet" / name, content)


@pytest.mark.parametrize(("content", "layout", "family", "width"), EXAMPLES)
def test_a_header_tells_layout_family_and_width(
    paths: Paths, content: shapes.Shapes, layout: str, family: str, width: int
):
    write(paths, "a.safetensors", content)
    (model,) = ModelIndex.from_paths(paths).control.models()
    assert (model.layout, model.family, model.facts.context_width) == (layout, family, width)


def test_models_are_listed_by_stem_and_a1111s_first_hash(paths: Paths):
    file = write(paths, "v11/control_v11p_sd15_Canny.safetensors")
    write_safetensors(paths.root / "more" / "b.pth", shapes.UNION)
    write_safetensors(paths.root / "models" / "ControlNet" / "shipped.safetensors", SD1)
    with file.open("rb") as opened:
        opened.seek(0x100000)
        digest = hashlib.sha256(opened.read(0x10000)).hexdigest()[:8]
    control = ModelIndex.from_paths(paths).control
    titles = [model.title for model in control.models()]
    assert titles[1] == f"control_v11p_sd15_Canny [{digest}]"
    assert stems(titles) == ["b", "control_v11p_sd15_Canny", "shipped"]
    assert [model.stem for model in control.fitting("SD 1.x", 768)] == stems(titles[1:])
    assert (
        control.fitting("SD 1.x", 32) == ()
    )  # such as a ControlNet for SD 1.5 with the demo model
    assert [model.stem for model in control.fitting("SDXL")] == ["b"]


def test_annotators_are_no_control_models(paths: Paths):
    write(paths, "a.safetensors")
    write(paths, "annotators/b.safetensors")
    index = ModelIndex.from_paths(paths)
    assert [model.stem for model in index.control.all()] == ["a"]
    assert [file.stem for file in index.files(ANNOTATOR)] == ["b"]


def stems(titles: list[str]) -> list[str]:
    return [title.split(" [")[0] for title in titles]


def test_a_model_is_found_with_and_without_hash_folder_and_suffix(paths: Paths):
    write(paths, "v11/Canny.safetensors")
    control = ModelIndex.from_paths(paths).control
    digest = control.models()[0].facts.short_hash
    for name in (
        "Canny",
        "canny [00000000]",
        f" CANNY [{digest}] ",
        "v11\\canny",
        "v11/Canny.safetensors",
        "canny.safetensors",
        f"renamed [{digest}]",
    ):
        assert control.find(name).name == "v11/Canny.safetensors"
    with pytest.raises(NotFound, match=r"There is no control model named 'cany'\. Did you mean"):
        control.find("cany")


def test_a_file_that_is_added_or_gone_is_noticed(paths: Paths):
    control = ModelIndex.from_paths(paths).control
    with pytest.raises(NotFound, match=r"Control models are read from .*more"):
        control.find("canny")
    file = write(paths, "canny.safetensors")
    assert control.find("canny").path == file
    file.unlink()
    with pytest.raises(NotFound):
        control.find("canny")


def test_other_files_of_the_folder_are_not_listed_and_say_why(paths: Paths):
    write(paths, "other/hed.safetensors", {"moduleVggOne.0.weight": [64, 3, 3, 3]})
    (paths.data / "models" / "ControlNet" / "broken.pth").write_bytes(b"\0" * 99)
    control = ModelIndex.from_paths(paths).control
    assert control.models() == ()
    with pytest.raises(BadFile, match=r"'other/hed.safetensors' is no control model"):
        control.find("hed")
    with pytest.raises(BadFile, match=r"'broken.pth' begins with zeros"):
        control.find("broken")


def test_headers_are_read_once(paths: Paths):
    file = write(paths, "canny.safetensors")
    first = ModelIndex.from_paths(paths).control.models()
    stamp = file.stat()
    file.write_bytes(b"\0" * stamp.st_size)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert ModelIndex.from_paths(paths).control.models() == first

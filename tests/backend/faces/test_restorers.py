"""Faces are found, drawn anew and put back; the photo is NASA's portrait of Eileen Collins (public domain)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file

from modules.backend.device import DEVICES, choose_device
from modules.backend.faces.detector import FaceDetector
from modules.backend.faces.restorers import FaceRestorers
from modules.backend.upscale.spandrel_import import import_spandrel
from modules.core.errors import BadFile
from modules.core.paths import Paths
from modules.models.face_restorers import GFPGAN, find_restorer
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions

PHOTO = Image.open(Path(__file__).parent / "astronaut.jpg").convert("RGB")
DETECTOR = Path(__file__).resolve().parents[3] / "models" / "face_detection" / "mtcnn.safetensors"


@pytest.fixture(scope="module")
def restorers() -> FaceRestorers:
    return FaceRestorers(choose_device(DeviceOptions(use_cpu=True), DEVICES))


def restore(
    restorers: FaceRestorers,
    draw: Callable[[Image.Image], Image.Image],
    visibility: float = 1.0,
    image: Image.Image = PHOTO,
) -> tuple[np.ndarray, int]:
    told: list[tuple[int, int]] = []
    restored, count = restorers.restore(
        image, DETECTOR, draw, visibility, lambda *numbers: told.append(numbers)
    )
    assert told == [(index + 1, count) for index in range(count)]
    return np.asarray(restored, np.int16), count


def test_a_face_is_found_with_its_eyes_above_its_mouth():
    (face,) = FaceDetector(DETECTOR).find(PHOTO)
    left, top, right, bottom = face.box
    assert 40 < left < 60 < 105 < right < 130
    assert 20 < top < 45 < 110 < bottom < 135
    eyes, mouth = face.points[:2], face.points[3:]
    assert eyes[:, 1].max() < face.points[2, 1] < mouth[:, 1].min()
    assert eyes[0, 0] < face.points[2, 0] < eyes[1, 0]


def test_it_is_found_in_an_image_of_any_size_and_none_where_there_is_none():
    large = PHOTO.resize((2112, 2112), Image.Resampling.LANCZOS)
    (face,), (small,) = FaceDetector(DETECTOR).find(large), FaceDetector(DETECTOR).find(PHOTO)
    assert np.allclose(face.points / 12, small.points, atol=3)
    assert FaceDetector(DETECTOR).find(Image.linear_gradient("L").convert("RGB")) == []
    assert FaceDetector(DETECTOR).find(Image.new("RGB", (5, 3))) == []


def test_only_the_face_changes_as_much_as_it_is_to_be_seen(restorers: FaceRestorers):
    before = np.asarray(PHOTO, np.int16)
    same, count = restore(restorers, lambda face: face)
    assert count == 1
    assert abs(same - before).mean() < 0.5
    inverted, _ = restore(restorers, ImageOps.invert)
    changed = abs(inverted - before).max(2) > 20
    assert changed[60:110, 60:110].mean() > 0.8
    assert not changed[:8].any() and not changed[:, -8:].any()
    half, _ = restore(restorers, ImageOps.invert, 0.5)
    assert abs(half - (inverted + before) / 2).max() <= 1


def test_an_image_without_a_face_stays_as_it_is(restorers: FaceRestorers):
    plain = Image.new("RGB", (64, 64), "red")
    restored, count = restore(restorers, ImageOps.invert, image=plain)
    assert (count, restored.tobytes()) == (0, np.asarray(plain, np.int16).tobytes())


def test_the_network_of_a_file_draws_the_face(restorers: FaceRestorers, paths: Paths):
    write_restore_former(paths.data / "models" / "GFPGAN" / "RestoreFormer.safetensors")
    found = find_restorer(ModelIndex.from_paths(paths), GFPGAN)
    assert (found.file.file_name, found.architecture) == (
        "RestoreFormer.safetensors",
        "RestoreFormer",
    )
    with torch.inference_mode():
        restored, count = restore(restorers, restorers.network(found, 0.0))
    assert count == 1
    assert abs(restored - np.asarray(PHOTO, np.int16)).max() > 20


def test_a_damaged_detector_is_told(tmp_path: Path):
    damaged = tmp_path / "mtcnn.safetensors"
    damaged.write_bytes(DETECTOR.read_bytes()[:5000])
    with pytest.raises(BadFile, match=r"face detector .* cannot be loaded"):
        FaceDetector(damaged)


def write_restore_former(path: Path) -> None:
    """Write a RestoreFormer with half a million random weights."""
    import_spandrel()
    from spandrel.architectures.RestoreFormer import RestoreFormer

    torch.manual_seed(0)
    network = RestoreFormer(
        n_embed=32,
        embed_dim=16,
        ch=32,
        out_ch=3,
        ch_mult=(1, 1, 1, 1, 1, 1),
        num_res_blocks=1,
        attn_resolutions=(16,),
        dropout=0.0,
        in_channels=3,
        resolution=512,
        z_channels=16,
        double_z=False,
        enable_mid=True,
        head_size=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, path)

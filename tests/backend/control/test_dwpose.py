"""DWPose: people in answers of its networks that are known, and files that OpenCV reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.control.annotators.openpose.dwpose import DwPose, _make_cells, read_network
from modules.backend.control.preprocess import Preprocessors
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.conftest import ROOT

IMAGE = np.zeros((320, 640, 3), np.uint8)  # the detector sees it at its size
IMAGE[:, :, 0] = 200


class Net:
    """A network as OpenCV has it, which always answers the same."""

    def __init__(self, *answers: np.ndarray) -> None:
        self.answers = answers
        self.seen: list[np.ndarray] = []

    def setInput(self, blob: np.ndarray) -> None:  # noqa: N802 - OpenCV's name
        self.seen.append(blob)

    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:  # noqa: N802 - OpenCV's name
        return tuple(f"out{number}" for number in range(len(self.answers)))

    def forward(self, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        assert len(names) == len(self.answers)
        return self.answers


def detect(*boxes: tuple[float, float, float, float, int, float]) -> Net:
    """Return a detector that finds boxes: middle x and y, width, height, class and score."""
    rows = np.zeros((1, 8400, 85), np.float32)
    for x, y, width, height, kind, score in boxes:
        cell, column, row = 6400 + 40 * int(y // 16) + int(x // 16), int(x // 16), int(y // 16)
        rows[0, cell, :4] = x / 16 - column, y / 16 - row, np.log(width / 16), np.log(height / 16)
        rows[0, cell, 4], rows[0, cell, 5 + kind] = 1, score
    return Net(rows)


def point_out(**points: tuple[int, int, float]) -> Net:
    """Return a network of points: of their numbers x and y in its picture of 288 by 384, and scores."""
    across = np.full((1, 133, 576), -1.0, np.float32)
    down = np.full((1, 133, 768), -1.0, np.float32)
    for name, (x, y, score) in points.items():
        across[0, int(name[1:]), 2 * x], down[0, int(name[1:]), 2 * y] = score + 0.1, score
    return Net(across, down)


def test_cells_are_those_of_three_sizes():
    cells, strides = _make_cells()
    assert cells.shape == (8400, 2)
    assert cells[81].tolist() == [1, 1]
    assert (strides[0, 0], strides[6400, 0], strides[-1, 0]) == (8, 16, 32)
    assert cells[-1].tolist() == [19, 19]


def test_people_have_their_points_in_openposes_order():
    detector = detect(
        (200, 150, 72, 96, 0, 0.9),
        (220, 150, 72, 96, 0, 0.5),  # the same person
        (500, 160, 90, 90, 15, 0.9),  # a cat
        (400, 100, 50, 50, 0, 0.2),  # unsure
    )
    hand = {f"p{91 + n}": (10 + n, 20, 0.9) for n in range(21)}
    points = point_out(
        p0=(144, 192, 0.9), p5=(180, 200, 0.8), p6=(100, 200, 0.8), p10=(144, 0, 0.29),
        p2=(140, 180, 0.5), p1=(150, 180, 0.5), p23=(20, 30, 0.6), **hand,
    )  # fmt: skip
    pose = DwPose(detector, points).find(IMAGE)
    (square,), (cut,) = detector.seen, points.seen
    assert square.shape == (1, 3, 640, 640)
    assert square[0, :, 100, 100].tolist() == [200, 0, 0]
    assert square[0, :, 400, 100].tolist() == [114, 114, 114]
    assert cut.shape == (1, 3, 384, 288)
    assert cut[0, :, 190, 140].tolist() == pytest.approx(
        [(200 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375], abs=1e-4
    )
    assert (pose.width, pose.height, len(pose.people)) == (640, 320, 1)
    (person,) = pose.people
    # The box of 72 by 96 and a quarter more fills the picture: a pixel of it is 0.3125 of the image's.
    assert person.body[0] == pytest.approx((200, 150), abs=1e-3)
    assert person.body[5] == pytest.approx((200 + 36 * 0.3125, 152.5), abs=1e-3)
    assert person.body[1] == pytest.approx((200 - 4 * 0.3125, 152.5), abs=1e-3)
    assert person.body[2] == pytest.approx((200 - 44 * 0.3125, 152.5), abs=1e-3)
    assert person.body[4] is None  # of too low a score
    assert len(person.body) == 18
    assert person.body[14] == pytest.approx((200 - 4 * 0.3125, 150 - 12 * 0.3125), abs=1e-3)
    assert len(person.left_hand) == 21
    assert person.right_hand == ()
    assert len(person.face) == 70
    assert person.face[68:] == (person.body[14], person.body[15])
    nobody = DwPose(detect(), points).find(IMAGE)
    assert nobody.people == ()


def write_onnx(path: Path) -> None:
    """Write the smallest network that there is: y = relu(x), [1, 3, 4, 4]."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes((number << 3, value))
        return bytes(((number << 3) | 2, len(value))) + value

    def tensor(name: bytes) -> bytes:
        sizes = b"".join(field(1, field(1, size)) for size in (1, 3, 4, 4))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, sizes)))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Relu")
    graph = field(1, node) + field(2, b"g") + field(11, tensor(b"x")) + field(12, tensor(b"y"))
    path.write_bytes(field(1, 7) + field(7, graph) + field(8, field(1, b"") + field(2, 11)))


def test_files_are_read_by_opencv_and_come_before_mediapipes(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    with pytest.raises(Unsupported, match=r"needs the networks of MediaPipe, pose_d") as error:
        plan_preprocessing(models, "dw_openpose_full")
    assert "Or put DWPose's own, yolox_l.onnx and dw-ll_ucoco_384.onnx, from hugg" in str(
        error.value.hint
    )
    write_onnx(folder / "yolox_l.onnx")
    with pytest.raises(
        Unsupported,
        match=r"needs the file dw-ll_ucoco_384.onnx. Put it from huggingface.co/yzd-v/DWPose into",
    ):
        plan_preprocessing(models, "dw_openpose_full")
    (folder / "dw-ll_ucoco_384.onnx").write_bytes(b"<html>")
    planned = plan_preprocessing(models, "dw_openpose_full")
    assert [file.stem for file in planned.files] == ["yolox_l", "dw-ll_ucoco_384"]
    network: Any = read_network(planned.files[0])
    values = np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    network.setInput(values)
    (found,) = network.forward(network.getUnconnectedOutLayersNames())
    assert np.array_equal(found, values.clip(0))
    with pytest.raises(BadFile, match=r"OpenCV cannot read 'dw-ll_ucoco_384.onnx'"):
        Preprocessors(torch.device("cpu")).make(planned, Image.fromarray(IMAGE))

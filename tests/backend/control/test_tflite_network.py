"""Running networks of .tflite files: against OpenCV, which reads the same files, and by hand where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from modules.backend.control.annotators.tflite_network import TfliteNetwork
from modules.core.errors import BadFile
from tests.models.tflite_writer import Step, tensor, write_model

CPU = torch.device("cpu")
RANDOM = np.random.RandomState(0)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("<f4")


def run(path: Path, content: bytes, x: np.ndarray) -> np.ndarray:
    path.write_bytes(content)
    with torch.inference_mode():
        (result,) = TfliteNetwork(path, CPU).run(torch.from_numpy(x)).values()
    return result.numpy()


def same_as_opencv(path: Path, content: bytes, x: np.ndarray) -> None:
    found = run(path, content, x)
    network = cv2.dnn.readNetFromTFLite(str(path))
    network.setInput(x)
    assert np.abs(found.ravel() - network.forward().ravel()).max() < 1e-4


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("is_valid", [0, 1])
@pytest.mark.parametrize("side", [8, 9])
def test_convolutions_are_those_of_tensorflow(
    tmp_path: Path, stride: int, is_valid: int, side: int
):
    strides = {1: stride, 2: stride}
    after = -(-side // stride) if not is_valid else (side - 3) // stride + 1
    shape = (1, after, after, 6)
    content = write_model(
        [
            tensor((1, side, side, 3)),
            tensor((6, 3, 3, 3), numbers(6, 3, 3, 3)),
            tensor((6,), numbers(6)),
            tensor(shape),
            tensor((1, 3, 3, 6), numbers(1, 3, 3, 6)),
            tensor(shape),
        ],
        [
            Step(3, (0, 1, 2), (3,), strides, {0: is_valid, 3: 3}),
            Step(4, (3, 4, 2), (5,), {1: 1, 2: 1, 3: 1}, {0: 0, 4: 1}),
        ],
        (0,),
        (5,),
    )
    same_as_opencv(tmp_path / "x.tflite", content, numbers(1, 3, side, side))


def test_pools_slopes_and_sums_are_those_of_tensorflow(tmp_path: Path):
    content = write_model(
        [
            tensor((1, 8, 8, 4)),
            tensor((1, 1, 4), numbers(1, 1, 4)),
            tensor((1, 8, 8, 4)),
            tensor((1, 4, 4, 4)),
            tensor((1, 4, 4, 4)),
        ],
        [
            Step(54, (0, 1), (2,)),
            Step(17, (2,), (3,), {1: 2, 2: 2, 3: 2, 4: 2}, {0: 0}),
            Step(0, (3, 3), (4,)),
        ],
        (0,),
        (4,),
    )
    same_as_opencv(tmp_path / "x.tflite", content, numbers(1, 4, 8, 8))


def test_a_reshape_counts_channels_last(tmp_path: Path):
    content = write_model(
        [tensor((1, 2, 2, 3)), tensor((2,), np.array((1, 12), "<i4")), tensor((1, 12))],
        [Step(22, (0, 1), (2,))],
        (0,),
        (2,),
    )
    x = np.arange(12, dtype="<f4").reshape(1, 3, 2, 2)
    found = run(tmp_path / "x.tflite", content, x)
    assert found.tolist() == [[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]]


def test_depth_becomes_space_row_by_row_of_a_block(tmp_path: Path):
    content = write_model(
        [tensor((1, 1, 1, 8)), tensor((1, 2, 2, 2))], [Step(5, (0,), (1,), {0: 2})], (0,), (1,)
    )
    x = np.arange(8, dtype="<f4").reshape(1, 8, 1, 1)
    found = run(tmp_path / "x.tflite", content, x)
    # Channels 0 and 1 are the pixel at the top left, 2 and 3 that beside it.
    assert found[0].tolist() == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 5, 10, 10]),  # as TensorFlow 1: pixel 1 lies at 0.5 of the source
        ({3: 1}, [0, 2.5, 7.5, 10]),  # pixels have middles
        ({2: 1}, [0, 10 / 3, 20 / 3, 10]),  # the corners stay
    ],
)
def test_pictures_are_resized_in_three_ways(tmp_path: Path, options: Any, expected: list[float]):
    content = write_model(
        [tensor((1, 1, 2, 1)), tensor((2,), np.array((1, 4), "<i4")), tensor((1, 1, 4, 1))],
        [Step(23, (0, 1), (2,), {}, options)],
        (0,),
        (2,),
    )
    x = np.array((0, 10), "<f4").reshape(1, 1, 1, 2)
    assert run(tmp_path / "x.tflite", content, x).ravel().tolist() == pytest.approx(expected)


def test_a_mean_and_a_connection_end_a_network(tmp_path: Path):
    weight, bias = numbers(3, 4), numbers(3)
    content = write_model(
        [
            tensor((1, 5, 5, 4)),
            tensor((2,), np.array((1, 2), "<i4")),
            tensor((1, 4)),
            tensor((3, 4), weight),
            tensor((3,), bias),
            tensor((1, 3)),
            tensor((1, 3)),
        ],
        [Step(40, (0, 1), (2,)), Step(9, (2, 3, 4), (5,)), Step(14, (5,), (6,))],
        (0,),
        (6,),
    )
    x = numbers(1, 4, 5, 5)
    expected = 1 / (1 + np.exp(-(weight @ x.mean((0, 2, 3)) + bias)))
    assert np.allclose(run(tmp_path / "x.tflite", content, x), expected[None], atol=1e-5)


def test_pads_and_concatenations_keep_their_axes(tmp_path: Path):
    amounts = np.array(((0, 0), (1, 0), (0, 2), (0, 1)), "<i4")
    content = write_model(
        [
            tensor((1, 2, 2, 1)),
            tensor((4, 2), amounts),
            tensor((1, 3, 4, 2)),
            tensor((1, 3, 8, 2)),
        ],
        [Step(34, (0, 1), (2,)), Step(2, (2, 2), (3,), {0: 2})],
        (0,),
        (3,),
    )
    x = np.arange(1, 5, dtype="<f4").reshape(1, 1, 2, 2)
    found = run(tmp_path / "x.tflite", content, x)
    assert found[0, 0].tolist() == [[0] * 8, [1, 2, 0, 0] * 2, [3, 4, 0, 0] * 2]
    assert not found[0, 1].any()


def test_weights_that_are_made_dense_and_wide_are_ready_from_the_start(tmp_path: Path):
    values = np.array((2, 3), "<f2")
    content = write_model(
        [tensor((1, 1, 1, 2)), tensor((2,), values), tensor((2,)), tensor((1, 1, 1, 2))],
        [Step(6, (1,), (2,)), Step(0, (0, 2), (3,))],
        (0,),
        (3,),
    )
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    network = TfliteNetwork(path, CPU)
    assert network.input_size == (1, 1)
    assert len(network._operators) == 1


def test_a_file_that_is_gone_is_told_so(tmp_path: Path):
    with pytest.raises(BadFile, match=r"'gone\.tflite' cannot be read"):
        TfliteNetwork(tmp_path / "gone.tflite", CPU)

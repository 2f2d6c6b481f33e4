"""Reading networks of .tflite files."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from modules.core.errors import BadFile
from modules.models.files.tflite import read_tflite
from tests.models.tflite_writer import Step, csr, dense, tensor, write_model

ADD = Step(0, (0, 1), (2,), bytes_of_options={0: 3})


def test_operators_and_their_numbers_are_read():
    values = np.arange(6, dtype="<f2").reshape(1, 2, 3, 1)
    content = write_model(
        [tensor((1, 2, 3, 1)), tensor((1, 2, 3, 1), values), tensor((1, 2, 3, 1))],
        [ADD, Step(3, (2, 1), (0,), {1: 2, 2: 3}, {0: 1, 3: 1})],
        (0,),
        (2,),
    )
    graph = read_tflite(content, "x.tflite")
    assert graph.shapes == ((1, 2, 3, 1),) * 3
    assert list(graph.constants) == [1]
    assert graph.constants[1].dtype == np.float16
    assert np.array_equal(graph.constants[1], values)
    assert (graph.inputs, graph.outputs) == ((0,), {"t2": 2})
    add, convolution = graph.operators
    assert (add.kind, add.inputs, add.outputs, add.options) == (
        "add",
        (0, 1),
        (2,),
        {"activation": 3},
    )
    assert convolution.options == {"is_valid": 1, "stride_x": 2, "stride_y": 3, "activation": 1}


def test_sparse_numbers_become_dense():
    expected = np.array([[0, 7, 0, 0], [0, 0, 0, 0], [5, 0, 0, 9]], "<f4")
    sparsity = {
        0: np.array((0, 1), "<i4"),
        2: [dense(3), csr((0, 1, 1, 3), (1, 0, 3))],
    }
    content = write_model(
        [tensor((3, 4)), tensor((3, 4), np.array((7, 5, 9), "<f4"), sparsity), tensor((3, 4))],
        [ADD],
        (0,),
        (2,),
    )
    assert np.array_equal(read_tflite(content, "x").constants[1], expected)


def test_sparse_blocks_in_another_order_become_dense():
    # Columns first: the blocks of 2 columns that have numbers are the rows 1 of the first and 0 of the second.
    expected = np.array([[0, 0, 3, 4], [1, 2, 0, 0]], "<f4")
    sparsity = {
        0: np.array((1, 0, 2), "<i4"),
        1: np.array((1,), "<i4"),
        2: [dense(2), csr((0, 1, 2), (1, 0)), dense(2)],
    }
    values = np.array((1, 2, 3, 4), "<f4")
    content = write_model(
        [tensor((2, 4)), tensor((2, 4), values, sparsity), tensor((2, 4))], [ADD], (0,), (2,)
    )
    assert np.array_equal(read_tflite(content, "x").constants[1], expected)


@pytest.mark.parametrize(
    ("shape", "dimensions"),
    [
        ((3, 4), [dense(3), dense(2**31 - 1)]),
        ((3, 4), [dense(3), csr((0, 65535, 0, 65535), (1,))]),
        ((2**15, 2**15), [dense(1), dense(1)]),
    ],
)
def test_a_tensor_of_an_absurd_size_takes_no_memory(shape, dimensions):
    sparsity = {0: np.array((0, 1), "<i4"), 2: dimensions}
    values = np.array((7,), "<f4")
    content = write_model(
        [tensor(shape), tensor(shape, values, sparsity), tensor(shape)], [ADD], (0,), (2,)
    )
    with pytest.raises(BadFile, match=r"'a.tflite' is damaged, or of another kind"):
        read_tflite(content, "a.tflite")


def test_other_and_damaged_files_are_refused():
    content = write_model([tensor((1,)), tensor((1,)), tensor((1,))], [ADD], (0,), (2,))
    unknown = write_model([tensor((1,))], [Step(99, (0,), (0,))], (0,), (0,))
    with pytest.raises(BadFile, match=r"'a.tflite' is no .tflite file"):
        read_tflite(b"PK\3\4" + content, "a.tflite")
    with pytest.raises(BadFile, match="the operator 99 is not known"):
        read_tflite(unknown, "a.tflite")
    tanh = Step(0, (0, 1), (2,), bytes_of_options={0: 4})
    with pytest.raises(BadFile, match="the activation 4 is not known"):
        read_tflite(write_model([tensor((1,))] * 3, [tanh], (0,), (2,)), "a.tflite")
    rng = np.random.RandomState(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.randint(8, len(damaged))] = rng.randint(256)
        with contextlib.suppress(BadFile):
            read_tflite(bytes(damaged[: rng.randint(8, 2 * len(damaged))]), "a.tflite")

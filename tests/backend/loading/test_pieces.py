"""Weights come out of a file piece by piece, bit for bit as a plain conversion has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.backend.loading.pieces import PIECE_BYTES
from modules.backend.loading.state_dict import FileStateDict, OpenedFile, read_state_dict
from modules.core.errors import BadFile
from modules.models.files.header import read_header

EVERY_HALF = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(torch.float16)
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def open_file(path: Path, tensors: dict[str, Tensor]) -> FileStateDict:
    save_file(tensors, path)
    return read_state_dict(path, read_header(path))


def copies(state_dict: FileStateDict, tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    targets = [torch.full(tensor.shape, 7, dtype=dtype) for tensor in tensors]
    state_dict.copy(tensors, targets)
    return targets


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_of_16_bits_is_converted_as_torch_converts_it(
    tmp_path: Path, dtype: torch.dtype
):
    state_dict = open_file(tmp_path / "a.safetensors", {"a": EVERY_HALF})
    (copy,) = copies(state_dict, [state_dict["a"]], dtype)
    is_number = ~EVERY_HALF.isnan()
    kind = torch.int32 if dtype == torch.float32 else torch.int16
    expected = EVERY_HALF.to(dtype)
    assert torch.equal(copy[is_number].view(kind), expected[is_number].view(kind))
    assert copy[~is_number].isnan().all()


@pytest.mark.parametrize("stored", [*DTYPES, torch.float8_e4m3fn])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_many_pieces_views_and_none_are_whole(
    tmp_path: Path, stored: torch.dtype, dtype: torch.dtype
):
    items = PIECE_BYTES // stored.itemsize
    generator = torch.Generator().manual_seed(0)
    sizes = {"many": (5, items // 2 + 3), "one": (items,), "few": (3, 2), "none": (0, 4), "0d": ()}
    written = {
        name: torch.randn(size, generator=generator).to(stored) for name, size in sizes.items()
    }
    state_dict = open_file(tmp_path / "a.safetensors", written)
    tensors = [*state_dict.values(), state_dict["many"][2:4], state_dict["few"].mT]
    plain = [*(written[name] for name in state_dict), written["many"][2:4], written["few"].mT]
    for copy, value in zip(copies(state_dict, tensors, dtype), plain, strict=True):
        assert torch.equal(copy, value.to(dtype))


class RecordingFile(OpenedFile):
    """Notes the places that are read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.places: list[tuple[int, int]] = []

    def read_into(self, buffer: memoryview, start: int) -> int:
        self.places.append((start, len(buffer)))
        return super().read_into(buffer, start)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_byte_is_read_once(tmp_path: Path, dtype: torch.dtype):
    path = tmp_path / "a.safetensors"
    written = {name: torch.ones(PIECE_BYTES // 3, dtype=torch.float16) for name in "abcdef"}
    found = open_file(path, written)
    file = RecordingFile(path)
    header = read_header(path)
    begin = {name: header.data_start + start for name, start in header.starts.items()}
    tensors = {
        name: torch.empty(0, dtype=torch.float16).set_(
            file.mapped[begin[name] : begin[name] + tensor.nbytes], 0, tensor.shape
        )
        for name, tensor in found.items()
    }
    state_dict = FileStateDict(tensors, file, header)
    copies(state_dict, list(state_dict.values()), dtype)
    end = min(begin.values())
    for start, count in sorted(file.places):
        assert start == end
        end += count
    assert end == path.stat().st_size


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_file_that_is_cut_short_is_named_with_what_is_left(tmp_path: Path, dtype: torch.dtype):
    path = tmp_path / "a.safetensors"
    state_dict = open_file(path, {"a": torch.ones(PIECE_BYTES, dtype=torch.float16)})
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(
        BadFile, match=f"a weight of {2 * PIECE_BYTES} bytes has {2 * PIECE_BYTES - 10} left"
    ):
        copies(state_dict, [state_dict["a"]], dtype)

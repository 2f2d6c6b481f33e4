"""Vectors of embeddings from every kind of file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.backend.networks.embeddings import read_vectors
from modules.core.errors import BadFile, NotFound
from modules.models.networks.embeddings import Embedding
from tests.models.files.test_picture_embedding import DOCUMENT, VECTORS, hide, make_picture
from tests.models.networks.test_embeddings import read

NUMBERS = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.25, -8.0]])


def save_old_ckpt(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.pt", lambda path: torch.save({"string_to_param": {"*": NUMBERS}, "step": 3}, path)),
        ("a.pt", lambda path: save_old_ckpt({"string_to_param": {"*": NUMBERS}}, path)),
        ("a.bin", lambda path: torch.save({"<two>": NUMBERS.half()}, path)),
        ("a.safetensors", lambda path: save_file({"emb_params": NUMBERS.bfloat16()}, path)),
    ],
)
def test_vectors_are_read_as_float32(tmp_path: Path, name: str, write):
    write(tmp_path / name)
    (vectors,) = read_vectors(read(tmp_path / name))
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors, NUMBERS)


def test_a_single_vector_may_have_one_axis(tmp_path: Path):
    torch.save({"<one>": NUMBERS[0]}, tmp_path / "one.bin")
    (vectors,) = read_vectors(read(tmp_path / "one.bin"))
    assert torch.equal(vectors, NUMBERS[:1])


def test_a_pair_has_vectors_for_each_text_encoder(tmp_path: Path):
    pair = {"clip_g": torch.ones(2, 5), "clip_l": NUMBERS}
    save_file(pair, tmp_path / "xl.safetensors")
    first, second = read_vectors(read(tmp_path / "xl.safetensors"))
    assert torch.equal(first, NUMBERS)
    assert torch.equal(second, torch.ones(2, 5))


def test_a_picture_has_vectors(tmp_path: Path):
    hide(json.dumps(DOCUMENT).encode(), make_picture()).save(tmp_path / "a.png")
    (vectors,) = read_vectors(read(tmp_path / "a.png"))
    assert vectors.tolist() == VECTORS


@pytest.fixture
def listed(tmp_path: Path) -> Embedding:
    save_file({"emb_params": NUMBERS}, tmp_path / "a.safetensors")
    return read(tmp_path / "a.safetensors")


def test_a_file_that_is_gone_or_another_one_says_so(listed: Embedding):
    save_file({"other": torch.ones(1, 3)}, listed.file.path)
    with pytest.raises(BadFile, match=r"'a\.safetensors' has changed\. Refresh the list\."):
        read_vectors(listed)
    listed.file.path.unlink()
    with pytest.raises(NotFound, match="does not exist"):
        read_vectors(listed)


def test_invalid_numbers_are_refused(listed: Embedding):
    save_file({"emb_params": NUMBERS * torch.nan}, listed.file.path)
    with pytest.raises(BadFile, match=r"is damaged: it has invalid numbers \(NaN\)"):
        read_vectors(listed)


def test_a_file_cut_short_is_refused(listed: Embedding):
    os.truncate(listed.file.path, listed.file.size_bytes - 4)
    with pytest.raises(BadFile, match="is incomplete"):
        read_vectors(listed)

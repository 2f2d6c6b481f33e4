"""Checkpoints that A1111 1.10.1 merged come out the same to the byte, with the same metadata."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from modules.core.errors import UserError
from tests.backend.merging.merging import Folder, read, read_metadata
from tests.reference.a1111_cases import FOLDER

# One for each way in which tensors are made; all others run with `-m slow`.
ORDINARY = ("m_ws_v_03_half", "m_none_discard", "m_ad_inpaint", "m_ckpt")
# A1111's words, and the beginning of ours.
REFUSALS = {
    "Failed: Merging requires a primary model.": "Weighted sum needs a checkpoint A",
    "Failed: Merging requires a secondary model.": "Weighted sum needs a checkpoint B",
    "Failed: Interpolation method (Add difference) requires a tertiary model.": "Add difference needs a checkpoint C",
}
NAMES = ("tiny", "tiny2", "tiny-v", "tiny-inpainting")
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the merges of A1111 are not in {FOLDER}"
)
ROWS: list[dict[str, Any]] = (
    json.loads((FOLDER / "merges.json").read_text()) if FOLDER.is_dir() else []
)
MERGES = [row for row in ROWS if row.get("files")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The checkpoints that were merged."""
    folder = Folder(tmp_path_factory.mktemp("merges"))
    folder.checkpoints.mkdir(parents=True)
    base = load_file(FOLDER / "tiny.safetensors")
    for name in NAMES:
        delta = FOLDER / f"{name}.delta.safetensors"
        weights = {**base, **(load_file(delta) if delta.exists() else {})}
        save_file(weights, folder.checkpoints / f"{name}.safetensors")
        shutil.copy(FOLDER / f"{name}.yaml", folder.checkpoints)
    return folder


def merge(folder: Folder, args: dict[str, Any]) -> Path:
    return folder.merge(
        *(args[letter] or "" for letter in "abc"),
        interp_method=args["method"],
        multiplier=args["m"],
        custom_name=args["name"],
        save_as_half=args.get("half", False),
        discard_weights=args.get("discard", ""),
        config_source=args.get("config", 3),
        checkpoint_format=args.get("format", "safetensors"),
    )


def digest(path: Path) -> str:
    """Return the hash that merges.json has: of names, dtypes, shapes and bytes of the sorted tensors."""
    total = hashlib.sha256()
    for name, tensor in sorted(read(path).items()):
        total.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=row["args"]["name"],
            marks=() if row["args"]["name"] in ORDINARY else pytest.mark.slow,
        )
        for row in MERGES
    ],
)
def test_a_merge_comes_out_the_same(folder: Folder, row: dict[str, Any]):
    path = merge(folder, row["args"])
    try:
        assert path.name == row["files"][0]
        assert digest(path) == row["tensors_sha256"]
        assert path.with_suffix(".yaml").exists() == row["yaml"]
        if row["metadata"] is not None:
            assert {k: as_value(v) for k, v in read_metadata(path).items()} == {
                k: as_value(v) for k, v in row["metadata"].items()
            }
    finally:
        path.unlink()
        path.with_suffix(".yaml").unlink(missing_ok=True)


def as_value(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


@pytest.mark.parametrize(
    "row", [row for row in ROWS if isinstance(row["args"], dict) and not row["files"]]
)
def test_what_it_refuses_is_refused(folder: Folder, row: dict[str, Any]):
    with pytest.raises(UserError, match=REFUSALS[row["message"]]):
        merge(folder, row["args"])


def test_an_inpainting_model_must_be_a(folder: Folder):
    with pytest.raises(UserError, match=r"Choose 'tiny-inpainting\.safetensors' as A\."):
        folder.merge("tiny", "tiny-inpainting")

"""Writes model files without torch: real headers, and a sparse file instead of the weights."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.models.files.header import Header, TensorInfo

HEADERS = Path(__file__).parents[1] / "headers"
CONFIGS = Path(__file__).parents[2] / "configs"


def shapes_of(name: str) -> dict[str, list[int]]:
    """Return names and shapes of a file in tests/headers."""
    return json.loads((HEADERS / f"{name}.json").read_text(encoding="utf-8"))


def text_shapes(name: str, prefix: str) -> dict[str, list[int]]:
    """Return the text encoder of a file in tests/headers, its names with another prefix."""
    ldm_prefixes = ("cond_stage_model.transformer.text_model.", "cond_stage_model.model.")
    shapes = shapes_of(name).items()
    return {
        prefix + k.removeprefix(ldm_prefix): v
        for ldm_prefix in ldm_prefixes
        for k, v in shapes
        if k.startswith(ldm_prefix)
    }


def vit_h_shapes(layer_count: int) -> dict[str, list[int]]:
    """Return names and shapes of OpenCLIP ViT-H as transformers saves it, from those of CLIP ViT-L."""
    first_layer, sizes = "text_model.encoder.layers.0.", {768: 1024, 3072: 4096}
    wide = {k: [sizes.get(n, n) for n in v] for k, v in text_shapes("sd1", "text_model.").items()}
    outer = {k: v for k, v in wide.items() if "encoder.layers." not in k}
    layer = {k.removeprefix(first_layer): v for k, v in wide.items() if k.startswith(first_layer)}
    return outer | {
        f"text_model.encoder.layers.{number}.{k}": v
        for number in range(layer_count)
        for k, v in layer.items()
    }


def header_of(name: str) -> Header:
    """Return a file in tests/headers as the header of a .safetensors file."""
    infos = {key: TensorInfo(tuple(shape), "F16") for key, shape in shapes_of(name).items()}
    return Header(infos, {}, "safetensors")


def write_safetensors(path: Path, shapes: Mapping[str, list[int]]) -> Path:
    """Write a .safetensors file of the real size, fp16, and return its path."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, count = end, 1
        for size in shape:
            count *= size
        end = start + 2 * count
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    # As in published files: mapped tensors are at aligned addresses.
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return path


def write_pickle(path: Path, content: object, *, zipped: bool) -> Path:
    """Write a pickle as torch would, with standard protocol 2, and return its path."""
    data = pickle.dumps(content, protocol=2)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    else:
        preamble = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        parts = [pickle.dumps(part, protocol=2) for part in preamble]
        path.write_bytes(b"".join([*parts, data, pickle.dumps([], protocol=2)]))
    return path

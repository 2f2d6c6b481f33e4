"""Writes small LoRA files, without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
PLAIN: Mapping[str, tuple[int, ...]] = {
    f"{TO_K}.lora_down.weight": (4, 768),
    f"{TO_K}.lora_up.weight": (320, 4),
    f"{TO_K}.alpha": (),
}


def write_lora(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]] = PLAIN,
    metadata: Mapping[str, str] | None = None,
    fill: int = 0,
) -> Path:
    """Write a file of these tensors in 16 bits and return its path.

    Args:
        path: The file; its folder is created.
        shapes: Of its tensors.
        metadata: Of its header.
        fill: The byte that it is filled with.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata or {})}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes([fill]) * end)
    return path

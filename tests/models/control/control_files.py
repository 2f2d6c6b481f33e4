"""Files of control models that fit the small checkpoints of tests."""

from __future__ import annotations

from pathlib import Path

from tests.models.model_files import write_safetensors


def write_tiny_controlnet(path: Path) -> Path:
    """Write a ControlNet, known by its header alone, for texts of a width of 4."""
    prefix = "control_model."
    shapes = {
        "input_hint_block.0.weight": [16, 3, 3, 3],
        "input_blocks.0.0.weight": [4, 4, 1, 1],
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight": [4, 4],
        "zero_convs.0.0.weight": [4, 4, 1, 1],
    }
    return write_safetensors(path, {prefix + name: shape for name, shape in shapes.items()})

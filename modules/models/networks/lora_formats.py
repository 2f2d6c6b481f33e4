"""LORA_FORMATS: the kinds of change to a layer, each detected by its parts. `backend/networks/formulas` computes them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class LoraFormat:
    """One row of LORA_FORMATS.

    Args:
        name: Its identity, as people call it.
        parts: A layer is of this format when it has all parts of one of these sets.
        in_file_dtype: Whether A1111 computes in the dtype of the file, so that most of these formats, in 16 bits, round
            the whole weight of a 32-bit model.
    """

    name: str
    parts: tuple[frozenset[str], ...]
    in_file_dtype: bool = True

    def matches(self, parts: Collection[str]) -> bool:
        """Return whether a layer with these parts is of this format."""
        return any(needed.issubset(parts) for needed in self.parts)


def _sets(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(parts.split()) for parts in sets)


# In A1111's order: the first row that matches counts.
LORA_FORMATS: tuple[LoraFormat, ...] = (
    LoraFormat("LoRA", _sets("lora_up.weight lora_down.weight"), in_file_dtype=False),
    LoraFormat("LoHa", _sets("hada_w1_a hada_w1_b hada_w2_a hada_w2_b")),
    LoraFormat("IA3", _sets("weight")),
    LoraFormat(
        "LoKr",
        _sets(
            "lokr_w1 lokr_w2",
            "lokr_w1 lokr_w2_a lokr_w2_b",
            "lokr_w1_a lokr_w1_b lokr_w2",
            "lokr_w1_a lokr_w1_b lokr_w2_a lokr_w2_b",
        ),
    ),
    LoraFormat("full", _sets("diff")),
    LoraFormat("norm", _sets("w_norm b_norm")),
    LoraFormat("GLoRA", _sets("a1.weight a2.weight b1.weight b2.weight")),
    LoraFormat("OFT", _sets("oft_blocks", "oft_diag")),
)


def find_format(parts: Collection[str]) -> LoraFormat | None:
    """Return the format of a layer with these parts, or None where none fits."""
    return next((row for row in LORA_FORMATS if row.matches(parts)), None)

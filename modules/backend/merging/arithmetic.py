"""MERGE_FORMULAS: how tensors are merged, one row for each recipe with several checkpoints.

The arithmetic is that of A1111: in the tensors' own dtypes, so that results are the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from modules.models.merging.recipes import ADD_DIFFERENCE, WEIGHTED_SUM

# From the tensors of A, B and C, as many as the recipe has, and the multiplier.
MergeFormula = Callable[[tuple[Tensor, ...], float], Tensor]


def add_weighted(tensors: tuple[Tensor, ...], multiplier: float) -> Tensor:
    """Return A * (1 - M) + B * M."""
    a, b = tensors
    return (1 - multiplier) * a + multiplier * b


def add_difference(tensors: tuple[Tensor, ...], multiplier: float) -> Tensor:
    """Return A + (B - C) * M; without C there is no difference, as of a tensor that C does not have."""
    a, b, *rest = tensors
    difference = b - rest[0] if rest else torch.zeros_like(b)
    return a + multiplier * difference


MERGE_FORMULAS: Mapping[str, MergeFormula] = {
    WEIGHTED_SUM: add_weighted,
    ADD_DIFFERENCE: add_difference,
}

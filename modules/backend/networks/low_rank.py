"""Adds plain LoRAs to a weight in one pass over it: the product of their joined factors is summed up in the weight itself.

A product of its own, a factor on it, the sum with the weight, a check of it and the copy back would be a pass each over as
many values as the layer has, for every LoRA; together they cost more than the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modules.backend.loading.scratch import Scratch
from modules.backend.networks.lora_change import LoraChange
from modules.backend.networks.lora_formulas import LORA_FORMULAS

_UP, _DOWN = "lora_up.weight", "lora_down.weight"
# With any other part the change is more than the product.
_PLAIN_PARTS = {_UP, _DOWN, "alpha", "scale"}
# A sum of smaller numbers cannot become infinite.
_LARGEST = 1e30


class Factors(NamedTuple):
    """Two float32 matrices whose product is the change of a weight: [outputs, rank] and [rank, inputs]."""

    up: Tensor
    down: Tensor


def join_factors(
    changes: Sequence[LoraChange], weight: Tensor, memory: tuple[Scratch, Scratch]
) -> Factors | None:
    """Return the factors of all changes of a weight side by side: their product is the sum of the changes.

    Args:
        changes: In any order, which a sum does not depend on.
        weight: Of the layer.
        memory: Where the factors are, until it is used again.

    Returns:
        None where the changes must be applied one by one: some are no products, do not fit, or have invalid numbers,
        or none of their ranks is used.

    Raises:
        BadFile: a LoRA's file was cut short.
    """
    if not weight.is_contiguous() or not all(_is_product(one, weight) for one in changes):
        return None
    ranks = [_rank(change) for change in changes]
    rows, columns, rank = weight.shape[0], weight[0].numel(), sum(ranks)
    if not rank:
        return None
    up = memory[0].take((rows, rank), torch.float32, weight.device)
    down = memory[1].take((rank, columns), torch.float32, weight.device)
    start = 0
    for change, count in zip(changes, ranks, strict=True):
        parts = change.file.read(change.key, weight.device)
        factor = LORA_FORMULAS[change.format.name].scale(parts) * change.weight
        end = start + count
        up[:, start:end].copy_(parts[_UP].flatten(1)[:, :count]).mul_(factor)
        down[start:end].copy_(parts[_DOWN].flatten(1)[:count])
        start = end
    is_finite = bool(_largest(up) * _largest(down) * rank < _LARGEST)
    return Factors(up, down) if is_finite else None


def add_product(weight: Tensor, factors: Factors, memory: Scratch) -> None:
    """Add the product of two factors to a weight in place; one in less than 32 bits is rounded once.

    Args:
        weight: Contiguous.
        factors: That fit it.
        memory: Where to compute.
    """
    matrix = weight.view(weight.shape[0], -1)
    if matrix.dtype == torch.float32:
        matrix.addmm_(factors.up, factors.down)
        return
    wide = memory.take(matrix.shape, torch.float32, weight.device)
    matrix.copy_(wide.copy_(matrix).addmm_(factors.up, factors.down))


def _is_product(change: LoraChange, weight: Tensor) -> bool:
    """Return whether a change is a product of two matrices that fits the weight."""
    parts = change.file.layers[change.key]
    if change.format.name != "LoRA" or not _PLAIN_PARTS.issuperset(parts):
        return False
    up, down = (change.file.state_dict[parts[name]] for name in (_UP, _DOWN))
    if min(up.dim(), down.dim()) < 2 or not (up.is_floating_point() and down.is_floating_point()):
        return False
    rows, rank = weight.shape[0], down.shape[0]
    fits = up.shape[0] == rows and up.numel() == rows * rank
    return rank > 0 and fits and down.numel() == rank * weight[0].numel()


def _rank(change: LoraChange) -> int:
    """Return how many ranks of a product are used; a negative number leaves so many out."""
    rank = change.file.state_dict[change.file.layers[change.key][_DOWN]].shape[0]
    return len(range(rank)[: change.use.rank])


def _largest(tensor: Tensor) -> Tensor:
    """Return the largest magnitude of a tensor, NaN where a value is NaN."""
    return torch.stack(torch.aminmax(tensor)).abs().max()

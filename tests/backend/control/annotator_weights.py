"""Random weights for the networks of annotators, the same everywhere: our own and others' get them by their names."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

N = TypeVar("N", bound=torch.nn.Module)


def seed_weights(network: N) -> N:
    """Return the network with random weights that keep numbers at their size, for inference.

    Args:
        network: Whose tensors are filled in the order of their names.
    """
    random = np.random.RandomState(0)
    for name, tensor in sorted(network.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        values = random.standard_normal(tuple(tensor.shape))
        if name.endswith("running_var"):
            values = 1 + 0.5 * np.tanh(values)
        elif tensor.ndim > 1:
            values *= (2 / max(1, int(np.prod(tensor.shape[1:])))) ** 0.5
        else:
            values = 0.1 * values + (name.endswith("weight"))
        tensor.copy_(torch.from_numpy(values))
    return network.eval().requires_grad_(requires_grad=False)


def noise(height: int, width: int) -> np.ndarray:
    """Return a random image, uint8 [height, width, 3]."""
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)

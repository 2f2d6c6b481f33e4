"""Fills networks made without memory with a checkpoint's weights, and keeps account of every name."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from modules.backend.ldm_layout import Third
from modules.backend.weights import Weights
from modules.core.errors import BadFile, UserError
from modules.models.configs import OTHER_MODEL
from modules.models.ldm_names import actual_name

M = TypeVar("M", bound=nn.Module)
logger = logging.getLogger(__name__)
NAMES_SHOWN = 3


@dataclass(frozen=True)
class Source:
    """Tensors in LDM's layout and where they come from.

    Args:
        weights: On any device, `meta` included.
        name: The file's, for messages.
        config: The .yaml that describes them, for messages.
        averaged: Whether the training's moving average is wanted where the file has it.
    """

    weights: Mapping[str, Tensor]
    name: str
    config: Path
    averaged: bool = False


class Filler:
    """Gives networks their weights, tensor by tensor; no two copies of all of them exist at any time.

    Args:
        source: The tensors.
        device: Where the networks will compute.
    """

    def __init__(self, source: Source, device: torch.device) -> None:
        self._source = source
        self._device = device
        self._used: set[str] = set()

    def __call__(self, module: M, ldm_name: Callable[[str], str | Third], dtype: torch.dtype) -> M:
        """Return the network with its weights, in that dtype, on the device, in evaluation mode.

        Raises:
            BadFile: weights are missing.
            UserError: the .yaml speaks of other weights.
        """
        source = self._source
        state: dict[str, Tensor] = {}
        missing: list[str] = []
        for key, parameter in module.state_dict().items():
            wanted = ldm_name(key)
            name = wanted if isinstance(wanted, str) else wanted.name
            actual = actual_name(source.weights, name, averaged=source.averaged)
            if actual is None:
                missing.append(name)
                continue
            self._used.add(actual)
            weight = source.weights[actual]
            if isinstance(wanted, Third):
                weight = _third(weight, wanted.number)
            weight = self._fitted(weight, actual, parameter.shape)
            state[key] = _placed(weight, dtype, self._device)
            if isinstance(source.weights, Weights) and state[key].data_ptr() != weight.data_ptr():
                source.weights.release(actual)
        if missing:
            text = f"'{source.name}' lacks {len(missing)} weights that '{source.config}' asks for: {_few(missing)}."
            raise BadFile(text, "The file is incomplete, or the .yaml belongs to another model.")
        module.load_state_dict(state, assign=True)
        if self._device.type != "cpu":
            module.to(self._device)  # buffers; the weights are there
        return module.eval().requires_grad_(requires_grad=False)

    def check_leftovers(self, parts: tuple[str, ...], harmless: re.Pattern[str]) -> None:
        """Report what the file has beyond its components.

        Args:
            parts: Beginnings of the components' names.
            harmless: Names of what training and other programs leave in a file.

        Raises:
            UserError: some of it belongs to a component, which then is another than the .yaml describes.
        """
        source = self._source
        left = [
            name
            for name in source.weights
            if name not in self._used and not harmless.fullmatch(name)
        ]
        if source.averaged:  # the last weights stay unread where their average was
            left = [
                name
                for name in left
                if actual_name(source.weights, name, averaged=True) not in self._used
            ]
        within = [name for name in left if name.startswith(parts)]
        if within:
            text = f"'{source.name}' has {len(within)} weights that '{source.config}' does not speak of: {_few(within)}."
            raise UserError(text, OTHER_MODEL)
        if left:
            logger.warning(
                "'%s' has %d weights that are not used: %s", source.name, len(left), _few(left)
            )

    def _fitted(self, weight: Tensor, name: str, shape: torch.Size) -> Tensor:
        """Return a weight in the shape wanted; a 1x1 convolution and a linear layer are the same."""
        source = self._source
        if _without_kernel(weight.shape) == _without_kernel(shape):
            weight = weight.reshape(shape)
        if weight.shape != shape:
            text = f"'{source.config}' makes {name} {list(shape)}, but '{source.name}' has {list(weight.shape)}."
            raise UserError(text, OTHER_MODEL)
        return weight


def _placed(weight: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the weight itself when it is right as it is, else a copy: converted, moved, laid out, in one go."""
    # On the processor convolutions are a twentieth faster with channels last.
    is_kernel = weight.ndim == 4 and weight.shape[2:] != (1, 1)
    if device.type != "cpu" or weight.is_meta or not is_kernel or dtype != torch.float32:
        return weight.to(device if not weight.is_meta else weight.device, dtype)
    return torch.empty(weight.shape, dtype=dtype, memory_format=torch.channels_last).copy_(weight)


def _third(weight: Tensor, index: int) -> Tensor:
    rows = weight.shape[0] // 3
    return weight[index * rows : (index + 1) * rows]


def _without_kernel(shape: torch.Size) -> torch.Size:
    return shape[:2] if shape[2:] == (1, 1) else shape


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")

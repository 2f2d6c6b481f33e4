"""Fills networks made without memory with a checkpoint's weights, and keeps account of every name."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from modules.backend.loading.buffers import materialize
from modules.backend.loading.ldm_keys import QkvSlice
from modules.backend.loading.state_dict import MappedStateDict
from modules.core.errors import BadFile, UserError
from modules.models.ldm.config import WRONG_YAML_HINT
from modules.models.ldm.names import find_key

M = TypeVar("M", bound=nn.Module)
logger = logging.getLogger(__name__)
NAMES_SHOWN = 3


@dataclass(frozen=True)
class StateDictSource:
    """Tensors in LDM's layout and where they come from.

    Args:
        state_dict: On any device, `meta` included.
        name: The file's, for messages.
        config: The .yaml that describes them, for messages.
        use_ema: Whether the training's moving average is wanted where the file has it.
    """

    state_dict: Mapping[str, Tensor]
    name: str
    config: Path
    use_ema: bool = False


class _Weight(NamedTuple):
    """A parameter's tensor as the file has it: its key in the module, its name in the file."""

    key: str
    name: str
    tensor: Tensor


class WeightLoader:
    """Gives networks their weights, tensor by tensor; no two copies of all of them exist at any time.

    Args:
        source: The tensors.
        device: Where the networks will compute.
    """

    def __init__(self, source: StateDictSource, device: torch.device) -> None:
        self._source = source
        self._device = device
        self._used_keys: set[str] = set()

    def __call__(
        self, module: M, ldm_name: Callable[[str], str | QkvSlice], dtype: torch.dtype
    ) -> M:
        """Return the network with its weights, in that dtype, on the device, in evaluation mode.

        Raises:
            BadFile: weights are missing.
            UserError: the .yaml speaks of other weights.
        """
        found = self._find_tensors(module, ldm_name)
        tensors = materialize(
            [weight.tensor for weight in found],
            dtype,
            self._device,
            lambda number: self._release(found[number].name),
        )
        state = {weight.key: tensor for weight, tensor in zip(found, tensors, strict=True)}
        module.load_state_dict(state, assign=True)
        if self._device.type != "cpu":
            module.to(self._device)  # buffers; the weights are there
        return module.eval().requires_grad_(requires_grad=False)

    def _find_tensors(
        self, module: nn.Module, ldm_name: Callable[[str], str | QkvSlice]
    ) -> list[_Weight]:
        """Return the file's tensor of each parameter, in the shape wanted."""
        source = self._source
        found: list[_Weight] = []
        missing: list[str] = []
        for key, parameter in module.state_dict().items():
            wanted = ldm_name(key)
            name = wanted if isinstance(wanted, str) else wanted.key
            actual = find_key(source.state_dict, name, use_ema=source.use_ema)
            if actual is None:
                missing.append(name)
                continue
            self._used_keys.add(actual)
            weight = source.state_dict[actual]
            if isinstance(wanted, QkvSlice):
                weight = _third(weight, wanted.part)
            found.append(
                _Weight(key, actual, self._reshape_to_fit(weight, actual, parameter.shape))
            )
        if missing:
            text = f"'{source.name}' lacks {len(missing)} weights that '{source.config}' asks for: {_few(missing)}."
            raise BadFile(text, "The file is incomplete, or the .yaml belongs to another model.")
        return found

    def _release(self, name: str) -> None:
        if isinstance(self._source.state_dict, MappedStateDict):
            self._source.state_dict.release(name)

    def check_unused_keys(self, prefixes: tuple[str, ...], ignored: re.Pattern[str]) -> None:
        """Report what the file has beyond its components.

        Args:
            prefixes: Beginnings of the components' names.
            ignored: Names of what training and other programs leave in a file.

        Raises:
            UserError: some of it belongs to a component, which then is another than the .yaml describes.
        """
        source = self._source
        left = [
            name
            for name in source.state_dict
            if name not in self._used_keys and not ignored.fullmatch(name)
        ]
        if source.use_ema:  # the last weights stay unread where their average was
            left = [
                name
                for name in left
                if find_key(source.state_dict, name, use_ema=True) not in self._used_keys
            ]
        within = [name for name in left if name.startswith(prefixes)]
        if within:
            text = f"'{source.name}' has {len(within)} weights that '{source.config}' does not speak of: {_few(within)}."
            raise UserError(text, WRONG_YAML_HINT)
        if left:
            logger.warning(
                "'%s' has %d weights that are not used: %s", source.name, len(left), _few(left)
            )

    def _reshape_to_fit(self, weight: Tensor, name: str, shape: torch.Size) -> Tensor:
        """Return a weight in the shape wanted; a 1x1 convolution and a linear layer are the same."""
        source = self._source
        if _without_kernel(weight.shape) == _without_kernel(shape):
            weight = weight.reshape(shape)
        if weight.shape != shape:
            text = f"'{source.config}' makes {name} {list(shape)}, but '{source.name}' has {list(weight.shape)}."
            raise UserError(text, WRONG_YAML_HINT)
        return weight


def _third(weight: Tensor, index: int) -> Tensor:
    rows = weight.shape[0] // 3
    return weight[index * rows : (index + 1) * rows]


def _without_kernel(shape: torch.Size) -> torch.Size:
    return shape[:2] if shape[2:] == (1, 1) else shape


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")

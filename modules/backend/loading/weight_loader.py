"""Loads a checkpoint's weights into models on the meta device, and accounts for every key."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from modules.backend.components import WeightOrigin
from modules.backend.loading.buffers import materialize
from modules.backend.loading.ldm_keys import FileKey, QkvSlice, Transposed
from modules.backend.loading.pieces import Copies
from modules.backend.loading.scratch import Scratch
from modules.backend.loading.state_dict import FileStateDict, make_reopener, read_tensor
from modules.backend.loading.weight_cache import WantedWeight, WantedWeights, WeightCache
from modules.core.errors import BadFile, UserError
from modules.models.ldm.config import wrong_yaml_hint
from modules.models.ldm.keys import find_key

M = TypeVar("M", bound=nn.Module)
logger = logging.getLogger(__name__)
_MAX_NAMES_SHOWN = 3


@dataclass(frozen=True)
class StateDictSource:
    """A state dict in LDM's layout, with names for messages.

    Args:
        state_dict: On any device, `meta` included.
        name: The file's, for messages.
        config: The .yaml that describes it, for messages.
        use_ema: Whether to use the EMA weights if the file has them.
    """

    state_dict: Mapping[str, Tensor]
    name: str
    config: Path
    use_ema: bool = False


@dataclass(frozen=True)
class Destination:
    """Where weights are loaded to.

    Args:
        device: Of the loaded modules.
        copies: Fills weights on the CPU until its block ends; None fills them at once.
        cache: Keeps converted weights on the disk.

    Attributes:
        converted: What was converted, and may be kept there once all is loaded.
    """

    device: torch.device
    copies: Copies | None = None
    cache: WeightCache | None = None
    converted: list[WantedWeights] = field(default_factory=list[WantedWeights])


class _Weight(NamedTuple):
    """A parameter's tensor from the file: its key in the module, its name in the file, and which part of that it is."""

    key: str
    name: str
    tensor: Tensor
    source: str


class WeightLoader:
    """Loads weights into meta-device modules tensor by tensor; peak memory is one copy of the model.

    Args:
        source: The tensors.
        destination: Of the loaded modules.

    Attributes:
        destination: Likewise.
    """

    def __init__(self, source: StateDictSource, destination: Destination) -> None:
        self._source = source
        self.destination = destination
        self._device = destination.device
        self._used_keys: set[str] = set()

    @property
    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the tensors that it loads."""
        return self._source.state_dict

    @property
    def name(self) -> str:
        """Return the file's name, for messages."""
        return self._source.name

    def load_into(self, module: M, file_key: Callable[[str], FileKey], dtype: torch.dtype) -> M:
        """Return the module with its weights, in that dtype, on the device, in evaluation mode.

        Args:
            module: With parameters on the meta device.
            file_key: Returns the key in the file of a key of the module.
            dtype: Of the loaded weights.

        Raises:
            BadFile: weights are missing.
            UserError: the .yaml describes other weights.
        """
        weights = self._find_tensors(module, file_key)
        module.load_state_dict(self._load(weights, dtype), assign=True)
        if self._device.type != "cpu":
            module.to(self._device)  # moves buffers; the weights are there already
        return module.eval().requires_grad_(requires_grad=False)

    def _load(self, weights: list[_Weight], dtype: torch.dtype) -> dict[str, Tensor]:
        """Return weights by their keys in the module."""
        state_dict, target = self._source.state_dict, self.destination
        is_scaled = any(_scale_name(weight.name) in state_dict for weight in weights)
        copies = None if is_scaled else target.copies
        wanted = None
        if target.cache and copies and isinstance(state_dict, FileStateDict):
            rows = [WantedWeight(one.key, one.source, one.tensor) for one in weights]
            wanted = WantedWeights(state_dict, dtype, rows)
            cached = target.cache.read(wanted, copies)
            if cached is not None:
                return cached
        tensors = materialize(
            [weight.tensor for weight in weights], dtype, self._device, state_dict, copies
        )
        if wanted is not None:
            target.converted.append(wanted)
        for weight, tensor in zip(weights, tensors, strict=True):
            self._apply_scale(weight.name, tensor)
        return {weight.key: tensor for weight, tensor in zip(weights, tensors, strict=True)}

    def _apply_scale(self, name: str, tensor: Tensor) -> None:
        """Multiply a weight in 8 bits by its scale, which ComfyUI stores next to it."""
        scale = self._source.state_dict.get(_scale_name(name))
        if scale is not None and not tensor.is_meta:
            tensor.mul_(
                read_tensor(self._source.state_dict, scale).to(tensor.device, torch.float32)
            )

    def origin(self, module: nn.Module, file_key: Callable[[str], FileKey]) -> WeightOrigin:
        """Return where the weights of a module come from; it keeps no file open.

        Args:
            module: Loaded, from this file.
            file_key: Returns the key in the file of a key of the module.
        """
        reopen, device = make_reopener(self._source.state_dict), self._device
        source = replace(self._source, state_dict={})  # it would keep the file open

        def read(keys: Collection[str]) -> Iterator[tuple[str, Tensor]]:
            state_dict = reopen()
            loader = WeightLoader(replace(source, state_dict=state_dict), Destination(device))
            weights = loader._find_tensors(module, file_key, keys)
            scratch = Scratch()
            # In file order: a disk is slower in any other.
            for weight in sorted(weights, key=lambda one: one.tensor.data_ptr()):
                yield weight.key, read_tensor(state_dict, weight.tensor, scratch)

        def key_in_file(key: str) -> str:
            found = file_key(key)
            return found if isinstance(found, str) else ""

        return WeightOrigin(read, key_in_file)

    def _find_tensors(
        self,
        module: nn.Module,
        file_key: Callable[[str], FileKey],
        keys: Collection[str] | None = None,
    ) -> list[_Weight]:
        """Return the file's tensor of each parameter, or of those with these keys, in the parameter's shape."""
        source = self._source
        found: list[_Weight] = []
        missing: list[str] = []
        for key, parameter in module.state_dict().items():
            if keys is not None and key not in keys:
                continue
            expected = file_key(key)
            name = expected if isinstance(expected, str) else expected.key
            actual = find_key(source.state_dict, name, use_ema=source.use_ema)
            if actual is None:
                missing.append(name)
                continue
            self._used_keys.add(actual)
            weight = source.state_dict[actual]
            if isinstance(expected, QkvSlice):
                weight = _slice_qkv(weight, expected.part)
            elif isinstance(expected, Transposed):
                weight = read_tensor(source.state_dict, weight).mT.contiguous()
            found.append(
                _Weight(
                    key,
                    actual,
                    self._reshape_to_fit(weight, actual, parameter.shape),
                    f"{actual} {expected}",
                )
            )
        if missing:
            text = f"'{source.name}' lacks {len(missing)} weights that '{source.config}' requires: {_abbreviate(missing)}."
            raise BadFile(text, f"The file is incomplete, or: {wrong_yaml_hint(source.config)}")
        return found

    def check_unused_keys(self, prefixes: tuple[str, ...], ignored: re.Pattern[str]) -> None:
        """Report keys of the file that no component uses.

        Args:
            prefixes: Of the components' keys.
            ignored: Matches keys that training and other programs leave in a file.

        Raises:
            UserError: an unused key belongs to a component, so the .yaml does not describe it.
        """
        source = self._source
        unused = [
            name
            for name in source.state_dict
            if name not in self._used_keys and not ignored.fullmatch(name)
        ]
        if source.use_ema:  # non-EMA weights stay unread where their EMA was used
            unused = [
                name
                for name in unused
                if find_key(source.state_dict, name, use_ema=True) not in self._used_keys
            ]
        in_components = [name for name in unused if name.startswith(prefixes)]
        if in_components:
            text = f"'{source.name}' has {len(in_components)} weights that '{source.config}' does not describe: {_abbreviate(in_components)}."
            raise UserError(text, wrong_yaml_hint(source.config))
        if unused:
            logger.warning(
                "'%s' has %d weights that are not used: %s",
                source.name,
                len(unused),
                _abbreviate(unused),
            )

    def _reshape_to_fit(self, weight: Tensor, name: str, shape: torch.Size) -> Tensor:
        """Return a weight in a parameter's shape; a 1x1 convolution and a linear layer are interchangeable."""
        source = self._source
        if weight.shape != shape and _without_1x1_kernel(weight.shape) == _without_1x1_kernel(
            shape
        ):
            # Other memory formats than the usual one are copied by `reshape`.
            read = weight if weight.is_contiguous() else read_tensor(source.state_dict, weight)
            weight = read.reshape(shape)
        if weight.shape != shape:
            text = f"'{source.config}' describes {name} as {list(shape)}, but '{source.name}' has {list(weight.shape)}."
            raise UserError(text, wrong_yaml_hint(source.config))
        return weight


def _scale_name(name: str) -> str:
    return name.removesuffix("weight") + "scale_weight"


def _slice_qkv(weight: Tensor, part: int) -> Tensor:
    rows = weight.shape[0] // 3
    return weight[part * rows : (part + 1) * rows]


def _without_1x1_kernel(shape: torch.Size) -> torch.Size:
    return shape[:2] if shape[2:] == (1, 1) else shape


def _abbreviate(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (", ..." if len(names) > _MAX_NAMES_SHOWN else "")

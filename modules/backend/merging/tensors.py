"""Computes the tensors of a merged checkpoint from its files, some hundred thousand values at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import torch
from torch import Tensor

from modules.backend.loading.ckpt import DTYPES
from modules.backend.loading.state_dict import FileStateDict
from modules.backend.merging.arithmetic import MERGE_FORMULAS, MergeFormula
from modules.models.merging.layout import ResultTensor
from modules.models.merging.recipes import Recipe, RecipeFormula
from modules.plan.step_extensions import log_error, naming_extension

# Values of a tensor that are in memory at a time: few enough for the processor's caches, and for any computer.
CHUNK_ITEMS = 1 << 18
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class WeightChanger(Protocol):
    """Changes weights beyond the recipe's formula."""

    def changes(self, key: str) -> bool:
        """Return whether a tensor of A is changed."""
        ...

    def change(self, key: str, weight: Tensor) -> Tensor:
        """Return the changed tensor, float32."""
        ...


@dataclass(frozen=True)
class MergeFiles:
    """The opened files of a merge.

    Args:
        checkpoints: A, and B and C as far as the recipe needs them.
        vae: The VAE that is baked in.
    """

    checkpoints: tuple[FileStateDict, ...]
    vae: FileStateDict | None = None


class TensorMerger:
    """Computes the tensors of a result.

    Args:
        files: What is merged.
        recipe: How.
        multiplier: Of the recipe.
        changer: Changes A's weights, None for no change.
        formulas: By the names of recipes.
    """

    def __init__(
        self,
        files: MergeFiles,
        recipe: Recipe,
        multiplier: float,
        changer: WeightChanger | None = None,
        formulas: Mapping[str, MergeFormula] = MERGE_FORMULAS,
    ) -> None:
        self._files = files
        self._recipe = recipe
        self._formula = formulas.get(recipe.name)
        self._multiplier = multiplier
        self._changer = changer

    def compute(self, tensor: ResultTensor) -> Iterator[Tensor]:
        """Yield the values of a tensor in row-major order, part after part, in the dtype of the result.

        Raises:
            BadFile: a file was cut short, or has changed.
            ExtensionFailed: the formula of an extension raises an error, or returns something else.
        """
        dtype = DTYPES[tensor.info.dtype]
        a, *others = self._files.checkpoints
        if tensor.vae:
            assert self._files.vae is not None
            sources = [(self._files.vae, tensor.vae)]
        else:
            keys = [key for key in (tensor.b, tensor.c) if key]
            sources = [(a, tensor.a), *zip(others, keys, strict=False)]
        if self._changer is not None and not tensor.vae and self._changer.changes(tensor.a):
            weight = _read(a, tensor.a, a[tensor.a], is_computed=True)
            yield self._changer.change(tensor.a, weight).to(dtype).contiguous()
        elif tensor.is_merged and self._recipe.formula is not None:
            yield self._merge_whole(tensor, sources, self._recipe.formula).to(dtype).contiguous()
        elif tensor.channels:
            yield self._merge_channels(tensor, sources).to(dtype)
        else:
            yield from self._merge_parts(tensor, sources, dtype)

    def _merge_whole(
        self,
        tensor: ResultTensor,
        sources: list[tuple[FileStateDict, str]],
        formula: RecipeFormula,
    ) -> Tensor:
        """Return a tensor that an extension's formula makes of whole ones: the result may depend on neighbouring values."""
        shape = list(tensor.info.shape)
        a, *others = (_read(file, key, file[key], is_computed=True) for file, key in sources)
        first = a.reshape(shape)
        if tensor.channels:
            first = first[:, : tensor.channels]
        parts = (first, *(other.reshape(first.shape) for other in others))
        dtype = reduce(torch.promote_types, [part.dtype for part in parts])
        report = self._recipe.report or log_error
        with torch.no_grad(), naming_extension(report, self._recipe.name):
            # Copies: A's other channels are needed below.
            merged: object = formula(
                tuple(part.clone() for part in parts), self._multiplier, tensor.name
            )
            _check_formula(merged, tensor.name, first.shape, dtype)
        assert isinstance(merged, Tensor)
        if not tensor.channels:
            return merged
        whole = a.reshape(shape).to(dtype, copy=True)
        whole[:, : tensor.channels] = merged
        return whole

    def _merge_channels(
        self, tensor: ResultTensor, sources: list[tuple[FileStateDict, str]]
    ) -> Tensor:
        """Return A's tensor with the others merged into its first input channels."""
        assert self._formula is not None
        a, *others = (_read(file, key, file[key], is_computed=True) for file, key in sources)
        first = a[:, : tensor.channels]
        merged = a.to(DTYPES[tensor.info.dtype], copy=True)
        merged[:, : tensor.channels] = self._formula((first, *others), self._multiplier)
        return merged

    def _merge_parts(
        self, tensor: ResultTensor, sources: list[tuple[FileStateDict, str]], dtype: torch.dtype
    ) -> Iterator[Tensor]:
        formula = self._formula if tensor.is_merged else None
        is_computed = formula is not None or dtype not in _FLOAT8
        flat = [(file, key, _flatten(file, key)) for file, key in sources]
        for start in range(0, flat[0][2].numel(), CHUNK_ITEMS):
            parts = tuple(
                _read(file, key, places[start : start + CHUNK_ITEMS], is_computed)
                for file, key, places in flat
            )
            merged = parts[0] if formula is None else formula(parts, self._multiplier)
            yield merged.to(dtype)


def _check_formula(merged: object, name: str, shape: torch.Size, dtype: torch.dtype) -> None:
    """Check what an extension's formula returns.

    Raises:
        ValueError: it is no tensor of that shape and dtype on the CPU.
    """
    wanted = f"a tensor of the shape {list(shape)} and the type {_name(dtype)}"
    if not isinstance(merged, Tensor):
        raise ValueError(f"For {name} it must return {wanted}, not a {type(merged).__name__}.")
    if merged.shape != shape or merged.dtype != dtype or merged.device.type != "cpu":
        found = f"one of the shape {list(merged.shape)} and the type {_name(merged.dtype)}"
        raise ValueError(f"For {name} it must return {wanted}, not {found} on {merged.device}.")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _flatten(file: FileStateDict, key: str) -> Tensor:
    """Return the places of a tensor's values in row-major order, or the values where they are in another order."""
    places = file[key]
    return places.view(-1) if places.is_contiguous() else file.read(places).reshape(-1)


def _read(file: FileStateDict, key: str, places: Tensor, is_computed: bool) -> Tensor:
    """Return values of a tensor.

    Args:
        file: The file.
        key: The tensor.
        places: Of the values in the file.
        is_computed: Whether values in 8 bits become float16, multiplied by the scale that ComfyUI stores next to them.
    """
    values = file.read(places)
    if not is_computed or values.dtype not in _FLOAT8:
        return values
    values = values.to(torch.float16)
    scale = file.get(key.removesuffix("weight") + "scale_weight")
    return values if scale is None else values.mul_(file.read(scale).to(torch.float32))

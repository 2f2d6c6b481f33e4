"""The change of one layer by one LoRA: its formula, with scale, weight, DoRA and the checks that it fits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from modules.backend.loading.scratch import Scratch
from modules.backend.memory.estimate import is_out_of_memory
from modules.backend.networks.layers import Layer
from modules.backend.networks.lora_file import LoraFile
from modules.backend.networks.lora_formulas import (
    LORA_FORMULAS,
    Parts,
    add_bias,
    decompose,
    limit_rank,
    multiply,
)
from modules.models.networks.lora_formats import LoraFormat
from modules.models.networks.lora_keys import OUTPUT_LENGTHS, LoraKey
from modules.plan.networks.loras import LoraUse

_MAX_PARTS_SHOWN = 3
_COMPUTABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # 8 bits have no sums
_NOT_IN_SUMS = ("alpha", "scale", "on_input", "dora_scale", "rescale")  # or converted there
_SPARSE = "bias_"  # begin of parts with places and sizes


class ChangeError(Exception):
    """A change does not fit its layer, or has invalid numbers; the text says why."""


@dataclass(frozen=True)
class LoraChange:
    """What a LoRA does to a layer.

    Args:
        use: The LoRA, with its weights.
        file: Its file.
        key: The layer in the file.
        layer: The layer in the model.
        format: Row of LORA_FORMATS.
    """

    use: LoraUse
    file: LoraFile
    key: LoraKey
    layer: Layer
    format: LoraFormat

    @property
    def weight(self) -> float:
        """Return the weight that the prompt gives it."""
        return self.use.unet if self.layer.network == "unet" else self.use.text_encoder


def change_weight(change: LoraChange, weight: Tensor, scratch: Scratch) -> Tensor:
    """Return the changed weight.

    Args:
        change: What is done.
        weight: float32, as it is by then.
        scratch: Where the result may be.

    Raises:
        ChangeError: it does not fit, or has invalid numbers.
        BadFile: the LoRA's file was cut short.
    """
    parts = change.file.read(change.key, weight.device)
    is_half_model = change.layer.module.weight.dtype != torch.float32
    if is_half_model or not (change.format.in_file_dtype and _has_one_dtype(parts)):
        parts = {name: _as_float(name, part) for name, part in parts.items()}
    try:
        delta = _compute(change, parts, weight, scratch)
    except (RuntimeError, IndexError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise ChangeError(_describe_shapes(parts, weight)) from error
    # A1111 adds to a joined attention in place, in its own dtype.
    dtype = weight.dtype if change.layer.in_joined_attention else delta.dtype
    if delta.dtype == dtype == torch.float32:
        changed = delta.add_(weight)
    else:
        changed = (weight.to(dtype) + delta).float()
    if not bool(torch.isfinite(changed.sum())):  # of single values would need as much memory again
        raise ChangeError("invalid numbers")
    return changed


def _has_one_dtype(parts: Parts) -> bool:
    """Return whether a change can be computed in the dtype of the file."""
    names = (name for name in parts if name not in _NOT_IN_SUMS and not name.startswith(_SPARSE))
    dtypes = {parts[name].dtype for name in names}
    return len(dtypes) == 1 and dtypes <= set(_COMPUTABLE)


def _as_float(name: str, part: Tensor) -> Tensor:
    return part if part.dtype == torch.bool or name.startswith(_SPARSE) else part.float()


def change_bias(change: LoraChange, bias: Tensor) -> Tensor | None:
    """Return the changed bias, or None where the LoRA does not change it.

    Args:
        change: What is done.
        bias: float32, as it is by then.

    Raises:
        ChangeError: it does not fit, or has invalid numbers.
        BadFile: the LoRA's file was cut short.
    """
    name = LORA_FORMULAS[change.format.name].bias_part
    if name not in change.file.layers[change.key]:
        return None
    difference = change.file.read(change.key, bias.device)[name]
    if difference.numel() != bias.numel():
        raise ChangeError(f"{name} {list(difference.shape)}, the bias {list(bias.shape)}")
    if change.layer.module.weight.dtype != torch.float32 or difference.dtype not in _COMPUTABLE:
        difference = difference.float()
    changed = bias + (difference.reshape(bias.shape) * change.weight).float()
    if not bool(torch.isfinite(changed).all()):
        raise ChangeError("invalid numbers")
    return changed


def _compute(change: LoraChange, parts: Parts, weight: Tensor, scratch: Scratch) -> Tensor:
    """Return the change, in memory of its own or in the scratch memory."""
    formula = LORA_FORMULAS[change.format.name]
    scale = formula.scale(parts)
    if change.format.name == "LoRA":
        parts = limit_rank(parts, change.use.rank)
        difference = multiply(parts, scratch)
    else:
        difference = formula.change(parts, weight)
    delta = add_bias(difference, parts)
    delta = _times(_fit(delta, weight), scale)
    if "dora_scale" in parts:
        delta = decompose(weight, delta, parts["dora_scale"])
    elif OUTPUT_LENGTHS in parts:
        delta = decompose(weight, delta, parts[OUTPUT_LENGTHS].flatten())
    return _times(delta, change.weight)


def _times(delta: Tensor, factor: float) -> Tensor:
    return (
        delta if factor == 1 else delta.mul_(factor)
    )  # a pass over as many values as the layer has


def _fit(delta: Tensor, weight: Tensor) -> Tensor:
    """Return the change in the shape of the weight.

    A convolution of the latents alone fits one that gets further channels, as those of inpainting and depth do.

    Raises:
        RuntimeError: it has another number of values.
    """
    missing = weight.shape[1] - delta.shape[1] if weight.dim() == delta.dim() == 4 else 0
    if missing > 0 and delta.shape[1] == 4:
        delta = functional.pad(delta, (0, 0, 0, 0, 0, missing))
    return delta.reshape(weight.shape)


def _describe_shapes(parts: Parts, weight: Tensor) -> str:
    shapes = [f"{name} {list(part.shape)}" for name, part in parts.items() if part.dim()]
    return f"{', '.join(shapes[:_MAX_PARTS_SHOWN])}, the layer {list(weight.shape)}"

"""Imports spandrel where torchvision is not installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import Tensor

# Two of spandrel's architectures, LaMa and RestoreFormer, import three names of it; nothing else does.
_FUNCTIONAL = "torchvision.transforms.functional"


class InterpolationMode(Enum):
    """The modes that LaMa names; it rotates only where it is trained."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"


def normalize(
    tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Tensor:
    """Return the channels of an image less their means, divided by their deviations.

    Args:
        tensor: [..., channels, height, width].
        mean: One number a channel.
        std: Likewise.
        inplace: Whether the tensor itself is changed.
    """
    shape = (-1, 1, 1)
    result = tensor if inplace else tensor.clone()
    return result.sub_(result.new_tensor(mean).view(shape)).div_(result.new_tensor(std).view(shape))


def rotate(*_: object, **__: object) -> Tensor:
    """Refuse to rotate, which only training does.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("torchvision is not installed.")


def import_spandrel() -> Any:
    """Return the module `spandrel`, with all its architectures.

    Without torchvision a stub replaces its functions while spandrel is imported. Only the innermost module
    has one, so that whoever looks for torchvision meanwhile finds none.
    """
    if "spandrel" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module("spandrel")
    stand_in = ModuleType(_FUNCTIONAL, __doc__)
    stand_in.__spec__ = ModuleSpec(_FUNCTIONAL, loader=None)
    stand_in.__dict__.update(
        InterpolationMode=InterpolationMode, normalize=normalize, rotate=rotate
    )
    sys.modules[_FUNCTIONAL] = stand_in
    try:
        return importlib.import_module("spandrel")
    finally:
        del sys.modules[_FUNCTIONAL]

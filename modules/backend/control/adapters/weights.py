"""Loads the weights of a small network from its own file, and accounts for every one that it needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from modules.backend.loading.buffers import materialize
from modules.backend.loading.ldm_keys import FileKey, QkvSlice, Transposed
from modules.backend.loading.state_dict import FileStateDict, read_state_dict
from modules.core.errors import BadFile
from modules.models.files.header import Header, read_header
from modules.models.files.scan import ModelFile

M = TypeVar("M", bound=nn.Module)


class RowSlice(NamedTuple):
    """One of several equal parts of the rows of a tensor that joins weights.

    Args:
        key: Of the tensor.
        part: From 0.
        parts: How many there are.
    """

    key: str
    part: int
    parts: int


WeightKey = FileKey | RowSlice


@dataclass(frozen=True)
class AdapterFile:
    """An opened file.

    Args:
        name: For messages.
        noun: What it holds, for messages.
        header: Of the file.
        state_dict: Its tensors.
    """

    name: str
    noun: str
    header: Header
    state_dict: FileStateDict

    def find(self, key: WeightKey) -> Tensor:
        """Return the place of a weight in the file; see `FileStateDict`.

        Raises:
            BadFile: the file lacks it.
        """
        name = key if isinstance(key, str) else key.key
        weight = self.state_dict.get(name)
        if weight is None:
            raise BadFile(
                f"'{self.name}' is no complete {self.noun}: '{name}' is missing.",
                "Download it again.",
            )
        if isinstance(key, QkvSlice):
            key = RowSlice(*key, 3)
        if isinstance(key, RowSlice):
            return weight.tensor_split(key.parts)[key.part]
        return weight.mT if isinstance(key, Transposed) else weight

    def read(self, keys: list[str], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """Return weights to compute with.

        Raises:
            BadFile: the file lacks one, or was cut short.
        """
        return materialize([self.find(key) for key in keys], dtype, device, self.state_dict)

    def load_into(
        self,
        module: M,
        file_key: Callable[[str], WeightKey],
        dtype: torch.dtype,
        device: torch.device,
    ) -> M:
        """Return the module with its weights, in evaluation mode, without gradients.

        Args:
            module: With parameters on the meta device.
            file_key: Returns the key in the file of a key of the module.
            dtype: Of the loaded weights.
            device: Likewise.

        Raises:
            BadFile: weights are missing, or have other shapes.
        """
        expected = module.state_dict()
        weights = [self.find(file_key(key)) for key in expected]
        for key, weight in zip(expected, weights, strict=True):
            if weight.shape != expected[key].shape:
                raise BadFile(
                    f"'{self.name}' is no {self.noun} that this program can use: '{file_key(key)}' is"
                    f" {list(weight.shape)}, not {list(expected[key].shape)}.",
                    "Get it from another source.",
                )
        tensors = materialize(weights, dtype, device, self.state_dict)
        module.load_state_dict(dict(zip(expected, tensors, strict=True)), assign=True)
        return module.to(device).eval().requires_grad_(requires_grad=False)


def open_adapter(file: ModelFile, noun: str) -> AdapterFile:
    """Return a file, opened; its tensors are read when they are needed.

    Args:
        file: The file.
        noun: What it holds, for messages.

    Raises:
        NotFound: it is gone.
        BadFile: it is damaged or unsafe.
    """
    header = read_header(file.path)
    return AdapterFile(file.file_name, noun, header, read_state_dict(file.path, header))


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Create parameters on the meta device, and buffers as they are."""
    with init_empty_weights(include_buffers=False), no_init_weights():
        yield

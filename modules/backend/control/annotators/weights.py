"""An annotator's file to its network: read by the program's own readers, in 32-bit floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modules.backend.loading.empty_models import meta_device
from modules.backend.loading.ldm_keys import QkvSlice
from modules.backend.loading.state_dict import read_state_dict
from modules.backend.loading.weight_loader import Destination, StateDictSource, WeightLoader
from modules.core.errors import BadFile
from modules.images.preprocessors.sizes import Pixels
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile

M = TypeVar("M", bound=nn.Module)


def load_network(
    make: Callable[[], M],
    file: ModelFile,
    device: torch.device,
    prefix: str = "",
    unused: tuple[str, ...] = (),
    rename: Callable[[str], str] = str,
) -> M:
    """Return a network with the weights of a file, for inference.

    Args:
        make: Makes it; its names are those of the file, if `rename` says nothing else.
        file: The file.
        device: Of the network.
        prefix: Prefix of the file's names that those of the network lack.
        unused: What the network's names begin with that only served training.
        rename: Returns the network's name of a tensor, of the file's name without the prefix.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, contains code, or is another network.
    """
    tensors = read_tensors(file)
    if prefix and all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    tensors = {rename(name): tensor for name, tensor in tensors.items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}
    with meta_device():
        network = make()
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:  # torch lists names and shapes that do not fit
        first = str(error).strip().splitlines()[1:2] or [str(error)]
        raise BadFile(
            f"'{file.file_name}' holds another network than its name says: {first[0].strip()}",
            "Download it again.",
        ) from error
    return network.to(device).eval().requires_grad_(requires_grad=False)


def load_by_keys(
    make: Callable[[Mapping[str, Tensor]], M],
    find_key: Callable[[str], str | QkvSlice],
    file: ModelFile,
    device: torch.device,
    wrapper: str = "",
) -> M:
    """Return a network of transformers with the weights of a file of its authors, in 32-bit floats, for inference.

    Args:
        make: Makes it on `meta`, with the sizes of these tensors; a KeyError names one that is missing.
        find_key: Returns where a tensor of the network is in the file.
        file: The file.
        device: Of the network.
        wrapper: Prefix of the file's names that `make` and `find_key` do not have.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, or is another network.
    """
    state_dict: Mapping[str, Tensor]
    if wrapper:
        tensors = read_tensors(file)
        state_dict = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    else:
        state_dict = read_state_dict(file.path, read_header(file.path))
    try:
        empty = make(state_dict)
        for key in map(find_key, empty.state_dict()):
            _ = state_dict[key.key if isinstance(key, QkvSlice) else key]
    except KeyError as error:
        raise BadFile(
            f"'{file.file_name}' holds another network than its name says: it lacks {error}.",
            "Download it again.",
        ) from error
    source = StateDictSource(state_dict, file.file_name, file.path)
    return WeightLoader(source, Destination(device)).load_into(empty, find_key, torch.float32)


def read_tensors(file: ModelFile) -> dict[str, Tensor]:
    """Return the tensors of a file, in 32-bit floats where they are floats.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, or contains code.
    """
    state_dict = read_state_dict(file.path, read_header(file.path))
    tensors = {name: state_dict.read(tensor).clone() for name, tensor in state_dict.items()}
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def to_tensor(image: Pixels | NDArray[np.float32], device: torch.device) -> Tensor:
    """Return an image as float32 [1, 3, height, width], in the same range."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None].to(device, torch.float32)


def to_grey(values: Tensor) -> Pixels:
    """Return values of 0 to 1, [height, width], as an image; sd-webui-controlnet cuts them off, without rounding."""
    grey = (values * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return grey[:, :, None].repeat(3, axis=2)

"""An upscaler's file to a network that enlarges images; spandrel runs it, the program reads the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.backend.loading.state_dict import read_state_dict
from modules.backend.upscale.spandrel_import import import_spandrel
from modules.core.errors import BadFile, NotFinite
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile
from modules.models.upscaling.architectures import (
    detect_architecture,
    find_error,
    network_prefix,
)

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
# What the architectures of spandrel raise where tensors do not fit them.
_MISFIT = (
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)


class UpscalerNetwork:
    """A loaded network that enlarges images.

    Args:
        descriptor: Spandrel's `ImageModelDescriptor`, on its device.
        name: Of the file, for messages.
    """

    # Any: spandrel can only be imported by `import_spandrel`.
    def __init__(self, descriptor: Any, name: str) -> None:
        self._descriptor = descriptor
        self._name = name

    @property
    def scale(self) -> int:
        """Return by how much it enlarges both sides."""
        return self._descriptor.scale

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision in which it computes."""
        return self._descriptor.dtype

    @property
    def supports_half(self) -> bool:
        """Return whether it can compute in 16 bits."""
        return self._descriptor.supports_half

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Compute in a precision from now on."""
        self._descriptor.to(dtype=dtype)

    def enlarge(self, image: Image.Image) -> Image.Image:
        """Return an RGB image enlarged.

        Raises:
            NotFinite: it produced invalid numbers.
        """
        pixels = self._to_pixels(image)
        output = self._descriptor(pixels)[0].float()
        if not bool(torch.isfinite(output).all()):
            raise NotFinite(
                f"'{self._name}' produced invalid numbers, so there is no picture to show.",
                "Choose another upscaler.",
            )
        values = output.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
        return Image.fromarray(np.ascontiguousarray(values[::-1].transpose(1, 2, 0)))

    def _to_pixels(self, image: Image.Image) -> Tensor:
        """Return an image as [1, 3, height, width], 0 to 1, blue first: A1111 runs all upscalers so."""
        values = np.array(image.convert("RGB"))[:, :, ::-1].transpose(2, 0, 1)
        pixels = torch.from_numpy(np.ascontiguousarray(values)) / 255
        return pixels.unsqueeze(0).to(self._descriptor.device, self._descriptor.dtype)


def load_network(file: ModelFile, device: torch.device) -> UpscalerNetwork:
    """Return the network of an upscaler's file, in 32-bit floats.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, contains code, or is no upscaler of a known architecture.
    """
    descriptor = load_descriptor(file, device)
    spandrel = import_spandrel()
    is_image_model = isinstance(descriptor, spandrel.ImageModelDescriptor)
    if not is_image_model or (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise BadFile(
            f"'{file.file_name}' is a network for {descriptor.input_channels} channels of an image, and those of a"
            " picture are 3.",
            "Choose another upscaler.",
        )
    return UpscalerNetwork(descriptor, file.file_name)


def load_descriptor(file: ModelFile, device: torch.device, architecture_id: str = "") -> Any:
    """Return spandrel's descriptor of the network in a file, in 32-bit floats, for inference.

    Args:
        file: The file.
        device: Of the network.
        architecture_id: Of a network that is no upscaler, such as a restorer of faces; "" loads upscalers alone.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, contains code, or is of another architecture.
    """
    header = read_header(file.path)
    if not architecture_id:
        architecture = detect_architecture(header)
        error = find_error(architecture)
        if architecture is None or error:
            raise BadFile(f"'{file.file_name}' {error}")
        architecture_id = architecture.name
    prefix = network_prefix(header.tensors)
    names = [name.removeprefix(prefix) for name in header.tensors if name.startswith(prefix)]
    _check_numbers(file, names)
    state_dict = read_state_dict(file.path, header)
    tensors = {
        name: _to_float(state_dict.read(state_dict[prefix + name]).clone()) for name in names
    }
    row = import_spandrel().MAIN_REGISTRY[architecture_id].architecture
    try:
        descriptor = row.load(tensors)
    except _MISFIT as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadFile(
            f"'{file.file_name}' has tensors of {row.name}, but they do not make such a network: {first_line}",
            "Download it again, or choose another upscaler.",
        ) from error
    return descriptor.to(device=device).eval()


def _to_float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _check_numbers(file: ModelFile, names: Iterable[str]) -> None:
    """Refuse names with numbers that no network has: spandrel builds as many layers as the largest says.

    Raises:
        BadFile: there is one.
    """
    names = list(names)
    largest = max((int(n) for name in names for n in _NUMBER.findall(name)), default=0)
    if largest > len(names):
        raise BadFile(
            f"'{file.file_name}' names layer {largest}, but has {len(names)} tensors.",
            "Download it again.",
        )

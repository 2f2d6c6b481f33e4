"""EncodedImages: what was derived from the images that an image encoder has encoded last, so that it encodes each of them once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from modules.backend.control.adapters.clip_vision import (
    EncodedImage,
    encode_images,
    load_vision_encoder,
)
from modules.models.files.scan import FileStamp, ModelFile

_LIMIT = 8  # images; what is made of them is small


class EncodedImages:
    """Tensors by image and encoder; the one used longest ago is dropped.

    Args:
        derive: Makes a tensor of what the encoder returns.
    """

    def __init__(self, derive: Callable[[EncodedImage], Tensor]) -> None:
        self._derive = derive
        self._tensors: dict[tuple[str, FileStamp], Tensor] = {}  # most recently used last

    def get(
        self, image: np.ndarray, encoder: ModelFile, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Return the tensor of an image.

        Args:
            image: uint8 RGB [height, width, 3].
            encoder: The file of the image encoder; it leaves memory again.
            dtype: For the encoder to compute in.
            device: Likewise.

        Raises:
            NotFound: the encoder's file is gone.
            BadFile: it is damaged.
        """
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        key = digest, encoder.stamp
        tensor = self._tensors.pop(key, None)
        if tensor is None:
            # Half precision only where it is faster: an image is encoded once.
            precision = torch.float32 if device.type == "cpu" else dtype
            encoded = encode_images(load_vision_encoder(encoder, precision, device), [image])
            tensor = self._derive(encoded)
        self._tensors[key] = tensor
        if len(self._tensors) > _LIMIT:
            del self._tensors[next(iter(self._tensors))]
        return tensor

"""ImagePrompts: a loaded IP-Adapter with the tokens of the images that it was shown last."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from modules.backend.control.adapters.clip_vision import load_vision_encoder, see_images
from modules.backend.control.adapters.ip_adapter import IPAdapter
from modules.models.files.scan import FileStamp, ModelFile

_LIMIT = 8  # images; their tokens are small


class ImagePrompts:
    """Shows images to an image encoder, each once.

    Args:
        adapter: Makes tokens of what the encoder sees.
    """

    def __init__(self, adapter: IPAdapter) -> None:
        self.adapter = adapter
        self._tokens: dict[tuple[str, FileStamp], Tensor] = {}  # most recently used last

    def make_tokens(
        self, image: np.ndarray, encoder: ModelFile, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Return the tokens of an image, [2, tokens, width]; the last row is what a negative prompt gets.

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
        tokens = self._tokens.pop(key, None)
        if tokens is None:
            # Half precision only where it is faster: an image is encoded once.
            precision = torch.float32 if device.type == "cpu" else dtype
            seen = see_images(load_vision_encoder(encoder, precision, device), [image])
            tokens = self.adapter.project(seen)
        self._tokens[key] = tokens
        if len(self._tokens) > _LIMIT:
            del self._tokens[next(iter(self._tokens))]
        return tokens

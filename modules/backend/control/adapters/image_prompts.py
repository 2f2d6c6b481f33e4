"""ImagePrompts: a loaded IP-Adapter with the tokens of the images that it was shown last."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from modules.backend.control.adapters.encoded_images import EncodedImages
from modules.backend.control.adapters.ip_adapter import IPAdapter
from modules.models.files.scan import ModelFile


class ImagePrompts:
    """Shows images to an image encoder, each once.

    Args:
        adapter: Makes tokens of the output of the encoder.
    """

    def __init__(self, adapter: IPAdapter) -> None:
        self.adapter = adapter
        self._images = EncodedImages(adapter.project)

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
        return self._images.get(image, encoder, dtype, device)

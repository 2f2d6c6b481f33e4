"""CLIP vision encoders: the input of IP-Adapters. Read from a single file, and gone after the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from modules.backend.control.adapters.weights import open_adapter, without_weights
from modules.backend.loading.ldm_keys import open_clip_vision_key
from modules.core.errors import BadFile
from modules.models.control.clip_vision import VisionFacts, read_facts
from modules.models.files.scan import ModelFile

_NOUN = "CLIP vision encoder"
# Of CLIP's training images, in RGB (Radford et al. 2021, https://github.com/openai/CLIP).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class EncodedImage:
    """What an image encoder returns, for images and, in the last row, for one that is all zeros.

    Args:
        embedding: [images + 1, projection width]; the last row is zeros itself, as IP-Adapter was trained.
        hidden: [images + 1, tokens, width], before the last layer.
        last_hidden: Likewise, after it.
    """

    embedding: Tensor
    hidden: Tensor
    last_hidden: Tensor


def load_vision_encoder(
    file: ModelFile, dtype: torch.dtype, device: torch.device
) -> CLIPVisionModelWithProjection:
    """Return the image encoder of a file, in transformers' or OpenCLIP's layout.

    Args:
        file: The file.
        dtype: To compute in.
        device: Likewise.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged or incomplete.
    """
    opened = open_adapter(file, _NOUN)
    facts = read_facts(opened.header.tensors)
    if facts is None:
        raise BadFile(f"'{opened.name}' is no complete {_NOUN}.", "Download it again.")
    with without_weights():
        encoder = CLIPVisionModelWithProjection(_config(facts))
    return opened.load_into(
        encoder, open_clip_vision_key if facts.is_open_clip else str, dtype, device
    )


def _config(facts: VisionFacts) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=facts.width,
        intermediate_size=facts.mlp_width,
        projection_dim=facts.projection_width,
        num_hidden_layers=facts.layer_count,
        num_attention_heads=facts.head_count,
        image_size=facts.image_size,
        patch_size=facts.patch_size,
        hidden_act=facts.activation,
        layer_norm_eps=1e-5,
    )


def to_pixel_values(image: np.ndarray, side: int) -> Tensor:
    """Return an image as CLIP expects it, [3, side, side].

    The whole image is squeezed into a square, as sd-webui-controlnet does it; nothing of it is cropped.

    Args:
        image: uint8 RGB [height, width, 3].
        side: In pixels.
    """
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    scaled = resized.astype(np.float32) / 255
    normalized = (scaled - np.asarray(_MEAN, np.float32)) / np.asarray(_DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)))


def encode_images(encoder: CLIPVisionModelWithProjection, images: list[np.ndarray]) -> EncodedImage:
    """Return what an image encoder returns for images.

    Args:
        encoder: The encoder.
        images: Each uint8 RGB [height, width, 3].
    """
    side = encoder.config.image_size
    assert isinstance(side, int), "as `_config` has it"
    pixels = torch.stack([to_pixel_values(image, side) for image in images])
    pixels = torch.cat([pixels, torch.zeros_like(pixels[:1])])
    output = encoder(pixels.to(encoder.device, encoder.dtype), output_hidden_states=True)
    assert output.image_embeds is not None and output.hidden_states is not None
    embedding = output.image_embeds.clone()
    embedding[-1] = 0
    return EncodedImage(embedding, output.hidden_states[-2], output.hidden_states[-1])

"""Regions by MobileSAM (Zhang et al., 2023): Segment Anything (Kirillov et al., 2023) with a small image encoder."""

from __future__ import annotations

import re

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamConfig
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from modules.backend.control.annotators.segments.tiny_vit import TinyViT
from modules.backend.control.annotators.weights import to_tensor
from modules.images.preprocessors.regions import Regions, remove_duplicates
from modules.images.preprocessors.sizes import Pixels

# What names of the file begin with that only served to train the encoder.
UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")
_SIDE, _FEATURE_SIDE, _MASK_SIDE = 1024, 64, 256
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# The values of SAM's own automatic masks, which sd-webui-controlnet leaves as they are.
_POINTS_A_SIDE = 32
_LEAST_SCORE, _LEAST_STABILITY, _STABILITY_OFFSET, _MOST_OVERLAP = 0.88, 0.95, 1.0, 0.7
# A quarter of SAM's, which takes a quarter of the memory; the masks are the same.
_POINTS_AT_ONCE = 16
# Pattern in a name of the file, and what transformers has instead.
_RENAMES = (
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"point_embeddings", "point_embed"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"(transformer\.layers\.\d)\.norm", r"\1.layer_norm"),
    (r"norm_final_attn", "layer_norm_final_attn"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"(mlps\.\d|prediction_head)\.layers\.0", r"\1.proj_in"),
    (r"(mlps\.\d|prediction_head)\.layers\.1", r"\1.layers.0"),
    (r"(mlps\.\d|prediction_head)\.layers\.2", r"\1.proj_out"),
)


def rename_key(key: str) -> str:
    """Return the name in `MobileSam` of a tensor of mobile_sam.pt."""
    if not key.startswith("image_encoder."):
        for pattern, name in _RENAMES:
            renamed, count = re.subn(pattern, name, key)
            if count:
                return renamed
    return key


class MobileSam(nn.Module):
    """The network of mobile_sam.pt; what follows the encoder has the names of transformers."""

    def __init__(self) -> None:
        super().__init__()
        # SAM's own layers add that much; transformers has another number.
        decoder = SamMaskDecoderConfig(layer_norm_eps=1e-5)
        decoder._attn_implementation = "sdpa"
        self.image_encoder = TinyViT()
        self.prompt_encoder = SamPromptEncoder(SamConfig())
        self.mask_decoder = SamMaskDecoder(decoder)

    def forward(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return masks of what is at each point, and how good the network thinks they are.

        Args:
            features: Of one image, float32 [1, 256, 64, 64].
            points: Places in the image of 1024 pixels, float32 [count, 2]; x and y.

        Returns:
            Logits, [count, 3, 256, 256], and scores, [count, 3]; what is there may be a part of something larger.
        """
        labels = torch.ones(1, len(points), 1, device=points.device)
        sparse, dense = self.prompt_encoder(points[None, :, None], labels, None, None)
        middles = (torch.arange(_FEATURE_SIDE, device=points.device) + 0.5) / _FEATURE_SIDE
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        places = self.prompt_encoder.shared_embedding(torch.stack((x, y), -1))
        masks, scores = self.mask_decoder(
            features, places.permute(2, 0, 1)[None], sparse, dense, multimask_output=True
        )
        return masks[0], scores[0]


def find_regions(network: MobileSam, image: Pixels) -> Regions:
    """Return the regions of whatever is at a grid of points, without those that are unsure or there twice.

    Args:
        network: The network.
        image: uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    shown = int(height * scale + 0.5), int(width * scale + 0.5)
    features = network.image_encoder(_to_pixels(image, shown, _device(network)))
    middles = (np.arange(_POINTS_A_SIDE) + 0.5) / _POINTS_A_SIDE
    x, y = np.meshgrid(middles * shown[1], middles * shown[0])
    points = torch.from_numpy(np.stack((x.ravel(), y.ravel()), 1)).to(features)
    enlargers = [
        _make_enlarger(*sides, features) for sides in zip(shown, (height, width), strict=True)
    ]
    masks: list[bytes] = []
    boxes: list[list[float]] = []
    scores: list[float] = []
    areas: list[int] = []
    for part in points.split(_POINTS_AT_ONCE):
        sure, their_scores = _find_sure_masks(*network(features, part), *enlargers)
        boxes += _find_boxes(sure).tolist()
        scores += their_scores.tolist()
        areas += sure.sum((1, 2)).tolist()
        masks += [np.packbits(mask).tobytes() for mask in sure.cpu().numpy()]
    kept = remove_duplicates(np.array(boxes, np.float64).reshape(-1, 4), scores, _MOST_OVERLAP)
    kept.sort(key=lambda number: -areas[number])
    labels = np.zeros((height, width), np.int32)
    for label, number in enumerate(kept, 1):
        bits = np.unpackbits(np.frombuffer(masks[number], np.uint8), count=height * width)
        labels[bits.reshape(height, width) > 0] = label
    return Regions(labels, len(kept))


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _to_pixels(image: Pixels, shown: tuple[int, int], device: torch.device) -> Tensor:
    """Return an image as the network sees it: normalized, in the upper left of a square."""
    height, width = shown
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    pixels = to_tensor(np.asarray(resized), device)
    mean, deviation = (torch.tensor(x, device=device)[:, None, None] for x in (_MEAN, _STD))
    return functional.pad((pixels - mean) / deviation, (0, _SIDE - width, 0, _SIDE - height))


def _make_enlarger(shown: int, size: int, like: Tensor) -> Tensor:
    """Return the matrix that makes a side of a mask as long as that of the image, [size, 256].

    SAM enlarges masks to the square that the network sees, cuts them and resizes them to the image, both times linearly: the
    product of both takes a fraction of the time and memory.

    Args:
        shown: How much of the square the image fills.
        size: Of the image.
        like: Has the device and dtype.
    """
    each = torch.eye(_MASK_SIDE, device=like.device, dtype=like.dtype)[None]
    square = functional.interpolate(each, _SIDE, mode="linear")[:, :, :shown]
    return functional.interpolate(square, size, mode="linear")[0].T


def _find_sure_masks(
    logits: Tensor, scores: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the masks that the network thinks good and that hardly depend on the threshold.

    Args:
        logits: [count, 3, 256, 256].
        scores: [count, 3].
        rows: Enlarges the height of masks.
        columns: Likewise the width.

    Returns:
        bool [masks, height, width], and their scores.
    """
    logits, scores = logits.flatten(0, 1), scores.flatten()
    is_good = scores > _LEAST_SCORE
    whole, scores = rows @ logits[is_good] @ columns.T, scores[is_good]
    smaller, larger = (
        (whole > threshold).sum((1, 2)) for threshold in (_STABILITY_OFFSET, -_STABILITY_OFFSET)
    )
    is_stable = smaller / larger >= _LEAST_STABILITY  # 0 / 0 is not
    return whole[is_stable] > 0, scores[is_stable]


def _find_boxes(masks: Tensor) -> Tensor:
    """Return the first and last column and row of masks, none of which is empty: [count, 4]; left, top, right, bottom."""
    sides: list[Tensor] = []
    for axis in (1, 2):
        is_used = masks.any(axis).int()
        first, last = is_used.argmax(1), is_used.shape[1] - 1 - is_used.flip(1).argmax(1)
        sides += [first, last]
    left, right, top, bottom = sides
    return torch.stack((left, top, right, bottom), 1)

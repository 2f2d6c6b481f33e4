"""FaceDetector: finds faces and their eyes, nose and mouth by MTCNN (Zhang et al., 2016), three small networks in a row.

The weights are those of facenet-pytorch (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from modules.core.errors import BadFile
from modules.images.faces import Points

_CELL, _STRIDE = (
    12,
    2,
)  # pixels that one output of the first network sees, and by which the next one is moved
_SMALLEST_FACE = 24
_SHRINKING = 0.709
_LONGEST_SIDE = 1280  # larger images are searched at this size
_THRESHOLDS = (0.6, 0.7, 0.7)
_MAX_BATCH = 512

Boxes = NDArray[np.float64]  # [faces, 5]: left, top, right, bottom, probability


@dataclass(frozen=True)
class Face:
    """One face of an image.

    Args:
        box: Left, top, right and bottom in pixels.
        points: Its eyes, nose and corners of the mouth, [5, 2].
    """

    box: tuple[float, float, float, float]
    points: Points


def _block(inputs: int, outputs: int, kernel: int, pool: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel), nn.PReLU(outputs)]
    return [*layers, nn.MaxPool2d(pool, 2, ceil_mode=True)] if pool else layers


class _Network(nn.Module):
    """One of the three: a body, and a head for each result. The weights' names are those of the file."""

    def __init__(
        self, convolutions: list[tuple[int, int, int, int]], heads: dict[str, nn.Module]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for sizes in convolutions for layer in _block(*sizes))
        self.dense = nn.ModuleList()
        self.heads = nn.ModuleDict(heads)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        for layer in self.layers:
            pixels = layer(pixels)
        if len(self.dense):
            pixels = pixels.permute(0, 3, 2, 1).flatten(1)
            for layer in self.dense:
                pixels = layer(pixels)
        return {name: head(pixels) for name, head in self.heads.items()}

    def load(self, weights: dict[str, Tensor], prefix: str) -> None:
        """Load the weights of the file that begin with a prefix."""
        own = {name: tensor for name, tensor in weights.items() if name.startswith(prefix)}
        number = 0
        for layer in (*self.layers, *self.dense):
            if isinstance(layer, nn.MaxPool2d):
                continue
            if not isinstance(layer, nn.PReLU):
                number += 1
            kind = {nn.Conv2d: "conv", nn.PReLU: "prelu", nn.Linear: "dense"}[type(layer)]
            _load(layer, own, f"{prefix}{kind}{number}")
        for name, head in self.heads.items():
            _load(head, own, f"{prefix}{name}")
        self.eval()


def _load(layer: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    layer.load_state_dict(
        {key: weights[f"{name}.{key}"] for key in layer.state_dict()}, strict=True
    )


class FaceDetector:
    """Finds faces; runs on the CPU in a fraction of a second.

    Args:
        file: The weights.

    Raises:
        BadFile: the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self._first = _Network(
            [(3, 10, 3, 2), (10, 16, 3, 0), (16, 32, 3, 0)],
            {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)},
        )
        self._second = _Network(
            [(3, 28, 3, 3), (28, 48, 3, 3), (48, 64, 2, 0)],
            {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)},
        )
        self._second.dense.extend([nn.Linear(576, 128), nn.PReLU(128)])
        self._third = _Network(
            [(3, 32, 3, 3), (32, 64, 3, 3), (64, 64, 3, 2), (64, 128, 2, 0)],
            {
                "dense6_1": nn.Linear(256, 2),
                "dense6_2": nn.Linear(256, 4),
                "dense6_3": nn.Linear(256, 10),
            },
        )
        self._third.dense.extend([nn.Linear(1152, 256), nn.PReLU(256)])
        try:
            weights = load_file(file)
            for network, prefix in (
                (self._first, "pnet."),
                (self._second, "rnet."),
                (self._third, "onet."),
            ):
                network.load(weights, prefix)
        except (OSError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
            raise BadFile(
                f"The face detector '{file}' cannot be loaded: {error}.",
                "Install this program again.",
            ) from error

    @torch.inference_mode()
    def find(self, image: Image.Image) -> list[Face]:
        """Return the faces of an RGB image, the most probable first."""
        factor = min(1.0, _LONGEST_SIDE / max(image.size))
        size = tuple(max(1, round(side * factor)) for side in image.size)
        small = image if factor == 1 else image.resize((size[0], size[1]), Image.Resampling.BOX)
        values = np.asarray(small.convert("RGB"), np.float32).transpose(2, 0, 1)
        pixels = torch.from_numpy((values - 127.5) / 128).unsqueeze(0)
        boxes = self._propose(pixels)
        boxes, _ = self._refine(self._second, pixels, boxes, 24, ("dense5_1", "dense5_2", ""), 1)
        boxes, points = self._refine(
            self._third, pixels, boxes, 48, ("dense6_1", "dense6_2", "dense6_3"), 2
        )
        scaled = [
            Face((box[0], box[1], box[2], box[3]), found)
            for box, found in zip(boxes[:, :4] / factor, points / factor, strict=True)
        ]
        return [face for face in scaled if np.isfinite(face.points).all()]

    def _propose(self, pixels: Tensor) -> Boxes:
        """Return squares that may hold a face, at all sizes of a face."""
        height, width = pixels.shape[2:]
        found: list[Boxes] = []
        scale = _CELL / _SMALLEST_FACE
        while min(height, width) * scale >= _CELL:
            shrunk = functional.interpolate(
                pixels, (int(height * scale + 1), int(width * scale + 1)), mode="area"
            )
            outputs = self._first(shrunk)
            probability = outputs["conv4_1"].softmax(1)[0, 1].numpy()
            rows, columns = np.nonzero(probability >= _THRESHOLDS[0])
            corner = np.stack((columns, rows), 1) * _STRIDE
            boxes = np.column_stack(
                (
                    np.floor((corner + 1) / scale),
                    np.floor((corner + _CELL) / scale),
                    probability[rows, columns],
                )
            )
            shifts = outputs["conv4_2"][0].numpy()[:, rows, columns].T
            kept = _suppress(boxes, 0.5)
            found.append(_shift(boxes[kept], shifts[kept]))
            scale *= _SHRINKING
        boxes = np.concatenate(found) if found else np.zeros((0, 5))
        return _square(boxes[_suppress(boxes, 0.7)])

    def _refine(
        self,
        network: _Network,
        pixels: Tensor,
        boxes: Boxes,
        side: int,
        heads: tuple[str, str, str],
        stage: int,
    ) -> tuple[Boxes, NDArray[np.float64]]:
        """Return the boxes that hold a face, moved onto it, and the points of each face by the last network."""
        crops = [_crop(pixels, box, side) for box in boxes]
        outputs = [
            network(torch.cat(crops[start : start + _MAX_BATCH]))
            for start in range(0, len(crops), _MAX_BATCH)
        ]
        if not outputs:
            return np.zeros((0, 5)), np.zeros((0, 5, 2))
        results = {
            name: torch.cat([output[name] for output in outputs]).numpy() for name in outputs[0]
        }
        probability = torch.from_numpy(results[heads[0]]).softmax(1)[:, 1].numpy()
        chosen = probability >= _THRESHOLDS[stage]
        boxes = np.column_stack((boxes[chosen, :4], probability[chosen]))
        points = np.zeros((len(boxes), 5, 2))
        if heads[2]:
            sizes = boxes[:, 2:4] - boxes[:, :2] + 1
            relative = results[heads[2]][chosen].reshape(-1, 2, 5).transpose(0, 2, 1)
            points = relative * sizes[:, None] + boxes[:, None, :2] - 1
        boxes = _shift(boxes, results[heads[1]][chosen])
        kept = _suppress(boxes, 0.7, of_smaller=bool(heads[2]))
        return (boxes[kept] if heads[2] else _square(boxes[kept])), points[kept]


def _crop(pixels: Tensor, box: NDArray[np.float64], side: int) -> Tensor:
    """Return a part of an image, its middle grey outside, shrunk or enlarged to a square."""
    left, top, right, bottom = (int(value) for value in box[:4])
    height, width = pixels.shape[2:]
    part = pixels[
        :,
        :,
        max(0, top - 1) : max(1, min(height, bottom)),
        max(0, left - 1) : max(1, min(width, right)),
    ]
    return functional.interpolate(part, (side, side), mode="area")


def _shift(boxes: Boxes, shifts: NDArray[np.float32]) -> Boxes:
    """Return boxes moved by shares of their width and height."""
    sizes = boxes[:, 2:4] - boxes[:, :2] + 1
    moved = boxes.copy()
    moved[:, :4] += shifts * np.concatenate((sizes, sizes), 1)
    return moved


def _square(boxes: Boxes) -> Boxes:
    """Return boxes made as wide as high about their middle."""
    squares = boxes.copy()
    sides = (boxes[:, 2:4] - boxes[:, :2]).max(1, initial=0) if len(boxes) else np.zeros(0)
    squares[:, :2] = (boxes[:, :2] + boxes[:, 2:4] - sides[:, None]) / 2
    squares[:, 2:4] = squares[:, :2] + sides[:, None]
    return squares


def _suppress(boxes: Boxes, limit: float, *, of_smaller: bool = False) -> list[int]:
    """Return the indices of boxes, the most probable first, without those that lie over a better one.

    Args:
        boxes: The boxes.
        limit: The share of both boxes together that may be common.
        of_smaller: Whether the share counts of the smaller box instead.
    """
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order = np.argsort(-boxes[:, 4], kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:4], boxes[order, 2:4])
        common = np.maximum(high - low + 1, 0).prod(1)
        whole = np.minimum(areas[best], areas[order])
        if not of_smaller:
            whole = areas[best] + areas[order] - common
        order = order[common / whole <= limit]
    return kept

"""OpenPose's networks: convolutional pose machines (Wei et al., 2016) on the first layers of VGG-19."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

_STAGES = range(2, 7)  # after the first one
_VGG = (
    ("conv1_1", 3, 64),
    ("conv1_2", 64, 64),
    ("", 0, 0),  # halves the picture
    ("conv2_1", 64, 128),
    ("conv2_2", 128, 128),
    ("", 0, 0),
    ("conv3_1", 128, 256),
    ("conv3_2", 256, 256),
    ("conv3_3", 256, 256),
    ("conv3_4", 256, 256),
    ("", 0, 0),
    ("conv4_1", 256, 512),
    ("conv4_2", 512, 512),
)
_BODY_FEATURES = (*_VGG, ("conv4_3_CPM", 512, 256), ("conv4_4_CPM", 256, 128))
_PART_FEATURES = (
    *_VGG,
    ("conv4_3", 512, 512),
    ("conv4_4", 512, 512),
    ("conv5_1", 512, 512),
    ("conv5_2", 512, 512),
    ("conv5_3_CPM", 512, 128),
)
_FEATURES = 128  # channels of the features that every stage gets
_HIDDEN = 512
FIELDS, HEATMAPS = 38, 19  # of a body: two directions of each limb; 18 points and the background
HAND_HEATMAPS, FACE_HEATMAPS = 22, 71  # 21 and 70 points, and the background


class _Machine(nn.Module):
    """A network whose layers are named one by one, as in the files."""

    def _add(self, name: str, inputs: int, outputs: int, size: int) -> None:
        self.add_module(name, nn.Conv2d(inputs, outputs, size, padding=size // 2))

    def _add_features(self, layers: Iterable[tuple[str, int, int]]) -> None:
        for name, inputs, outputs in layers:
            if name:
                self._add(name, inputs, outputs, 3)

    def _add_stage(self, stage: int, inputs: int, outputs: int, branch: str = "") -> None:
        """Add a stage that gets the features and the results of the one before: five wide layers, two of one pixel."""
        for number in range(1, 6):
            name = f"Mconv{number}_stage{stage}{branch}"
            self._add(name, inputs if number == 1 else _FEATURES, _FEATURES, 7)
        self._add(f"Mconv6_stage{stage}{branch}", _FEATURES, _FEATURES, 1)
        self._add(f"Mconv7_stage{stage}{branch}", _FEATURES, outputs, 1)

    def _run(self, x: Tensor, names: Iterable[str]) -> Tensor:
        """Return the result of layers with ReLU after each; an empty name halves the picture."""
        for name in names:
            if name:
                x = functional.relu(self.get_submodule(name)(x))
            else:
                x = functional.max_pool2d(x, 2)
        return x

    def _run_stage(self, stage: int, x: Tensor, branch: str = "") -> Tensor:
        x = self._run(x, [f"Mconv{number}_stage{stage}{branch}" for number in range(1, 7)])
        return self.get_submodule(f"Mconv7_stage{stage}{branch}")(x)


class BodyNetwork(_Machine):
    """The network of body_pose_model.pth: one branch finds limbs, the other one points."""

    def __init__(self) -> None:
        super().__init__()
        self._add_features(_BODY_FEATURES)
        for branch, outputs in (("_L1", FIELDS), ("_L2", HEATMAPS)):
            for number in (1, 2, 3):
                self._add(f"conv5_{number}_CPM{branch}", _FEATURES, _FEATURES, 3)
            self._add(f"conv5_4_CPM{branch}", _FEATURES, _HIDDEN, 1)
            self._add(f"conv5_5_CPM{branch}", _HIDDEN, outputs, 1)
            for stage in _STAGES:
                self._add_stage(stage, _FEATURES + FIELDS + HEATMAPS, outputs, branch)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return part affinity fields [FIELDS, height / 8, width / 8] and heatmaps [HEATMAPS, ...].

        Args:
            pixels: float32 [1, 3, height, width], -0.5 to 0.5, blue first; both sides multiples of 8.
        """
        features = self._run(pixels, [name for name, _, _ in _BODY_FEATURES])
        fields, heatmaps = (self._run_first(features, branch) for branch in ("_L1", "_L2"))
        for stage in _STAGES:
            x = torch.cat((fields, heatmaps, features), 1)
            fields, heatmaps = (self._run_stage(stage, x, branch) for branch in ("_L1", "_L2"))
        # The published PyTorch form has a ReLU after its last heatmaps, and after none of the others.
        return fields[0], functional.relu(heatmaps)[0]

    def _run_first(self, features: Tensor, branch: str) -> Tensor:
        x = self._run(features, [f"conv5_{number}_CPM{branch}" for number in range(1, 5)])
        return self.get_submodule(f"conv5_5_CPM{branch}")(x)


class _PartNetwork(_Machine):
    def __init__(self, heatmaps: int) -> None:
        super().__init__()
        self._add_features(_PART_FEATURES)
        self._add("conv6_1_CPM", _FEATURES, _HIDDEN, 1)
        self._add("conv6_2_CPM", _HIDDEN, heatmaps, 1)
        for stage in _STAGES:
            self._add_stage(stage, _FEATURES + heatmaps, heatmaps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return heatmaps [points and background, height / 8, width / 8].

        Args:
            pixels: float32 [1, 3, height, width], -0.5 to 0.5, blue first; both sides multiples of 8.
        """
        features = self._run(pixels, [name for name, _, _ in _PART_FEATURES])
        heatmaps = self.get_submodule("conv6_2_CPM")(self._run(features, ["conv6_1_CPM"]))
        for stage in _STAGES:
            heatmaps = self._run_stage(stage, torch.cat((heatmaps, features), 1))
        return heatmaps[0]


class HandNetwork(_PartNetwork):
    """The network of hand_pose_model.pth."""

    def __init__(self) -> None:
        super().__init__(HAND_HEATMAPS)


class FaceNetwork(_PartNetwork):
    """The network of facenet.pth."""

    def __init__(self) -> None:
        super().__init__(FACE_HEATMAPS)

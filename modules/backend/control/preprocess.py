"""Preprocessors: makes control images, at once or by a network, and remembers the last ones.

A unit's picture is the same for all images of a job, and often for the next jobs.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules.backend.control.annotators.runners import RUNNERS, Runner, to_pixels
from modules.images.preprocessors.poses import Pose
from modules.images.preprocessors.regions import Regions
from modules.images.preprocessors.sizes import Pixels, pad_edges, resize_to_resolution
from modules.models.files.scan import FileStamp
from modules.plan.units.preprocessing import ControlImage, Preprocessing

_MAX_REMEMBERED = 8


class Preprocessors:
    """Makes control images.

    Args:
        device: Where networks compute.
        runners: By the names of ANNOTATORS.
    """

    def __init__(self, device: torch.device, runners: Mapping[str, Runner] = RUNNERS) -> None:
        self._device = device
        self._runners = runners
        self._remembered: OrderedDict[Any, ControlImage | Regions] = OrderedDict()
        # The network used last, by what loaded it and its files.
        self._network: tuple[tuple[Callable[..., Any], tuple[FileStamp, ...]], Any] | None = None

    def make(self, preprocessing: Preprocessing, image: Image.Image) -> ControlImage:
        """Return the control image of a picture.

        Args:
            preprocessing: How it is made.
            image: The picture, RGB.

        Raises:
            BadFile: a file of the network cannot be used.
            NotFinite: an estimator of depth produced invalid numbers.
        """
        pixels = to_pixels(image)
        # The row by its name alone: its functions compare by identity, and a plan may come from another process.
        key = (
            hashlib.sha256(pixels.tobytes()).digest(),
            pixels.shape,
            preprocessing.preprocessor.name,
            (preprocessing.resolution, preprocessing.a, preprocessing.b),
            # What a network finds is the same with every seed.
            0 if preprocessing.needs_device else preprocessing.seed,
            tuple(file.stamp for file in preprocessing.files),
        )
        found = self._remembered.pop(key, None) or self._make(preprocessing, pixels)
        self._remembered[key] = found
        while len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        if isinstance(found, Regions):
            generator = np.random.RandomState(preprocessing.seed)
            return ControlImage(Image.fromarray(found.paint(generator)))
        return found

    def clear(self) -> None:
        """Let the network leave memory."""
        self._network = None

    def _make(self, preprocessing: Preprocessing, pixels: Pixels) -> ControlImage | Regions:
        if preprocessing.needs_device:
            return self._run(preprocessing, pixels)
        return ControlImage(Image.fromarray(preprocessing.compute(pixels)))

    @torch.inference_mode()
    def _run(self, preprocessing: Preprocessing, pixels: Pixels) -> ControlImage | Regions:
        runner = self._runners[preprocessing.preprocessor.annotator]
        small = resize_to_resolution(pixels, preprocessing.resolution)
        network = self._load(runner, preprocessing)
        drawn = runner.draw(network, pad_edges(small), preprocessing.a, preprocessing.b)
        height, width = small.shape[:2]
        if isinstance(drawn, Pose):
            pose = Pose(drawn.people, width, height)
            return ControlImage(Image.fromarray(pose.draw()), pose.to_json())
        if isinstance(drawn, Regions):
            return drawn.crop(height, width)
        cut = np.ascontiguousarray(drawn[:height, :width])
        return ControlImage(Image.fromarray(runner.finish(cut)))

    def _load(self, runner: Runner, preprocessing: Preprocessing) -> Any:
        key = runner.load, tuple(file.stamp for file in preprocessing.files)
        if self._network is None or self._network[0] != key:
            self._network = None  # before the next one is loaded
            self._network = key, runner.load(preprocessing.files, self._device)
        return self._network[1]

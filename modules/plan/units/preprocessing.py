"""Preprocessing: a preprocessor with its numbers and the files that it needs, ready for the device."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from modules.core.errors import Unsupported
from modules.core.registry import Registry
from modules.images.preprocessors.colours import shuffle_seed
from modules.images.preprocessors.row import Preprocessor
from modules.images.preprocessors.sizes import Pixels
from modules.images.preprocessors.table import PREPROCESSORS
from modules.models.annotators import find_annotator_files
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex


@dataclass(frozen=True)
class Preprocessing:
    """How a control image is made.

    Args:
        preprocessor: Its row; it makes an image.
        resolution: The shorter side of the result, where the preprocessor has a resolution.
        a: Threshold a.
        b: Threshold b.
        seed: Of what it draws by chance.
        files: Of its network, as `find_annotator_files` returns them; none where it is computed without one.
    """

    preprocessor: Preprocessor
    resolution: int
    a: float
    b: float
    seed: int = 0
    files: tuple[ModelFile, ...] = ()

    def with_resolution(self, resolution: int) -> Preprocessing:
        """Return it with another resolution, such as that of pixel perfect, which may be out of the slider's range."""
        return dataclasses.replace(self, resolution=max(1, resolution))

    @property
    def needs_device(self) -> bool:
        """Return whether a network makes the image; otherwise `compute` does at once, on any thread."""
        return bool(self.files) or self.preprocessor.compute is None

    def compute(self, image: Pixels) -> Pixels:
        """Return the control image, uint8 [height, width, 3], of an image where no network is needed."""
        compute = self.preprocessor.compute
        assert compute is not None
        generator = np.random.RandomState(self.seed)
        return compute(image, self.resolution, self.a, self.b, generator)


@dataclass(frozen=True)
class ControlImage:
    """A control image.

    Args:
        image: RGB.
        pose: The pose in it, as OpenPose writes it as JSON; None for other preprocessors.
    """

    image: Image.Image
    pose: dict[str, Any] | None = field(default=None)


def plan_preprocessing(
    models: ModelIndex,
    module: str,
    numbers: tuple[int, float, float] = (-1, -1, -1),
    seeds: tuple[int, int] = (0, 0),
    table: Registry[Preprocessor] = PREPROCESSORS,
) -> Preprocessing:
    """Return how a control image is made; everything that can be wrong without the device is found here.

    Args:
        models: Lists the files.
        module: Name of the preprocessor, in any spelling that it has.
        numbers: Resolution, threshold a and threshold b; one that is out of range is the default.
        seeds: Seed and variation seed of the request.
        table: Has the rows.

    Raises:
        NotFound: there is no such preprocessor.
        Unsupported: this version cannot run it, it makes no image, or a file of its network is not there.
    """
    row = table.get(module)
    if row.unavailable:
        raise Unsupported(row.unavailable)
    if not row.makes_image:
        raise Unsupported(
            f"The preprocessor '{row.name}' makes no picture that could be shown.",
            "It acts while an image is generated.",
        )
    files: tuple[ModelFile, ...] = ()
    if row.annotator:
        has_other_way = row.compute is not None
        files = find_annotator_files(models, row.annotator, row.name, is_optional=has_other_way)
    return Preprocessing(row, *row.numbers(*numbers), shuffle_seed(*seeds), files)

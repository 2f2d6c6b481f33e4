"""Device work outside the job queue: one function and one row of HANDLERS per kind of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from modules.backend import forward_process
from modules.backend.conditioning import depth
from modules.backend.model import LoadedModel
from modules.images.resize import crop_and_resize
from modules.models.compatibility import missing_depth_estimator
from modules.params.results import ForwardRecording
from modules.plan.work import EstimateDepth, RecordForward


def estimate_depth(model: LoadedModel, work: EstimateDepth) -> Image.Image:
    """Return the image's depth map in greyscale, white is near.

    Raises:
        UserError: the checkpoint contains no depth estimator.
    """
    estimator = model.components.depth_estimator
    if estimator is None:
        raise missing_depth_estimator(work.model.checkpoint.name)
    image = crop_and_resize(work.image.to_pil(), *work.size)
    return depth.to_depth_map(depth.estimate(estimator, image), *work.size)


def record_forward(model: LoadedModel, work: RecordForward) -> ForwardRecording:
    """Return the recorded forward process of the image.

    Raises:
        UserError: the number of frames is out of range.
    """
    image = crop_and_resize(work.image.to_pil(), *work.size)
    return forward_process.record_forward_process(
        model, image, work.frame_count, work.seed, work.in_pixel_space
    )


Handler = Callable[[LoadedModel, Any], Any]  # Any: each function takes the kind of work in its row
HANDLERS: Mapping[type, Handler] = {
    EstimateDepth: estimate_depth,
    RecordForward: record_forward,
}

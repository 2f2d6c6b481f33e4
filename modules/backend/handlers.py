"""Questions to answers: one function and one row of ANSWERS for each kind."""

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
    """Return the depth of the picture in grey, white for near.

    Raises:
        UserError: the checkpoint carries no estimator.
    """
    estimator = model.components.depth_estimator
    if estimator is None:
        raise missing_depth_estimator(work.model.checkpoint.name)
    image = crop_and_resize(work.image.to_pil(), *work.size)
    return depth.to_depth_map(depth.estimate(estimator, image), *work.size)


def record_forward(model: LoadedModel, work: RecordForward) -> ForwardRecording:
    """Return how the picture becomes noise.

    Raises:
        UserError: so many moments cannot be shown.
    """
    image = crop_and_resize(work.image.to_pil(), *work.size)
    return forward_process.record_forward_process(
        model, image, work.frame_count, work.seed, work.in_pixel_space
    )


# Any: each function takes the kind of question it stands beside.
HANDLERS: Mapping[type, Callable[[LoadedModel, Any], Any]] = {
    EstimateDepth: estimate_depth,
    RecordForward: record_forward,
}

"""Questions to answers: one function and one row of ANSWERS for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from modules.backend import depth, forward
from modules.backend.cache import LoadedModel
from modules.images.resize import crop_and_resize
from modules.models.compatibility import missing_depth_estimator
from modules.params.results import ForwardRecording
from modules.plan.work import EstimateDepth, RecordForward


def estimate_depth(model: LoadedModel, question: EstimateDepth) -> Image.Image:
    """Return the depth of the picture in grey, white for near.

    Raises:
        UserError: the checkpoint carries no estimator.
    """
    estimator = model.components.depth_estimator
    if estimator is None:
        raise missing_depth_estimator(question.model.checkpoint.name)
    image = crop_and_resize(question.image.to_pil(), *question.size)
    return depth.as_map(depth.estimate(estimator, image), *question.size)


def show_forward(model: LoadedModel, question: RecordForward) -> ForwardRecording:
    """Return how the picture becomes noise.

    Raises:
        UserError: so many moments cannot be shown.
    """
    image = crop_and_resize(question.image.to_pil(), *question.size)
    return forward.record(
        model, image, question.frame_count, question.seed, question.in_pixel_space
    )


# Any: each function takes the kind of question it stands beside.
ANSWERS: Mapping[type, Callable[[LoadedModel, Any], Any]] = {
    EstimateDepth: estimate_depth,
    RecordForward: show_forward,
}

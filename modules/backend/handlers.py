"""What the device can do: one function and one row of HANDLERS per kind of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from modules.backend.conditioning import depth
from modules.backend.image_work import describe, forward_process
from modules.backend.image_work.extras import run_extras
from modules.backend.loaded_models import LoadedModels
from modules.backend.merging.merge import merge_checkpoints
from modules.backend.plan_run import run_plan
from modules.images.resize import crop_and_resize
from modules.models.compatibility import missing_depth_estimator
from modules.params.events import CancelToken, Sink
from modules.params.results import ForwardRecording
from modules.plan.jobs.extras import ExtrasPlan
from modules.plan.jobs.merge import MergePlan
from modules.plan.plan import Plan
from modules.plan.units.preprocessing import ControlImage
from modules.plan.work import (
    DescribeImage,
    EstimateDepth,
    LoadModel,
    MakeControlImage,
    RecordForward,
    UnloadModels,
)

# Any: each function takes the kind of work in its row, and returns the result that it declares.
Handler = Callable[[LoadedModels, Any, Sink, CancelToken], Any]


def load_model(models: LoadedModels, work: LoadModel, *_: object) -> None:
    """Load a checkpoint before its first job."""
    models.set_limit(work.checkpoints_limit)
    models.acquire(work.model)


def unload_models(models: LoadedModels, *_: object) -> None:
    """Unload every checkpoint."""
    models.clear()


def estimate_depth(models: LoadedModels, work: EstimateDepth, *_: object) -> Image.Image:
    """Return the image's depth map in greyscale, white is near.

    Raises:
        UserError: the checkpoint contains no depth estimator.
    """
    estimator = models.acquire(work.model).components.depth_estimator
    if estimator is None:
        raise missing_depth_estimator(work.model.checkpoint.name)
    image = crop_and_resize(work.image.to_pil(), *work.size)
    return depth.to_depth_map(depth.estimate(estimator, image), *work.size)


def make_control_image(models: LoadedModels, work: MakeControlImage, *_: object) -> ControlImage:
    """Return the control image of a picture.

    Raises:
        BadFile: a file of the preprocessor's network cannot be used.
    """
    return models.preprocessors.make(work.preprocessing, work.image.to_pil())


def describe_image(models: LoadedModels, work: DescribeImage, *_: object) -> str:
    """Return a caption of the image.

    Raises:
        BadFile: the captioning model cannot be loaded.
    """
    return describe.describe(work.folder, work.image.to_pil(), models.device.torch_device)


def record_forward(models: LoadedModels, work: RecordForward, *_: object) -> ForwardRecording:
    """Return the recorded forward process of the image.

    Raises:
        UserError: the number of frames is out of range.
    """
    model, image = models.acquire(work.model), crop_and_resize(work.image.to_pil(), *work.size)
    return forward_process.record_forward_process(
        model, image, work.frame_count, work.seed, work.in_pixel_space
    )


HANDLERS: Mapping[type, Handler] = {
    Plan: run_plan,
    MergePlan: merge_checkpoints,
    LoadModel: load_model,
    UnloadModels: unload_models,
    EstimateDepth: estimate_depth,
    MakeControlImage: make_control_image,
    DescribeImage: describe_image,
    RecordForward: record_forward,
    ExtrasPlan: run_extras,
}

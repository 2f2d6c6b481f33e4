"""Carries out the plan of a finished image: enlarges it, blends two results, crops, restores faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from modules.backend.denoise.progress import raise_if_interrupted
from modules.backend.loaded_models import LoadedModels
from modules.images.resize import centre
from modules.params.events import CancelToken, Note, Output, Phase, Progress, Sink
from modules.params.settings import Settings
from modules.plan.jobs.extras import Enlargement, ExtrasPlan

_STEPS_PER_STAGE = 1000


@dataclass(frozen=True)
class Stages:
    """Reports the stages of one image as steps of its job.

    Args:
        count: Of all stages.
        sink: Receives progress and phases.
        cancel: Stops between two parts of a stage.
    """

    count: int
    sink: Sink
    cancel: CancelToken

    def begin(self, index: int, phase: str) -> Callable[[int, int], None]:
        """Begin a stage, counted from 0, and return what reports its parts: how many are done, and of how many.

        Raises:
            Cancelled: the job was interrupted; so does the function.
        """

        def report(done: int, count: int) -> None:
            raise_if_interrupted(self.cancel)
            steps = round((index + done / count) * _STEPS_PER_STAGE)
            self.sink(Progress(steps, self.count * _STEPS_PER_STAGE))
            if count > 1:
                self.sink(Phase(f"{phase}, {done} of {count}"))

        self.sink(Phase(phase))
        report(0, 1)
        return report


def run_extras(models: LoadedModels, plan: ExtrasPlan, sink: Sink, cancel: CancelToken) -> None:
    """Make the result of a plan.

    Raises:
        Cancelled: the job was interrupted.
        WebUIError: see `Upscalers.upscale`.
    """
    assert plan.request.image is not None, "plan_extras refuses a request without an image"
    image, enlargement = plan.request.image.to_pil(), plan.enlargement
    enlarging = 0 if enlargement is None else len(enlargement.upscalers)
    stages = Stages(enlarging + len(plan.restorations), sink, cancel)
    sink(Phase("Reading"))
    if enlargement is not None:
        image = _enlarge(models, image, enlargement, plan.settings, stages)
    restorers = models.face_restorers
    for index, one in enumerate(plan.restorations, enlarging):
        report = stages.begin(index, f"Restoring faces by {one.name}")
        network = restorers.network(one.restorer, one.weight)
        image, count = restorers.restore(image, one.detector, network, one.visibility, report)
        if not count:
            sink(Note(f"{one.name} had nothing to do: no face was found in the picture."))
    sink(Output("image", image))


def _enlarge(
    models: LoadedModels,
    image: Image.Image,
    enlargement: Enlargement,
    settings: Settings,
    stages: Stages,
) -> Image.Image:
    scale, limit = enlargement.scale, settings.upscaling_max_images_in_cache
    results: list[Image.Image] = []
    for index, planned in enumerate(enlargement.upscalers):
        report = stages.begin(index, f"Upscaling by {planned.upscaler.name}")
        compute = partial(models.upscalers.upscale, image, planned, scale, report)
        results.append(models.upscaled.get(image, planned, scale, limit, compute))
    enlarged = results[0]
    if results[1:]:
        enlarged = Image.blend(enlarged, results[1], enlargement.second_visibility)
    return enlarged if enlargement.crop is None else centre(enlarged, *enlargement.crop)

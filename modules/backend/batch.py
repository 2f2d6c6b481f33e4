"""A batch as it passes through its stages, and the models that it loads for them."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from modules.backend.acceleration import Acceleration
from modules.backend.control.preprocess import Preprocessors
from modules.backend.control.unit_memory import measure_units
from modules.backend.denoise.progress import BatchSkipped, ProgressReporter, raise_if_interrupted
from modules.backend.memory import estimate
from modules.backend.model import LoadedModel
from modules.backend.networks.lora_fold import OriginalsLost
from modules.backend.upscale.upscalers import Upscalers
from modules.models.model_spec import ModelSpec
from modules.params.events import CancelToken, Note, Phase, Sink
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)
Acquire = Callable[[ModelSpec], LoadedModel]  # returns the loaded model, loading it if necessary


@dataclass(frozen=True)
class Batch:
    """What every stage of a batch needs. No stage keeps a model that it has loaded: two may not fit.

    Args:
        acquire: Loads a model.
        upscalers: Enlarge the images of the first pass; models compute where they do.
        preprocessors: Make the control images of units.
        index: Of the batch, from 0.
        sink: Receives events.
        cancel: Interrupts the work.
        progress: Reports steps.
        draws: Random numbers that are no noise, from the seed of the first image.
        acceleration: Computes the UNet's steps instead of PyTorch where the options ask for it.
    """

    acquire: Acquire
    upscalers: Upscalers
    preprocessors: Preprocessors
    index: int
    sink: Sink
    cancel: CancelToken
    progress: ProgressReporter
    draws: random.Random
    acceleration: Acceleration

    @property
    def device(self) -> torch.device:
        """Return where the models compute."""
        return self.upscalers.device

    def report_tile(self, done: int, count: int) -> None:
        """Report a tile that an upscaler has enlarged.

        Raises:
            Cancelled: the job was interrupted.
            BatchSkipped: the batch was skipped.
        """
        raise_if_interrupted(self.cancel)
        if self.cancel.is_batch_skipped():
            raise BatchSkipped
        if count > 1:
            self.sink(Phase(f"Upscaling, tile {done} of {count}"))

    def load(self, plan: Plan, *, reports: bool = True) -> LoadedModel:
        """Return the model of a pass or of its refiner, with the networks of its prompt; the batch fits.

        Args:
            plan: Of the pass, or of the refiner.
            reports: Whether the first batch reports what of the model and the networks does not fit.
        """
        model = self.acquire(plan.model)
        try:
            notes = model.use_networks(plan.networks)
        except OriginalsLost as error:
            logger.info("%s The checkpoint is loaded again.", error)
            del model  # two may not fit
            model = self.acquire(plan.model)
            notes = model.use_networks(plan.networks)
        for note in (model.components.note, *notes) if reports and self.index == 0 else ():
            if note:
                self.sink(Note(note))
        units = measure_units(plan, model.components, model.control_networks)
        if self.device.type == "cpu" and units.weight_bytes > estimate.free_bytes(self.device):
            model.control_networks.keep_only(
                [file for one in plan.control for file in one.networks]
            )
        estimate.check(model.components, plan.request, self.device, units)
        self.acceleration.prepare(model, plan)
        return model

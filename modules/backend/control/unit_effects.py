"""What the effect of a ControlNet unit is made from, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image

from modules.backend.components import Components
from modules.backend.control.control_networks import ControlNetworks
from modules.backend.control.hints import Hint, make_hint
from modules.backend.control.preprocess import Preprocessors
from modules.backend.control.unit_schedule import UnitSchedule, make_schedule
from modules.backend.denoise.step_extensions import StepExtension
from modules.backend.memory.offload import execution_device
from modules.models.control.control_model import ControlModel
from modules.params.events import Output, Sink
from modules.plan.plan import ImagePlan, Plan
from modules.plan.units.planned_unit import PlannedUnit
from modules.sampling.run_sigmas import RunSigmas

Finish = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class UnitInputs:
    """What the effect of a unit is made from.

    Args:
        planned: The unit.
        plan: Of the pass.
        components: The networks of the checkpoint.
        networks: Keeps the control models loaded.
        preprocessors: Make control images.
        run_sigmas: Of the run.
        images: Of the batch, with their seeds.
    """

    planned: PlannedUnit
    plan: Plan
    components: Components
    networks: ControlNetworks
    preprocessors: Preprocessors
    run_sigmas: RunSigmas
    images: tuple[ImagePlan, ...]

    @property
    def device(self) -> torch.device:
        """Return where the UNet computes."""
        return execution_device(self.components.unet)

    @property
    def model(self) -> ControlModel:
        """Return the control model of a unit that has one."""
        assert self.planned.model is not None, "the makers of layouts are for units with a model"
        return self.planned.model

    @cached_property
    def hint(self) -> Hint:
        """Return what the control model gets to see."""
        return make_hint(self.planned, self.plan.request, self.preprocessors)

    @property
    def control_map(self) -> Image.Image | None:
        """Return the preprocessed control picture for the results; None if there is none, or it is not to be shown."""
        made: Hint | None = vars(self).get("hint")
        is_wanted = self.planned.unit.save_detected_map
        is_wanted &= not self.plan.settings.control_net_no_detectmap
        return made.image if made is not None and is_wanted else None

    @property
    def schedule(self) -> UnitSchedule:
        """Return in which evaluations the unit counts."""
        return make_schedule(self.planned, self.plan, self.run_sigmas)


@dataclass(frozen=True)
class UnitEffect:
    """What a unit does.

    Args:
        extension: Takes part in every evaluation; None for a unit that changes a network alone.
        use: Entered for the time of the run; None for nothing to do.
        finish: Changes each decoded image of the pass, before it is put into an init image; None leaves it.
    """

    extension: StepExtension | None = None
    use: AbstractContextManager[object] | None = None
    finish: Finish | None = None


@dataclass(frozen=True)
class UnitEffects:
    """What all units of a pass do, in their order.

    Args:
        effects: One for each unit that counts.
        control_maps: The preprocessed control pictures, with the numbers of their units.
    """

    effects: tuple[UnitEffect, ...] = ()
    control_maps: tuple[tuple[int, Image.Image], ...] = ()

    @property
    def extensions(self) -> tuple[StepExtension, ...]:
        """Return what takes part in every evaluation."""
        return tuple(one.extension for one in self.effects if one.extension is not None)

    def send_maps(self, sink: Sink) -> None:
        """Send the control maps to the job."""
        for number, image in self.control_maps:
            sink(Output("control map", image, number))

    def finish(self, image: Image.Image) -> Image.Image:
        """Return a decoded image as the units change it."""
        for effect in self.effects:
            image = image if effect.finish is None else effect.finish(image)
        return image

    @contextmanager
    def use(self) -> Iterator[None]:
        """Have everything ready for the time of the run."""
        with ExitStack() as stack:
            for effect in self.effects:
                if effect.use is not None:
                    stack.enter_context(effect.use)
            yield


MakeEffect = Callable[[UnitInputs], UnitEffect]

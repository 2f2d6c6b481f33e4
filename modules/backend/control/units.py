"""Makes what the ControlNet units of a pass add to its steps; MAKERS has a function for each layout of control models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch

from modules.backend.components import Components
from modules.backend.control.control_networks import ControlNetworks
from modules.backend.control.controlnet import ControlNetStep, ControlNetwork
from modules.backend.control.controlnet_weights import BaseUNet, load_controlnet
from modules.backend.control.hints import Hint, make_hint, make_region
from modules.backend.control.preprocess import Preprocessors
from modules.backend.control.unit_schedule import UnitSchedule, make_schedule, output_weights
from modules.backend.denoise.step_extensions import StepExtension
from modules.backend.memory.offload import execution_device, is_offloaded
from modules.models.control.control_model import ControlModel
from modules.models.control.layouts import CONTROLNET_LAYOUTS
from modules.params.requests.control_unit import UNION_CONTROL_TYPES
from modules.plan.plan import Plan
from modules.plan.units.planned_unit import PlannedUnit
from modules.sampling.run_sigmas import RunSigmas


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
    """

    planned: PlannedUnit
    plan: Plan
    components: Components
    networks: ControlNetworks
    preprocessors: Preprocessors
    run_sigmas: RunSigmas

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
    def schedule(self) -> UnitSchedule:
        """Return in which evaluations the unit counts."""
        return make_schedule(self.planned, self.plan, self.run_sigmas)


@dataclass(frozen=True)
class UnitEffect:
    """What a unit does.

    Args:
        extension: Takes part in every evaluation; None for a unit that changes a network alone.
        use: Entered for the time of the run; None for nothing to do.
    """

    extension: StepExtension | None = None
    use: AbstractContextManager[object] | None = None


@dataclass(frozen=True)
class UnitEffects:
    """What all units of a pass do, in their order.

    Args:
        effects: One for each unit that counts.
    """

    effects: tuple[UnitEffect, ...] = ()

    @property
    def extensions(self) -> tuple[StepExtension, ...]:
        """Return what takes part in every evaluation."""
        return tuple(one.extension for one in self.effects if one.extension is not None)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Have everything ready for the time of the run."""
        with ExitStack() as stack:
            for effect in self.effects:
                if effect.use is not None:
                    stack.enter_context(effect.use)
            yield


MakeEffect = Callable[[UnitInputs], UnitEffect]


def _make_controlnet(inputs: UnitInputs) -> UnitEffect:
    planned, components, device = inputs.planned, inputs.components, inputs.device
    is_lowered = is_offloaded(components)

    def load() -> ControlNetwork:
        base = BaseUNet(components.unet, components.unet_origin, device)
        network = load_controlnet(inputs.model, base, torch.device("cpu") if is_lowered else device)
        return ControlNetwork(network, device, stays=not is_lowered)

    network = inputs.networks.get(inputs.model, load)
    tiling = inputs.plan.settings.tiling
    count = len(network.network.controlnet_down_blocks) + 1
    with network.use(tiling=tiling):
        encoded = network.encode(inputs.hint.pixels, tiling=tiling)
    step = ControlNetStep(
        network,
        encoded,
        inputs.schedule,
        output_weights(planned, count),
        is_cond_only=planned.is_cond_only,
        pools=planned.pools,
        region=make_region(planned, inputs.plan.request),
        control_type=UNION_CONTROL_TYPES.get(planned.unit.union_control_type, 0),
    )
    return UnitEffect(step, network.use(tiling=tiling))


# By the name of a layout of control models.
MAKERS: Mapping[str, MakeEffect] = dict.fromkeys(CONTROLNET_LAYOUTS, _make_controlnet)
# By the name of a preprocessor, for units without a control model.
MODULE_MAKERS: Mapping[str, MakeEffect] = {}


def prepare_units(
    plan: Plan,
    components: Components,
    networks: ControlNetworks,
    preprocessors: Preprocessors,
    run_sigmas: RunSigmas,
) -> UnitEffects:
    """Return what the units of a pass do while one model runs it.

    Args:
        plan: Of the pass, or of its refiner.
        components: The networks of the model.
        networks: Keeps its control models loaded.
        preprocessors: Make control images.
        run_sigmas: Of the run.

    Raises:
        WebUIError: a control model cannot be loaded, or a control picture cannot be made.
    """
    effects: list[UnitEffect] = []
    for planned in plan.control:
        if planned.counts_nowhere:
            continue
        make = (
            MODULE_MAKERS[planned.unit.module]
            if planned.model is None
            else MAKERS[planned.model.layout]
        )
        effects.append(
            make(UnitInputs(planned, plan, components, networks, preprocessors, run_sigmas))
        )
    return UnitEffects(tuple(effects))

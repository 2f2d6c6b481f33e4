"""Makes what the ControlNet units of a pass add to its steps; MAKERS has a function for each layout of control models."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from modules.backend.components import Components
from modules.backend.control.adapter_makers import (
    ADAPTER_MAKERS,
    make_channels_effect,
    make_module_effect,
    make_references,
    make_revisions,
)
from modules.backend.control.control_networks import ControlNetworks
from modules.backend.control.controlnet import ControlNetStep, ControlNetwork
from modules.backend.control.controlnet_weights import BaseUNet, load_controlnet
from modules.backend.control.hints import make_region
from modules.backend.control.preprocess import Preprocessors
from modules.backend.control.unit_effects import (
    MakeEffect,
    UnitEffect,
    UnitEffects,
    UnitInputs,
)
from modules.backend.control.unit_schedule import output_weights
from modules.backend.memory.offload import is_offloaded
from modules.models.control.layouts import CONTROLNET_LAYOUTS
from modules.params.requests.control_unit import UNION_CONTROL_TYPES
from modules.plan.plan import Plan
from modules.sampling.run_sigmas import RunSigmas


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
MAKERS: Mapping[str, MakeEffect] = {
    **dict.fromkeys(CONTROLNET_LAYOUTS, _make_controlnet),
    **ADAPTER_MAKERS,
}


def prepare_units(
    plan: Plan,
    components: Components,
    networks: ControlNetworks,
    preprocessors: Preprocessors,
    run_sigmas: RunSigmas,
    batch_index: int,
) -> UnitEffects:
    """Return what the units of a pass do while one model runs it.

    Args:
        plan: Of the pass, or of its refiner.
        components: The networks of the model.
        networks: Keeps its control models loaded.
        preprocessors: Make control images.
        run_sigmas: Of the run.
        batch_index: Of the batch, from 0.

    Raises:
        WebUIError: a control model cannot be loaded, or a control picture cannot be made.
    """
    networks.limit = max(networks.limit, len(plan.control))
    units = [
        UnitInputs(
            planned,
            plan,
            components,
            networks,
            preprocessors,
            run_sigmas,
            plan.batches[batch_index],
        )
        for planned in plan.control
        if not planned.counts_nowhere
    ]
    effects = [
        effect
        for inputs in units
        if inputs.planned.model is not None
        for effect in (
            MAKERS[inputs.model.layout](inputs),
            make_module_effect(inputs),
            make_channels_effect(inputs),
        )
    ]
    revisions = [inputs for inputs in units if inputs.planned.is_revision]
    if revisions:
        effects.append(make_revisions(revisions))
    # Last, as in sd-webui-controlnet: a reference is read without what other units add to a call.
    references = [inputs for inputs in units if inputs.planned.is_reference]
    if references:
        effects.append(make_references(references))
    maps = {inputs.planned.index: inputs.control_map for inputs in units}
    shown = tuple((index, image) for index, image in maps.items() if image is not None)
    return UnitEffects(tuple(effects), shown)

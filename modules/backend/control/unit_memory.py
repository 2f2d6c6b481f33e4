"""Estimates the memory that the ControlNet units of a pass take, before their models are loaded."""

from __future__ import annotations

from modules.backend.components import Components
from modules.backend.control.control_networks import ControlNetworks
from modules.backend.memory.estimate import UnitMemory
from modules.models.control.control_model import ControlModel
from modules.models.control.layouts import CONTROL_LORA
from modules.models.weight_counts import count_file_weights
from modules.plan.plan import Plan

_ENCODER = ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block")


def measure_units(plan: Plan, components: Components, networks: ControlNetworks) -> UnitMemory:
    """Return what the units of a pass take.

    Args:
        plan: Of the pass.
        components: The networks of its checkpoint, whose precision control models have.
        networks: The control models that are loaded.

    Raises:
        NotFound: a file is gone.
        BadFile: a file cannot be read.
    """
    models = {unit.model.stamp: unit.model for unit in plan.control if unit.model is not None}
    missing = [model for model in models.values() if not networks.has(model)]
    count = sum(_count(model, components) for model in missing)
    return UnitMemory(len(plan.control), count * components.unet.dtype.itemsize)


def _count(model: ControlModel, components: Components) -> int:
    """Return the number of weights of a loaded control model."""
    weights = count_file_weights(model.path)
    if model.layout != CONTROL_LORA:
        return weights
    # It becomes a whole copy of the UNet's encoder half.
    parameters = components.unet.named_parameters()
    return weights + sum(one.numel() for name, one in parameters if name.startswith(_ENCODER))

"""Folds LoRAs into the weights of a loaded model, and takes them out again without a trace.

A changed weight is always computed from that of the file, never from what another set of LoRAs has left, so that no
number of changes adds up to an error. It costs one computation, and nothing at any step after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from modules.backend.components import Components
from modules.backend.loading.scratch import convert, is_converted_in_two
from modules.backend.networks.layer_changes import (
    BIAS,
    WEIGHT,
    FoldMemory,
    LayerChanges,
    LoraReport,
    PlannedChange,
    add_changes,
    apply_changes,
    change_in_place,
    collect_notes,
)
from modules.backend.networks.layers import ChangeableLayers, Layer
from modules.core.errors import BadFile, NotFound
from modules.models.networks.lora_keys import Network
from modules.plan.networks.loras import LoraUse


class OriginalsLost(BadFile):
    """A changed weight cannot be read again, since its file has changed or is gone; the model is of no use any more."""


class FoldedLoras:
    """The LoRAs that are folded into a model.

    Args:
        components: Of the model; the weights of its UNet and text encoders are written to.
    """

    def __init__(self, components: Components) -> None:
        self._components = components
        self._layers: ChangeableLayers | None = None
        self._uses: tuple[LoraUse, ...] | None = ()  # None while weights are between two states
        self._changed: dict[tuple[Network, str], nn.Parameter] = {}  # by network and key
        self._added_biases: list[nn.Module] = []
        self._notes: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[LoraUse, ...]:
        """Return the LoRAs that the model has."""
        return self._uses or ()

    def fold(self, uses: Sequence[LoraUse]) -> tuple[str, ...]:
        """Make these LoRAs the ones that the model has, and return notes on what of them cannot be used.

        Raises:
            OriginalsLost: a weight cannot be read again, and the model must be loaded anew.
            BadFile: a LoRA's file was cut short while it was read; the next call begins with the checkpoint's weights.
        """
        uses = tuple(uses)
        if uses == self._uses:
            return self._notes
        layers = self._layers = self._layers or ChangeableLayers(self._components)
        reports = [LoraReport(use.name) for use in uses]
        plan: LayerChanges = {}
        for use, report in zip(uses, reports, strict=True):
            add_changes(plan, layers, use, report)
        self._uses = None
        for module in self._added_biases:
            module.register_parameter(BIAS, None)
        self._added_biases.clear()
        memory = FoldMemory()
        for network in layers.networks:
            changes = {la: todo for la, todo in plan.items() if la.network == network}
            self._write(network, changes, memory)
        self._notes = collect_notes(reports)
        self._uses = uses
        return self._notes

    def _write(self, network: Network, plan: LayerChanges, memory: FoldMemory) -> None:
        """Write the weights of a network: changed ones from the file, then those that were not changed before."""
        by_path = {layer.path: layer for layer in plan}
        before = {key: one for (net, key), one in self._changed.items() if net == network}
        for key, original in self._read_originals(network, before):
            parameter, (path, _, name) = before[key], key.rpartition(".")
            _restore(parameter, original, memory)
            layer = by_path.get(path)
            if layer is None or not change_in_place(name, parameter, plan[layer], memory):
                del self._changed[network, key]
        for layer, planned in plan.items():
            for name in (WEIGHT, BIAS):
                key = f"{layer.path}.{name}"
                if key not in before:
                    self._change(layer, name, planned, memory)

    def _change(
        self, layer: Layer, name: str, planned: list[PlannedChange], memory: FoldMemory
    ) -> None:
        parameter = getattr(layer.module, name)
        if parameter is None:  # a layer without a bias gets one for the time
            outputs = layer.module.weight
            assert isinstance(outputs, Tensor)
            zeros = torch.zeros(outputs.shape[0], dtype=outputs.dtype, device=outputs.device)
            changed = apply_changes(name, zeros, planned)
            if changed is not None:
                bias = nn.Parameter(changed.to(outputs.dtype), requires_grad=False)
                layer.module.bias = bias
                self._added_biases.append(layer.module)
            return
        key = layer.network, f"{layer.path}.{name}"
        self._changed[key] = parameter  # an error may leave it changed
        if not change_in_place(name, parameter, planned, memory):
            del self._changed[key]

    def _read_originals(
        self, network: Network, keys: Mapping[str, nn.Parameter]
    ) -> Iterator[tuple[str, Tensor]]:
        assert self._layers is not None
        origin = self._layers.origins[network]
        if not keys:
            return
        if origin is None:
            raise OriginalsLost("The weights of this model come from no file.")
        try:
            yield from origin.read(keys)
        except (BadFile, NotFound) as error:
            raise OriginalsLost(str(error)) from error


def _restore(parameter: nn.Parameter, original: Tensor, memory: FoldMemory) -> None:
    """Copy a weight of the file, rounded to the parameter's dtype."""
    if is_converted_in_two(original, parameter) and parameter.is_contiguous():
        convert(original.contiguous(), parameter.data, memory.wide)
    else:
        parameter.copy_(original)

"""Folds LoRAs into the weights of a loaded model, and takes them out again without a trace.

A changed weight is always computed from that of the file, never from what another set of LoRAs has left, so that no
number of changes adds up to an error. It costs one computation, and nothing at any step after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from modules.backend.components import Components
from modules.backend.networks.layers import ChangeableLayers, Layer, find_partial_attentions
from modules.backend.networks.lora_change import ChangeError, LoraChange, change_bias, change_weight
from modules.backend.networks.lora_file import read_lora
from modules.core.errors import BadFile, NotFound, WebUIError
from modules.models.networks.lora_keys import Network
from modules.plan.loras import LoraUse

_WEIGHT, _BIAS = "weight", "bias"
_MAX_LAYERS_SHOWN = 2


class OriginalsLost(BadFile):
    """A changed weight cannot be read again, since its file has changed or is gone; the model is of no use any more."""


@dataclass
class _Report:
    """What of one LoRA was used and what was not.

    Args:
        name: As the prompt spells it.
        used: Number of layers.
        unused: Why, by the layers' names in the file.
        error: Why the file cannot be read, "" if it can.
    """

    name: str
    used: int = 0
    error: str = ""
    unused: dict[str, str] = field(default_factory=dict[str, str])

    def notes(self) -> Iterator[str]:
        """Yield a sentence for the user where something was not used."""
        if self.error:
            yield f"The LoRA '{self.name}' is left out: {self.error}"
        elif self.unused:
            shown = [f"{layer} ({why})" for layer, why in self.unused.items()][:_MAX_LAYERS_SHOWN]
            more = ", ..." if len(self.unused) > len(shown) else ""
            layers = f"{len(self.unused)} layer{'s' if len(self.unused) > 1 else ''}"
            yield f"{layers} of the LoRA '{self.name}' cannot be used: {', '.join(shown)}{more}."
        elif not self.used:
            yield f"The LoRA '{self.name}' changes no layer of this checkpoint."


@dataclass(frozen=True)
class _Planned:
    change: LoraChange
    report: _Report


_Plan = dict[Layer, list[_Planned]]


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
        reports = [_Report(use.name) for use in uses]
        plan: _Plan = {}
        for use, report in zip(uses, reports, strict=True):
            _add_changes(plan, layers, use, report)
        self._uses = None
        for module in self._added_biases:
            module.register_parameter(_BIAS, None)
        self._added_biases.clear()
        for network in layers.networks:
            self._write(network, {la: todo for la, todo in plan.items() if la.network == network})
        self._notes = tuple(dict.fromkeys(note for report in reports for note in report.notes()))
        self._uses = uses
        return self._notes

    def _write(self, network: Network, plan: _Plan) -> None:
        """Write the weights of a network: changed ones from the file, then those that were not changed before."""
        by_path = {layer.path: layer for layer in plan}
        before = {key: one for (net, key), one in self._changed.items() if net == network}
        for key, original in self._read_originals(network, before):
            parameter, (path, _, name) = before[key], key.rpartition(".")
            original = original.to(parameter.device, parameter.dtype)
            layer = by_path.get(path)
            changed = None if layer is None else _apply(name, original, plan[layer])
            parameter.copy_(original if changed is None else changed)
            if changed is None:
                del self._changed[network, key]
        for layer, planned in plan.items():
            for name in (_WEIGHT, _BIAS):
                key = f"{layer.path}.{name}"
                if key not in before:
                    self._change(layer, name, key, planned)

    def _change(self, layer: Layer, name: str, key: str, planned: list[_Planned]) -> None:
        parameter = getattr(layer.module, name)
        if parameter is None:  # a layer without a bias gets one for the time
            outputs = layer.module.weight
            assert isinstance(outputs, Tensor)
            zeros = torch.zeros(outputs.shape[0], dtype=outputs.dtype, device=outputs.device)
            changed = _apply(name, zeros, planned)
            if changed is not None:
                bias = nn.Parameter(changed.to(outputs.dtype), requires_grad=False)
                layer.module.bias = bias
                self._added_biases.append(layer.module)
            return
        changed = _apply(name, parameter, planned)
        if changed is not None:
            self._changed[layer.network, key] = parameter
            parameter.copy_(changed)

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


def _add_changes(plan: _Plan, layers: ChangeableLayers, use: LoraUse, report: _Report) -> None:
    """Add the changes of a LoRA to the plan, by layer; none if its file has become unusable."""
    try:
        file = read_lora(use.file)
    except WebUIError as error:
        report.error = str(error)
        return
    found = {key: layer for key in file.layers if (layer := layers.find(key)) is not None}
    partial = find_partial_attentions(found.values())
    for key, layer in found.items():
        format = file.format(key)
        if layer in partial:
            report.unused[key.layer] = "a part of the same attention is missing in the file"
        elif format is not None:
            change = LoraChange(use, file, key, layer, format)
            plan.setdefault(layer, []).append(_Planned(change, report))


def _apply(name: str, original: Tensor, planned: list[_Planned]) -> Tensor | None:
    """Return a weight or bias with all changes, one after the other, or None where nothing changes it.

    The result is rounded to the dtype of the original once.
    """
    compute = change_weight if name == _WEIGHT else change_bias
    changed: Tensor | None = None
    current = original.float()
    for one in planned:
        try:
            result = compute(one.change, current)
        except ChangeError as error:
            one.report.unused[one.change.key.layer] = str(error)
            continue
        if result is not None:
            one.report.used += 1
            changed = current = result
    return changed

"""What LoRAs change of each layer, how the changes are applied, and what of them is not used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from modules.backend.loading.scratch import Scratch
from modules.backend.networks.layers import ChangeableLayers, Layer, find_partial_attentions
from modules.backend.networks.lora_change import ChangeError, LoraChange, change_bias, change_weight
from modules.backend.networks.lora_file import read_lora
from modules.backend.networks.low_rank import add_product, join_factors
from modules.core.errors import WebUIError
from modules.plan.networks.loras import LoraUse

WEIGHT, BIAS = "weight", "bias"
# In 32 bits they stay in the processor's cache.
_ITEMS_AT_ONCE = 1 << 19
_MAX_LAYERS_SHOWN = 2


@dataclass
class LoraReport:
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
class PlannedChange:
    """A change of one layer, and the report of its LoRA."""

    change: LoraChange
    report: LoraReport


# By layer, in the order of the LoRAs.
LayerChanges = dict[Layer, list[PlannedChange]]


def add_changes(
    changes: LayerChanges, layers: ChangeableLayers, use: LoraUse, report: LoraReport
) -> None:
    """Add the changes of a LoRA by layer; none if its file has become unusable."""
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
            changes.setdefault(layer, []).append(PlannedChange(change, report))


class FoldMemory:
    """Memory for the computation on one layer after another.

    Attributes:
        weight: For its weight in 32 bits.
        changes: For two changes of it, or the factors of one.
        wide: For some values of it in 32 bits.
    """

    def __init__(self) -> None:
        self.weight = Scratch()
        self.wide = torch.empty(_ITEMS_AT_ONCE)
        self.changes = (Scratch(), Scratch())


def apply_changes(
    name: str, original: Tensor, planned: list[PlannedChange], memory: FoldMemory | None = None
) -> Tensor | None:
    """Return a weight or bias with all changes, one after the other, or None where nothing changes it.

    Args:
        name: WEIGHT or BIAS.
        original: As it is without them.
        planned: The changes.
        memory: Where to compute; the result is valid until it is used again.

    Returns:
        float32; it is to be rounded to the dtype of the original once.
    """
    memory = memory or FoldMemory()
    changed: Tensor | None = None
    current = original
    if original.dtype != torch.float32:
        current = memory.weight.take(original.shape, torch.float32, original.device).copy_(original)
    free, taken = memory.changes  # the second holds the weight with the changes so far
    for one in planned:
        try:
            if name == WEIGHT:
                result = change_weight(one.change, current, free)
            else:
                result = change_bias(one.change, current)
        except ChangeError as error:
            one.report.unused[one.change.key.layer] = str(error)
            continue
        if result is not None:
            one.report.used += 1
            changed = current = result
            free, taken = taken, free
    return changed


def change_in_place(
    name: str, parameter: Tensor, planned: list[PlannedChange], memory: FoldMemory
) -> bool:
    """Apply all changes to a weight or bias, rounding it once, and return whether anything changes it.

    The arguments are those of `apply_changes`.
    """
    if name == WEIGHT:
        factors = join_factors([one.change for one in planned], parameter, memory.changes)
        if factors is not None:
            add_product(parameter, factors, memory.weight)
            for one in planned:
                one.report.used += 1
            return True
    changed = apply_changes(name, parameter, planned, memory)
    if changed is None:
        return False
    parameter.copy_(changed)
    return True


def collect_notes(reports: Iterable[LoraReport]) -> tuple[str, ...]:
    """Return the sentences of all reports, each once."""
    return tuple(dict.fromkeys(note for report in reports for note in report.notes()))

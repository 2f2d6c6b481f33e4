"""Bakes LoRAs into the weights of a checkpoint's file, by the formulas that fold them into a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.backend.components import Components, Precision
from modules.backend.loading.ckpt import DTYPES
from modules.backend.loading.ldm_keys import (
    FileKey,
    QkvSlice,
    Transposed,
    text_encoder_key,
    unet_file_key,
)
from modules.backend.loading.loader import (
    LoadOptions,
    ValidatedCheckpoint,
    build_components,
    validate_checkpoint,
)
from modules.backend.networks.layer_changes import (
    BIAS,
    WEIGHT,
    FoldMemory,
    LayerChanges,
    LoraReport,
    PlannedChange,
    add_changes,
    change_in_place,
    collect_notes,
)
from modules.backend.networks.layers import ChangeableLayers
from modules.backend.networks.lora_formulas import LORA_FORMULAS
from modules.core.errors import BadFile
from modules.models.files.header import Header, read_header
from modules.models.ldm.keys import UNET_INPUT_KEY, VAE_DECODER_INPUT_KEY, find_key
from modules.models.networks.lora_keys import Network
from modules.plan.jobs.merge import MergePlan

_META = torch.device("meta")
# The loader compares its values, which headers do not have.
_NOISE_SCHEDULE = "alphas_cumprod"


@dataclass(frozen=True)
class _Change:
    """What LoRAs do to a parameter that a tensor of the file has, alone or with others.

    Args:
        place: Where the parameter is in the tensor.
        name: "weight" or "bias".
        shape: Of the parameter.
        planned: The changes, one after the other.
    """

    place: FileKey
    name: str
    shape: torch.Size
    planned: list[PlannedChange]

    def apply(self, tensor: Tensor, memory: FoldMemory) -> None:
        """Change the parameter in the whole tensor, float32."""
        part = tensor
        if isinstance(self.place, QkvSlice):
            rows = tensor.shape[0] // 3
            part = tensor[self.place.part * rows : (self.place.part + 1) * rows]
        elif isinstance(self.place, Transposed):
            part = tensor.mT
        parameter = part.reshape(self.shape).contiguous()
        if change_in_place(self.name, parameter, self.planned, memory):
            part.copy_(parameter.reshape(part.shape))


class LoraBaker:
    """Changes the weights of one checkpoint.

    Args:
        plan: The merge, with its LoRAs.

    Raises:
        BadFile: a file cannot be used.
        UserError: the .yaml does not describe the checkpoint.
    """

    def __init__(self, plan: MergePlan) -> None:
        header = read_header(plan.files[0].path)
        lacks_vae = find_key(header.tensors, VAE_DECODER_INPUT_KEY) is None
        vae = plan.vae.path if plan.vae is not None and lacks_vae else None
        options = LoadOptions(vae=vae, device=_META, family=plan.families[0])
        checkpoint = validate_checkpoint(plan.files[0].path, plan.a_config, options)
        components = _build_on_meta(checkpoint, plan.files[0].name, options)
        layers = ChangeableLayers(components)
        self._reports = [LoraReport(use.name) for use in plan.loras]
        changes: LayerChanges = {}
        for use, report in zip(plan.loras, self._reports, strict=True):
            add_changes(changes, layers, use, report)
            if report.error:
                raise BadFile(f"The LoRA '{use.name}' cannot be baked in: {report.error}")
        self._changes = _changes_by_key(changes, checkpoint)
        self._memory = FoldMemory()

    def changes(self, key: str) -> bool:
        """Return whether a tensor of the checkpoint is changed."""
        return key in self._changes

    def change(self, key: str, weight: Tensor) -> Tensor:
        """Return the changed tensor, float32."""
        changed = weight.to(torch.float32, copy=True)
        for change in self._changes[key]:
            change.apply(changed, self._memory)
        return changed

    def notes(self) -> tuple[str, ...]:
        """Return sentences for the user on what of the LoRAs was not used; complete after the last change."""
        return collect_notes(self._reports)


def _build_on_meta(checkpoint: ValidatedCheckpoint, name: str, options: LoadOptions) -> Components:
    """Return the networks without weights, in the dtypes of the file."""
    tensors = {
        key: torch.empty(info.shape, dtype=DTYPES[info.dtype], device=_META)
        for key, info in checkpoint.header.tensors.items()
        if key != _NOISE_SCHEDULE
    }
    unet = _dtype(checkpoint.header, UNET_INPUT_KEY)
    first_layout = checkpoint.config.text_encoders[0].layout
    text_encoder = _dtype(checkpoint.header, first_layout.token_embedding_key)
    precision = Precision(unet=unet, vae=torch.float32, text_encoder=text_encoder)
    return build_components(tensors, checkpoint.config, precision, name, checkpoint.family, options)


def _dtype(header: Header, name: str) -> torch.dtype:
    """Return the dtype that changes of a network are computed for."""
    key = find_key(header.tensors, name)
    dtype = DTYPES[header.tensors[key].dtype] if key else torch.float32
    return dtype if dtype.itemsize > 1 else torch.float16


def _changes_by_key(
    changes: LayerChanges, checkpoint: ValidatedCheckpoint
) -> dict[str, list[_Change]]:
    """Return what is changed of each tensor of the file, by its key."""
    places = dict(_file_keys(checkpoint))
    found: dict[str, list[_Change]] = {}
    for layer, planned in changes.items():
        for name in (WEIGHT, BIAS):
            parameter = getattr(layer.module, name)
            if parameter is None:
                _report_missing_bias(planned)
                continue
            place = places[layer.network](f"{layer.path}.{name}")
            key = find_key(
                checkpoint.header.tensors, place if isinstance(place, str) else place.key
            )
            if key is not None:
                found.setdefault(key, []).append(_Change(place, name, parameter.shape, planned))
    return found


def _report_missing_bias(planned: list[PlannedChange]) -> None:
    """Note the changes of a bias that the layer, and so the file, does not have."""
    for one in planned:
        change = one.change
        if LORA_FORMULAS[change.format.name].bias_part in change.file.layers[change.key]:
            one.report.unused[change.key.layer] = "the checkpoint has no bias there"


def _file_keys(
    checkpoint: ValidatedCheckpoint,
) -> Iterator[tuple[Network, Callable[[str], FileKey]]]:
    """Yield for each network the function from a parameter's key to its place in the file."""
    config = checkpoint.config
    yield "unet", unet_file_key(checkpoint.header.tensors, config.unet)
    names: tuple[Network, ...] = ("text encoder 1", "text encoder 2")
    for name, text in zip(names, config.text_encoders, strict=False):
        yield name, text_encoder_key(text.layout)

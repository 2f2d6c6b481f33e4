"""The layers of a LoRA file, read when they are folded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modules.backend.loading.state_dict import FileStateDict, read_state_dict
from modules.models.files.header import read_header
from modules.models.networks.lora_formats import LoraFormat, find_format
from modules.models.networks.lora_keys import LoraKey, Network, group_parts
from modules.models.networks.network_file import NetworkFile

# Of diffusers, which names no alpha in its keys.
_ADAPTER_METADATA = "lora_adapter_metadata"
_METADATA_PREFIXES: Mapping[Network, str] = {
    "unet": "unet",
    "text encoder 1": "text_encoder",
    "text encoder 2": "text_encoder_2",
}


@dataclass(frozen=True)
class LoraFile:
    """An opened LoRA file.

    Args:
        layers: By layer, from each part of its change to the key in the file.
        state_dict: Its tensors.
        scales: By network, the factor that the file's metadata gives to every change.
    """

    layers: Mapping[LoraKey, Mapping[str, str]]
    state_dict: FileStateDict
    scales: Mapping[Network, float]

    def format(self, layer: LoraKey) -> LoraFormat | None:
        """Return the format of a layer."""
        return find_format(self.layers[layer])

    def read(self, layer: LoraKey, device: torch.device) -> dict[str, Tensor]:
        """Return the parts of a layer's change, in the dtypes of the file, on a device.

        Raises:
            BadFile: the file was cut short.
        """
        state_dict = self.state_dict
        parts = {
            part: state_dict.read(state_dict[key]).to(device)
            for part, key in self.layers[layer].items()
        }
        if layer.network in self.scales and not {"alpha", "scale"} & parts.keys():
            parts["scale"] = torch.tensor(self.scales[layer.network])
        return parts


def read_lora(file: NetworkFile) -> LoraFile:
    """Return a LoRA file, opened; its tensors are read one by one.

    Raises:
        NotFound: it is gone.
        BadFile: it is damaged or unsafe.
    """
    header = read_header(file.path)
    layers = group_parts(header.tensors)
    return LoraFile(layers, read_state_dict(file.path, header), _scales(header.metadata))


def _scales(metadata: Mapping[str, str]) -> dict[Network, float]:
    """Return the scale of each network that diffusers' metadata states: alpha / rank, or its root for rsLoRA."""
    try:
        content: Any = json.loads(metadata.get(_ADAPTER_METADATA, "{}"))
        scales: dict[Network, float] = {}
        for network, prefix in _METADATA_PREFIXES.items():
            alpha, rank = content.get(f"{prefix}.lora_alpha"), content.get(f"{prefix}.r")
            if alpha is not None and rank:
                is_root = bool(content.get(f"{prefix}.use_rslora"))
                scales[network] = float(alpha) / (math.sqrt(rank) if is_root else float(rank))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}  # of another program
    return scales

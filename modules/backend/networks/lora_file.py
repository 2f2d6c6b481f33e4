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
class _Adapter:
    """What diffusers' metadata tell of the changes of a network, in PEFT's terms.

    Args:
        alpha: Divided by the rank it is the scale.
        rank: Of layers that do not show theirs.
        is_rooted: Whether it is divided by the root of the rank (rsLoRA).
        alphas: Of single layers, by the ends of their paths.
    """

    alpha: float
    rank: float
    is_rooted: bool
    alphas: Mapping[str, float]

    def scale(self, path: str, rank: float) -> float:
        """Return the scale of a layer."""
        alphas = (alpha for end, alpha in self.alphas.items() if f".{path}".endswith(f".{end}"))
        return next(alphas, self.alpha) / (math.sqrt(rank) if self.is_rooted else rank)


@dataclass(frozen=True)
class LoraFile:
    """An opened LoRA file.

    Args:
        layers: By layer, from each part of its change to the key in the file.
        state_dict: Its tensors.
        adapters: By network, what the file's metadata tell of the scale of its changes.
    """

    layers: Mapping[LoraKey, Mapping[str, str]]
    state_dict: FileStateDict
    adapters: Mapping[Network, _Adapter]

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
        adapter = self.adapters.get(layer.network)
        if adapter is not None and not {"alpha", "scale"} & parts.keys():
            down = parts.get("lora_down.weight")
            rank = adapter.rank if down is None else down.shape[0]
            parts["scale"] = torch.tensor(adapter.scale(layer.layer, rank))
        return parts


def read_lora(file: NetworkFile) -> LoraFile:
    """Return a LoRA file, opened; its tensors are read one by one.

    Raises:
        NotFound: it is gone.
        BadFile: it is damaged or unsafe.
    """
    header = read_header(file.path)
    layers = group_parts(header.tensors)
    return LoraFile(layers, read_state_dict(file.path, header), _read_adapters(header.metadata))


def _read_adapters(metadata: Mapping[str, str]) -> dict[Network, _Adapter]:
    """Return what diffusers' metadata state of each network."""
    try:
        content: Any = json.loads(metadata.get(_ADAPTER_METADATA, "{}"))
        adapters: dict[Network, _Adapter] = {}
        for network, prefix in _METADATA_PREFIXES.items():
            alpha, rank = content.get(f"{prefix}.lora_alpha"), content.get(f"{prefix}.r")
            if alpha is not None and rank:
                alphas: Mapping[str, Any] = content.get(f"{prefix}.alpha_pattern") or {}
                adapters[network] = _Adapter(
                    float(alpha),
                    abs(float(rank)),
                    bool(content.get(f"{prefix}.use_rslora")),
                    {end: float(value) for end, value in alphas.items()},
                )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}  # of another program
    return adapters

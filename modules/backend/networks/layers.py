"""The layers of a loaded checkpoint that a network can change, by every name that files have for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from modules.backend.components import Components, WeightOrigin
from modules.models.ldm.keys import UNET_PREFIX
from modules.models.networks.lora_keys import LoraKey, Network

_CHANGEABLE = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
# A1111 finds it by LDM's name alone, and LyCORIS's files that name it so look right without its change.
_UNKNOWN_TO_A1111 = ("conv_norm_out",)
# OpenCLIP keeps query, key and value as one tensor, and A1111 changes all of an attention or nothing.
_ATTENTION_PARTS = ("q_proj", "k_proj", "v_proj", "out_proj")
_ATTENTION = re.compile(r"(.*self_attn)\.(?:q_proj|k_proj|v_proj|out_proj)")


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Args:
        network: The network that has it.
        path: Its path in the network.
        module: The layer.
        in_joined_attention: Path of the attention whose parts a file changes all together or not at all; "" for none.
    """

    network: Network
    path: str
    module: nn.Module = field(repr=False, compare=False, hash=False)
    in_joined_attention: str = ""


class ChangeableLayers:
    """Finds the layers of a model by the names in files.

    Args:
        components: Of the model.
    """

    def __init__(self, components: Components) -> None:
        encoders = components.text_encoders
        self.networks: dict[Network, nn.Module] = {"unet": components.unet}
        self.origins: dict[Network, WeightOrigin | None] = {"unet": components.unet_origin}
        self._aliases: dict[Network, Network] = {}
        names: tuple[Network, ...] = ("text encoder 1", "text encoder 2")
        for name, encoder in zip(names, encoders, strict=False):
            self.networks[name] = encoder.network
            self.origins[name] = encoder.origin
        if len(encoders) == 1:
            self._aliases["text encoder"] = "text encoder 1"
        self._layers: Mapping[Network, Mapping[str, Layer]] = {
            name: dict(self._named_layers(name)) for name in self.networks
        }

    def find(self, key: LoraKey) -> Layer | None:
        """Return the layer that a key of a file names, None where this model has no such layer."""
        network = self._aliases.get(key.network, key.network)
        return self._layers.get(network, {}).get(key.module)

    def _named_layers(self, network: Network) -> Iterator[tuple[str, Layer]]:
        """Yield each layer with each of its names: of diffusers or transformers, and of LDM."""
        origin = self.origins[network]
        for path, module in self.networks[network].named_modules():
            if not isinstance(module, _CHANGEABLE) or module.weight is None:
                continue
            in_file = origin.key_in_file(f"{path}.weight") if origin else ""
            layer = Layer(network, path, module, _joined_attention(path, origin))
            if network == "unet":
                if path not in _UNKNOWN_TO_A1111:
                    yield path.replace(".", "_"), layer
                in_file = in_file.removeprefix(UNET_PREFIX).removesuffix(".weight")
                if in_file:
                    yield in_file.replace(".", "_"), layer
            else:
                yield "text_model_" + path.removeprefix("text_model.").replace(".", "_"), layer


def _joined_attention(path: str, origin: WeightOrigin | None) -> str:
    """Return the path of the attention that a layer is a part of, if its file joins query, key and value."""
    match = _ATTENTION.fullmatch(path)
    if match is None or origin is None:
        return ""
    is_joined = not origin.key_in_file(f"{match[1]}.{_ATTENTION_PARTS[0]}.weight")
    return match[1] if is_joined else ""


def find_partial_attentions(layers: Iterable[Layer]) -> set[Layer]:
    """Return the layers of joined attentions of which a file does not have every part."""
    found: dict[tuple[Network, str], list[Layer]] = {}
    for layer in layers:
        if layer.in_joined_attention:
            found.setdefault((layer.network, layer.in_joined_attention), []).append(layer)
    partial = (parts for parts in found.values() if len(parts) < len(_ATTENTION_PARTS))
    return {layer for parts in partial for layer in parts}

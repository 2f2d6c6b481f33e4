"""Hypernetworks: small networks that change what the keys and values of a UNet's attention are computed from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from modules.backend.loading.state_dict import read_state_dict, read_tensor
from modules.backend.memory.offload import execution_device
from modules.core.errors import BadFile
from modules.models.files.header import read_header
from modules.models.files.scan import FileStamp, ModelFile
from modules.models.networks.hypernetworks import HypernetworkUse

Networks = Mapping[int, tuple[nn.Module, nn.Module]]
Hook = Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]
_KEY = re.compile(r"(\d+)\.([01])\.linear\.?(\d+)\.(weight|bias)")
# By A1111's names; any other is that of a class of torch.
_ACTIVATIONS: Mapping[str, type[nn.Module]] = {"linear": nn.Identity, "swish": nn.Hardswish}
_TORCH_ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.CELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU6,
    nn.RReLU,
    nn.SELU,
    nn.SiLU,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanhshrink,
)


class _UnknownActivation(Exception):
    """The text is the rest of a sentence."""


@dataclass(frozen=True)
class Hypernetwork:
    """A loaded hypernetwork.

    Args:
        networks: By the width of what attention reads: the network for keys and that for values, in float32.
        multiplier: How much of their output is added.
    """

    networks: Networks
    multiplier: float

    def change(self, context: Tensor, index: int) -> Tensor:
        """Return what keys (index 0) or values (index 1) are computed from."""
        pair = self.networks.get(context.shape[-1])
        if pair is None:
            return context
        return (context + pair[index](context.float()) * self.multiplier).to(context.dtype)


class Hypernetworks:
    """Loads hypernetworks for one UNet; those of the last pass stay loaded."""

    def __init__(self) -> None:
        self._loaded: dict[FileStamp, Networks] = {}

    @contextmanager
    def apply(self, unet: UNet2DConditionModel, uses: Sequence[HypernetworkUse]) -> Iterator[None]:
        """Let the attention of a UNet see what hypernetworks make of its inputs, one after the other.

        Raises:
            NotFound: the file of one is gone.
            BadFile: one cannot be read, or has an unknown architecture.
        """
        stamps = dict.fromkeys(use.file.stamp for use in uses)
        self._loaded = {stamp: self._loaded[stamp] for stamp in stamps if stamp in self._loaded}
        for use in uses:
            if use.file.stamp not in self._loaded:
                self._loaded[use.file.stamp] = read_networks(use.file, execution_device(unet))
        chain = [Hypernetwork(self._loaded[use.file.stamp], use.multiplier) for use in uses]
        with ExitStack() as stack:
            for module in unet.modules() if chain else ():
                if isinstance(module, Attention):
                    for index, projection in enumerate(_projections(module)):
                        handle = projection.register_forward_pre_hook(_make_hook(chain, index))
                        stack.callback(handle.remove)
            yield


def _projections(attention: Attention) -> tuple[nn.Module, nn.Module]:
    """Return the layers that make keys and values."""
    assert attention.to_k is not None and attention.to_v is not None
    return attention.to_k, attention.to_v


def _make_hook(chain: Sequence[Hypernetwork], index: int) -> Hook:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        context, *others = inputs
        for hypernetwork in chain:
            context = hypernetwork.change(context, index)
        return (context, *others)

    return hook


def read_networks(file: ModelFile, device: torch.device) -> Networks:
    """Return the networks of a hypernetwork by width, for keys and for values, in float32.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged, or has an unknown activation function.
    """
    header = read_header(file.path)
    state_dict = read_state_dict(file.path, header)
    layers: dict[tuple[int, int], dict[int, dict[str, Tensor]]] = {}
    for name, tensor in state_dict.items():
        match = _KEY.fullmatch(name)
        if match is not None:
            place = layers.setdefault((int(match[1]), int(match[2])), {})
            place.setdefault(int(match[3]), {})[match[4]] = read_tensor(state_dict, tensor).float()
    activation = header.values.get("activation_func")
    activates_output = bool(header.values.get("activate_output", True))
    try:
        built = {
            place: _build(parts, _find_activation(activation), activates_output)
            for place, parts in layers.items()
        }
        for (width, _), network in built.items():
            if network(torch.zeros(1, width)).shape != (1, width):
                raise ValueError("an output of another width")
        pairs = {width: (built[width, 0], built[width, 1]) for width, _ in layers}
    except (LookupError, RuntimeError, ValueError, _UnknownActivation) as error:
        reason = (
            str(error)
            if isinstance(error, _UnknownActivation)
            else "its layers do not fit together"
        )
        raise BadFile(
            f"The hypernetwork '{file.file_name}' cannot be used: {reason}.",
            "Get it from another source, or take its tag out of the prompt.",
        ) from error
    return {width: (keys.to(device), values.to(device)) for width, (keys, values) in pairs.items()}


def _find_activation(name: object) -> type[nn.Module]:
    if name is None:
        return nn.Identity
    known = {row.__name__.lower(): row for row in _TORCH_ACTIVATIONS} | dict(_ACTIVATIONS)
    if name not in known:
        raise _UnknownActivation(f"its activation function '{name}' is unknown")
    return known[str(name)]


def _build(
    layers: Mapping[int, Mapping[str, Tensor]], activation: type[nn.Module], activates_output: bool
) -> nn.Sequential:
    """Return the network of some layers, by their place in the file: linear ones, each activated, and norms.

    Args:
        layers: The weight and bias of each; a weight with one axis is that of a norm.
        activation: After each linear layer.
        activates_output: Whether also after the last one.
    """
    modules: list[nn.Module] = []
    last = max(index for index, part in layers.items() if part["weight"].ndim > 1)
    for index, part in sorted(layers.items()):
        weight, bias = part["weight"], part["bias"]
        if weight.ndim > 1:
            layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0])
        else:
            layer = nn.LayerNorm(weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        modules.append(layer)
        if weight.ndim > 1 and (index != last or activates_output):
            modules.append(activation())
    return nn.Sequential(*modules).requires_grad_(False).eval()

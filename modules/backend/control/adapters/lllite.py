"""ControlLLLite (kohya-ss, https://github.com/kohya-ss/ControlNet-LLLite-ComfyUI): small networks before attention layers.

Each one changes what a linear layer reads by what it reads and by an embedding of the hint image at the same place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.adapters.unet_places import (
    input_blocks,
    output_blocks,
    size_of_cells,
)
from modules.backend.control.adapters.weights import open_adapter, without_weights
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.core.errors import BadFile
from modules.models.files.scan import ModelFile

_NOUN = "ControlLLLite"
_PREFIX = "lllite_unet_"
_LDM_PLACE = re.compile(r"(input_blocks_(\d+)|output_blocks_(\d+)|middle_block)_1_(.+)")
_PROJECTIONS = ("to_q", "to_k", "to_v")


class LLLiteModule(nn.Module):
    """The network before one layer.

    Args:
        shapes: Of its weights in the file.

    Attributes:
        is_convolution: Whether the layer is a convolution, not a linear one.
        input_width: Channels of what the layer reads.
        embedding_width: Channels of the embedding of the hint.
    """

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        self.is_convolution = len(shapes["down.0.weight"]) == 4
        self.conditioning1 = nn.Sequential()
        # Convolutions without overlap: each divides the sides of the hint by its kernel.
        for index in sorted(_numbers_of(shapes)):
            if index > 0:
                self.conditioning1.append(nn.ReLU())
            outputs, inputs, kernel, _ = shapes[f"conditioning1.{index}.weight"]
            self.conditioning1.append(nn.Conv2d(inputs, outputs, kernel, stride=kernel))
        self.input_width = shapes["down.0.weight"][1]
        self.embedding_width = shapes["mid.0.weight"][1] - shapes["down.0.weight"][0]
        self.down = nn.Sequential(self._layer(shapes["down.0.weight"]), nn.ReLU())
        self.mid = nn.Sequential(self._layer(shapes["mid.0.weight"]), nn.ReLU())
        self.up = nn.Sequential(self._layer(shapes["up.0.weight"]))

    def _layer(self, shape: torch.Size) -> nn.Module:
        outputs, inputs = shape[:2]
        return nn.Conv2d(inputs, outputs, 1) if self.is_convolution else nn.Linear(inputs, outputs)

    def embed(self, hint: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the hint's embedding, [images, channels, rows, columns], or [images, rows * columns, channels].

        Args:
            hint: [images, 3, height, width], -1 to 1.
            size: Rows and columns of what the layer reads.
        """
        embedding = self.conditioning1(hint)
        if embedding.shape[-2:] != size:
            embedding = functional.interpolate(embedding, size=size, mode="nearest-exact")
        return embedding if self.is_convolution else embedding.flatten(2).transpose(1, 2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return what is added to the layer's input."""
        joined = torch.cat([embedding, self.down(x)], dim=1 if self.is_convolution else -1)
        return self.up(self.mid(joined))


def _numbers_of(shapes: Mapping[str, torch.Size]) -> set[int]:
    return {int(name.split(".")[1]) for name in shapes if name.startswith("conditioning1.")}


@dataclass(frozen=True)
class LLLite:
    """A loaded ControlLLLite.

    Args:
        name: Of its file, for messages.
        modules: Its networks, by the layers' names in the file.
    """

    name: str
    modules: Mapping[str, LLLiteModule]


def load_lllite(file: ModelFile, dtype: torch.dtype, device: torch.device) -> LLLite:
    """Return the ControlLLLite of a file.

    Args:
        file: The file.
        dtype: To compute in.
        device: Likewise.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged or incomplete.
    """
    opened = open_adapter(file, _NOUN)
    shapes: dict[str, dict[str, torch.Size]] = {}
    for name, tensor in opened.state_dict.items():
        layer, _, key = name.partition(".")
        if layer.startswith(_PREFIX):
            shapes.setdefault(layer, {})[key] = tensor.shape
    modules = {}
    for layer, parts in shapes.items():
        try:
            with without_weights():
                empty = LLLiteModule(parts)
        except KeyError as error:
            raise BadFile(
                f"'{opened.name}' is no complete {_NOUN}: '{layer}.{error.args[0]}' is missing.",
                "Download it again.",
            ) from error
        modules[layer.removeprefix(_PREFIX)] = opened.load_into(
            empty, f"{layer}.{{}}".format, dtype, device
        )
    return LLLite(opened.name, modules)


class LLLiteExtension(StepExtension):
    """Applies a ControlLLLite in the steps of a unit's turn.

    Args:
        lllite: The networks.
        hint: [1 or batch, 3, height, width], 0 to 1.
        weight: Of what they add.
        is_active: Whether it takes part in an evaluation, by its index.
    """

    def __init__(
        self, lllite: LLLite, hint: Tensor, weight: float, is_active: Callable[[int], bool]
    ) -> None:
        self._lllite = lllite
        self._hint = hint * 2 - 1
        self._weight = weight
        self._is_active = is_active
        self._cells = (1, 1)
        self._embeddings: dict[LLLiteModule, Tensor] = {}
        self.takes_part = False

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Remember whether the call's step is one of the unit's, and how large its sample is."""
        self.takes_part = self._is_active(call.index)
        self._cells = (call.sample.shape[-2], call.sample.shape[-1])
        return call

    @contextmanager
    def use(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Apply it to a UNet.

        Raises:
            BadFile: it is for another architecture.
        """
        layers = {path: self._find(unet, path) for path in self._lllite.modules}
        self_attentions: dict[Attention, dict[str, LLLiteModule]] = {}
        with ExitStack() as stack:
            for path, module in self._lllite.modules.items():
                owner, name, layer = layers[path]
                if isinstance(owner, Attention) and path.endswith(f"attn1_{name}"):
                    self_attentions.setdefault(owner, {})[name] = module
                else:
                    hook = _LayerHook(self, module)
                    stack.callback(layer.register_forward_pre_hook(hook.before).remove)
            for attention, modules in self_attentions.items():
                _SelfAttentionHooks(self, modules).register(attention, stack)
            yield
        self._embeddings.clear()

    def embed(self, module: LLLiteModule, x: Tensor) -> Tensor:
        """Return the embedding of the hint for a network, with as many rows as the layer's input has."""
        embedding = self._embeddings.get(module)
        if embedding is None:
            size = x.shape[-2:] if module.is_convolution else size_of_cells(self._cells, x.shape[1])
            embedding = module.embed(self._hint.to(x), (size[0], size[1]))
            self._embeddings[module] = embedding
        copies = len(x) // len(embedding)
        return embedding.repeat(copies, *[1] * (embedding.ndim - 1))

    def change(self, module: LLLiteModule, x: Tensor, embedding: Tensor) -> Tensor:
        """Return what a network adds to a layer's input."""
        return module(x, embedding) * self._weight

    def _find(self, unet: UNet2DConditionModel, path: str) -> tuple[nn.Module, str, nn.Module]:
        """Return a layer by its name in the file: the module that has it, its name there, and the layer."""
        root: nn.Module = unet
        names = path
        match = _LDM_PLACE.fullmatch(path)
        try:
            if match is not None:
                root, names = _ldm_transformer(unet, match), match[4]
            parts = _split(root, names)
            owner = root.get_submodule(".".join(parts[:-1]))
            return owner, parts[-1], owner.get_submodule(parts[-1])
        except (AttributeError, IndexError) as error:
            raise BadFile(
                f"'{self._lllite.name}' is a ControlLLLite for a UNet with '{path}', which the checkpoint does not have.",
                "Choose one for this checkpoint.",
            ) from error


def _ldm_transformer(unet: UNet2DConditionModel, match: re.Match[str]) -> nn.Module:
    """Return the transformer of one of LDM's blocks."""
    if match[2] is not None:
        return input_blocks(unet)[int(match[2])][1]
    if match[3] is not None:
        return output_blocks(unet)[int(match[3])][1]
    attentions: Any = unet.mid_block and unet.mid_block.attentions  # a list of modules
    return attentions[0]


def _split(root: nn.Module, joined: str) -> list[str]:
    """Return the path of a module whose parts a file joins by underscores."""
    for name, child in root.named_children():
        if joined == name:
            return [name]
        if joined.startswith(f"{name}_"):
            try:
                return [name, *_split(child, joined.removeprefix(f"{name}_"))]
            except AttributeError:
                continue  # another child's name begins alike
    raise AttributeError(joined)


class _LayerHook:
    """The hook of a layer whose input nothing else cuts or merges."""

    def __init__(self, extension: LLLiteExtension, module: LLLiteModule) -> None:
        self._extension, self._module = extension, module

    def before(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the layer's input as the network changes it."""
        if not self._extension.takes_part:
            return inputs
        x, *others = inputs
        embedding = self._extension.embed(self._module, x)
        return (x + self._extension.change(self._module, x, embedding), *others)


class _SelfAttentionHooks:
    """The hooks of a self-attention, whose tokens Hypertile cuts into tiles and token merging merges.

    The embeddings go through both as further channels of the tokens, before the layers that make queries, keys and values
    take them off again. A last channel of ones distinguishes the tokens of the image from those that others add.
    """

    def __init__(self, extension: LLLiteExtension, modules: Mapping[str, LLLiteModule]) -> None:
        self._extension, self._modules = extension, modules

    def register(self, attention: Attention, stack: ExitStack) -> None:
        """Register them."""
        handle = attention.register_forward_pre_hook(self.add_channels, prepend=True)
        stack.callback(handle.remove)
        for name in _PROJECTIONS:
            hook = self._make_hook(name)
            layer = attention.get_submodule(name)
            stack.callback(layer.register_forward_pre_hook(hook, prepend=True).remove)

    def add_channels(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the attention's input with the embeddings."""
        if not self._extension.takes_part:
            return inputs
        joined, *others = inputs
        width = next(iter(self._modules.values())).input_width
        # Of several units the first to add is the first to take off: the others' channels stay behind its own.
        x, of_others = joined[..., :width], joined[..., width:]
        embeddings = [self._extension.embed(module, x) for module in self._modules.values()]
        return (torch.cat([x, *embeddings, torch.ones_like(x[..., :1]), of_others], -1), *others)

    def _make_hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        modules = list(self._modules.values())
        width, own = modules[0].input_width, self._modules.get(name)
        added = [*(module.embedding_width for module in modules), 1]

        def take_channels(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            if not self._extension.takes_part:
                return inputs
            joined, *others = inputs
            of_others = joined.shape[-1] - width - sum(added)
            x, rest, *embeddings, is_image = joined.split([width, of_others, *added], -1)
            if own is not None:
                change = self._extension.change(own, x, embeddings[modules.index(own)])
                x = x + change * is_image
            return (torch.cat([x, rest], -1) if of_others else x, *others)

        return take_channels

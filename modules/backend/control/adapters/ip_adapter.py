"""IP-Adapters (Ye et al. 2023): attention to an image's tokens, added to the attention to those of the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.adapters.clip_vision import EncodedImage
from modules.backend.control.adapters.encoded_images import EncodedImages
from modules.backend.control.adapters.image_projection import load_projection
from modules.backend.control.adapters.unet_places import size_of_cells
from modules.backend.control.adapters.weights import open_adapter
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.core.errors import BadFile, Unsupported
from modules.models.control.ip_adapter import (
    IPAdapterFacts,
    canonical_names,
    layer_names,
    read_facts,
)
from modules.models.files.scan import ModelFile

_NOUN = "IP-Adapter"


@dataclass(frozen=True)
class IPAdapter:
    """A loaded IP-Adapter.

    Args:
        name: Of its file, for messages.
        facts: Of its header.
        projection: Makes tokens of the output of an image encoder, in float32.
        layers: The weights that make keys and values of the tokens, for each cross-attention layer of a UNet: those on the
            way down, those on the way up, those in the middle.
    """

    name: str
    facts: IPAdapterFacts
    projection: nn.Module
    layers: tuple[tuple[Tensor, Tensor], ...]

    def project(self, encoded: EncodedImage) -> Tensor:
        """Return the tokens of images, [images + 1, tokens, width]; the last row is what a negative prompt gets."""
        read = encoded.hidden if self.facts.reads_hidden_states else encoded.embedding
        device = self.layers[0][0].device
        return self.projection(read.to(device, torch.float32))


class ImagePrompts(EncodedImages):
    """A loaded IP-Adapter with the tokens of the latest images, as `IPAdapter.project` makes them.

    Args:
        adapter: The adapter.
    """

    def __init__(self, adapter: IPAdapter) -> None:
        super().__init__(adapter.project)
        self.adapter = adapter


def load_ip_adapter(file: ModelFile, dtype: torch.dtype, device: torch.device) -> IPAdapter:
    """Return the IP-Adapter of a file.

    Args:
        file: The file.
        dtype: Of the layers' weights.
        device: Where the UNet computes.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged or incomplete.
        Unsupported: it needs a network that this program does not have.
    """
    opened = open_adapter(file, _NOUN)
    facts = read_facts(opened.header.tensors)
    if isinstance(facts, str):
        raise Unsupported(f"'{opened.name}' {facts}")
    names = canonical_names(opened.header.tensors)
    projection = load_projection(opened, facts, names, device)
    keys = [names[name] for pair in layer_names(names) for name in pair]
    weights = opened.read(keys, dtype, device)
    layers = tuple(zip(weights[::2], weights[1::2], strict=True))
    return IPAdapter(opened.name, facts, projection, layers)


@dataclass(frozen=True)
class ImagePrompt:
    """What a unit adds to the attention of a UNet.

    Args:
        adapter: Whose layers it uses.
        tokens: [images + 1, tokens, width]; see `IPAdapter.project`.
        weights: Of each layer's result, in the order of the layers.
        region: Where it counts, 0 to 1, [rows, columns]; None: everywhere.
    """

    adapter: IPAdapter
    tokens: Tensor
    weights: tuple[float, ...]
    region: Tensor | None = None


class ImagePromptExtension(StepExtension):
    """Adds attention to an image's tokens in the steps of a unit's turn.

    Args:
        prompt: What it adds.
        is_active: Whether it takes part in an evaluation, by its index.
    """

    def __init__(self, prompt: ImagePrompt, is_active: Callable[[int], bool]) -> None:
        self._prompt = prompt
        self._is_active = is_active
        self._rows: Tensor | None = None  # of the tokens, for each row of a call; None: no part
        self._known_rows: dict[tuple[int, ...], Tensor] = {}  # copied to the device once
        self._cells = (1, 1)
        self._keys_values: dict[int, tuple[Tensor, Tensor]] = {}

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Remember which rows of the call are of negative prompts."""
        self._rows = None
        if self._is_active(call.index):
            last = len(self._prompt.tokens) - 1
            prompts = call.is_uncond or (False,)
            batch = len(call.sample) // len(prompts)
            rows = tuple(
                last if is_uncond else image % last
                for is_uncond in prompts
                for image in range(batch)
            )
            if rows not in self._known_rows:
                self._known_rows[rows] = torch.tensor(rows, device=call.sample.device)
            self._rows = self._known_rows[rows]
            self._cells = (call.sample.shape[-2], call.sample.shape[-1])
        return call

    @contextmanager
    def use(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Add it to the cross-attention of a UNet.

        Raises:
            BadFile: the adapter is of another architecture.
        """
        attentions = cross_attentions(unet)
        layers = self._prompt.adapter.layers
        if len(attentions) != len(layers):
            raise BadFile(
                f"'{self._prompt.adapter.name}' is for {len(layers)} layers of attention, and the checkpoint has"
                f" {len(attentions)}.",
                "Choose an IP-Adapter for this checkpoint.",
            )
        with ExitStack() as stack:
            for number, attention in enumerate(attentions):
                if self._prompt.weights[number] != 0:
                    hook = _AttentionHook(self, number, attention.heads)
                    assert attention.to_q is not None and attention.to_out is not None
                    for handle in (
                        attention.to_q.register_forward_hook(hook.after_query),
                        attention.to_out[0].register_forward_pre_hook(hook.before_output),
                    ):
                        stack.callback(handle.remove)
            yield
        self._keys_values.clear()

    def attend(self, number: int, query: Tensor, heads: int) -> Tensor | None:
        """Return what is added to the result of a layer's attention, [rows, cells, channels]; None: nothing.

        Args:
            number: Of the layer.
            query: [rows, cells, channels].
            heads: Of the attention.
        """
        if self._rows is None:
            return None
        keys, values = self._find_keys_values(number, query, heads)
        rows, cells, channels = query.shape
        split = query.view(rows, cells, heads, channels // heads).transpose(1, 2)
        result = functional.scaled_dot_product_attention(
            split, keys[self._rows], values[self._rows]
        )
        result = result.transpose(1, 2).reshape(rows, cells, channels)
        result = result * self._prompt.weights[number]
        region = self._region(cells)
        return result if region is None else result * region.to(result)

    def _find_keys_values(self, number: int, query: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of all tokens, [images + 1, heads, tokens, channels / heads], computed once."""
        if number not in self._keys_values:
            tokens = self._prompt.tokens.to(query)
            made = [
                functional.linear(tokens, weight.to(query))
                .unflatten(-1, (heads, -1))
                .transpose(1, 2)
                for weight in self._prompt.adapter.layers[number]
            ]
            self._keys_values[number] = made[0], made[1]
        return self._keys_values[number]

    def _region(self, cells: int) -> Tensor | None:
        """Return how much each cell of a layer gets, [1, cells, 1]."""
        region = self._prompt.region
        if region is None:
            return None
        size = size_of_cells(self._cells, cells)
        return functional.interpolate(region[None, None], size=size, mode="area").reshape(1, -1, 1)


class _AttentionHook:
    """The hooks of one layer: what its query was, and the sum before its last linear layer."""

    def __init__(self, extension: ImagePromptExtension, number: int, heads: int) -> None:
        self._extension, self._number, self._heads = extension, number, heads
        self._query: Tensor | None = None

    def after_query(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        """Remember the query."""
        self._query = output

    def before_output(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the attention's result with the image's."""
        assert self._query is not None, "attention makes its query first"
        added = self._extension.attend(self._number, self._query, self._heads)
        self._query = None
        return inputs if added is None else (inputs[0] + added.to(inputs[0].dtype), *inputs[1:])


def cross_attentions(unet: UNet2DConditionModel) -> list[Attention]:
    """Return the layers that attend to the text: down, up, and the middle, as IP-Adapter counts them."""
    parts: Sequence[nn.Module | None] = (unet.down_blocks, unet.up_blocks, unet.mid_block)
    return [
        module
        for part in parts
        if part is not None
        for name, module in part.named_modules()
        if name.endswith("attn2") and isinstance(module, Attention)
    ]

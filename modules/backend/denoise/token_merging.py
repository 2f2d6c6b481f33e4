"""Token merging: self-attention over fewer tokens (Bolya and Hoffman 2023, "Token Merging for Fast Stable Diffusion").

Of every 2x2 tokens the first is a target. The other tokens that resemble a target most are replaced by their mean with it
before self-attention, and get the target's result after it. Nothing is drawn at random, as in A1111.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

_SIDE = 2  # of the squares that have one target each


@dataclass(frozen=True)
class TokenMerge:
    """Which tokens of a sample are merged.

    Args:
        targets: Indices of the targets among all tokens, [targets].
        kept: Of the tokens that are neither targets nor merged, [rows, kept, 1].
        merged: Of those that are merged, [rows, merged, 1].
        merged_into: For each of the latter, the number of its target, [rows, merged, 1].
    """

    targets: Tensor
    kept: Tensor
    merged: Tensor
    merged_into: Tensor

    def merge(self, tokens: Tensor) -> Tensor:
        """Return fewer tokens, [rows, kept + targets, channels], of [rows, tokens, channels]."""
        width = tokens.shape[-1]
        targets = tokens[:, self.targets].scatter_reduce(
            1,
            self.merged_into.expand(-1, -1, width),
            tokens.gather(1, self.merged.expand(-1, -1, width)),
            reduce="mean",
        )
        return torch.cat([tokens.gather(1, self.kept.expand(-1, -1, width)), targets], dim=1)

    def unmerge(self, tokens: Tensor) -> Tensor:
        """Return all tokens again: each merged one is its target's."""
        width, kept_count = tokens.shape[-1], self.kept.shape[1]
        kept, targets = tokens[:, :kept_count], tokens[:, kept_count:]
        count = kept_count + self.merged.shape[1] + len(self.targets)
        result = tokens.new_empty(len(tokens), count, width)
        result[:, self.targets] = targets
        result.scatter_(1, self.kept.expand(-1, -1, width), kept)
        merged = targets.gather(1, self.merged_into.expand(-1, -1, width))
        return result.scatter_(1, self.merged.expand(-1, -1, width), merged)


def choose_tokens(tokens: Tensor, height: int, width: int, ratio: float) -> TokenMerge | None:
    """Return which tokens are merged; None if none is.

    Args:
        tokens: [rows, height * width, channels]; their likeness is the cosine between them.
        height: Rows of tokens of the sample.
        width: Columns.
        ratio: Share of all tokens that is merged, 0 to 1; targets never are.
    """
    targets, others = _split_tokens(height, width, tokens.device)
    count = min(int(tokens.shape[1] * ratio), len(others))
    if count <= 0 or not len(targets):
        return None
    directions = tokens / tokens.norm(dim=-1, keepdim=True)
    likeness = directions[:, others] @ directions[:, targets].transpose(-1, -2)
    best, target = likeness.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    merged, kept = order[:, :count], order[:, count:]
    return TokenMerge(
        targets,
        others[kept].unsqueeze(-1),
        others[merged].unsqueeze(-1),
        target.gather(1, merged).unsqueeze(-1),
    )


@lru_cache(maxsize=8)
def _split_tokens(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices of the targets and of the other tokens of a sample, made and copied once for each size.

    The device would have to be waited for to learn how many there are.
    """
    is_target = torch.zeros(height, width, dtype=torch.bool)
    last_row, last_column = height - height % _SIDE, width - width % _SIDE
    is_target[:last_row:_SIDE, :last_column:_SIDE] = True
    targets = is_target.flatten().nonzero().flatten()
    others = (~is_target).flatten().nonzero().flatten()
    return targets.to(device), others.to(device)


class _Merger:
    """The hooks of one UNet.

    Args:
        ratio: Share of the tokens that is merged.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._size = (0, 0)
        self._merge: TokenMerge | None = None

    def see_sample(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Remember the size of a call's sample, [rows, channels, height, width]."""
        self._size = (inputs[0].shape[-2], inputs[0].shape[-1])

    def see_block(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Choose the tokens of a block with as many as the sample has; smaller layers cost little."""
        height, width = self._size
        tokens = inputs[0]
        is_largest = tokens.shape[1] == height * width
        self._merge = choose_tokens(tokens, height, width, self._ratio) if is_largest else None

    def before_attention(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the inputs of self-attention, merged."""
        if self._merge is None:
            return inputs
        return (self._merge.merge(inputs[0]), *inputs[1:])

    def after_attention(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return the result for all tokens."""
        return output if self._merge is None else self._merge.unmerge(output)


@contextmanager
def merge_tokens(unet: UNet2DConditionModel, ratio: float) -> Iterator[None]:
    """Merge tokens in a UNet's self-attention, where it has as many as the sample has cells.

    Args:
        unet: The UNet.
        ratio: Share of the tokens that is merged, 0 to 1; 0 changes nothing.
    """
    with ExitStack() as stack:
        if ratio > 0:
            merger = _Merger(ratio)
            handles = [unet.register_forward_pre_hook(merger.see_sample)]
            for block in unet.modules():
                if isinstance(block, BasicTransformerBlock):
                    handles += [
                        block.register_forward_pre_hook(merger.see_block),
                        block.attn1.register_forward_pre_hook(merger.before_attention),
                        block.attn1.register_forward_hook(merger.after_attention),
                    ]
            for handle in handles:
                stack.callback(handle.remove)
        yield

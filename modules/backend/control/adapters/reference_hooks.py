"""Hooks of the layers that use reference images: they write what they see of one, and read it in the image's own call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.denoise.step_extensions import UNetCall

_LEAST_FIDELITY = 1e-5
_LEAST_VARIANCE = 1e-6


class Step:
    """What the layers do in the present call of the UNet.

    Attributes:
        mode: They write while the UNet evaluates a reference, and read while it evaluates the image.
        weight: Of the reference that is written.
        parts: Of the UNet that write: "attention", "norms".
        style_fidelity: How much of the references the negative prompt is kept from.
        is_uncond: For each row of the call, whether it is of the negative prompt.
    """

    def __init__(self) -> None:
        self.mode: Literal["", "write", "read"] = ""
        self.weight = 0.0
        self.parts: Collection[str] = ()
        self.style_fidelity = 0.0
        self.is_uncond: tuple[bool, ...] = ()

    def begin_writing(self, weight: float, parts: Collection[str]) -> None:
        """Let the layers write."""
        self.mode, self.weight, self.parts = "write", weight, parts

    def begin_reading(self, call: UNetCall, fidelities: Sequence[float]) -> None:
        """Let the layers read, if there is a reference."""
        prompts = call.is_uncond or (False,)
        batch = len(call.sample) // len(prompts)
        self.is_uncond = tuple(row for row in prompts for _ in range(batch))
        self.style_fidelity = sum(fidelities) / len(fidelities) if fidelities else 0.0
        self.mode = "read" if fidelities else ""

    def writes(self, part: str, least: float) -> bool:
        """Return whether a layer writes.

        Args:
            part: Of the UNet.
            least: The weight above which it does.
        """
        return self.mode == "write" and part in self.parts and self.weight > least

    def uncond_rows(self, rows: int) -> list[int]:
        """Return the rows of the negative prompt that are kept from the references.

        Args:
            rows: Of the layer's input: those of the call, each cut into as many tiles.
        """
        if self.style_fidelity <= _LEAST_FIDELITY:
            return []
        tiles = rows // len(self.is_uncond)
        uncond = [row for row in self.is_uncond for _ in range(tiles)]
        return [index for index, is_uncond in enumerate(uncond) if is_uncond]


class Bank(ABC):
    """What one layer saw of the references.

    Args:
        step: What the layers do.
        least: The weight above which a reference is written.
    """

    def __init__(self, step: Step, least: float) -> None:
        self._step = step
        self._least = least

    @abstractmethod
    def clear(self) -> None:
        """Forget the references of the call before."""


class AttentionBank(Bank):
    """The tokens of the references that a self-attention attends to in addition to its own.

    Tokens are taken before Hypertile and token merging, which work on the image's own tokens alone.

    Args:
        step: What the layers do.
        stack: Removes the hooks.
        block: Whose self-attention it is.
        least: The weight above which a reference is written.
    """

    def __init__(
        self, step: Step, stack: ExitStack, block: BasicTransformerBlock, least: float
    ) -> None:
        super().__init__(step, least)
        self._tokens: list[Tensor] = []
        attention: Attention = block.attn1
        processor: Any = attention.processor
        attention.set_processor(_Reader(self, processor))  # pyright: ignore[reportArgumentType] - it is called like one
        stack.callback(attention.set_processor, processor)
        stack.callback(block.norm1.register_forward_hook(self._write).remove)

    def clear(self) -> None:
        """Forget the tokens."""
        self._tokens = []

    def _write(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        if self._step.writes("attention", self._least):
            self._tokens.append(output)

    def attend(self, processor: Callable[..., Tensor], attention: Attention, x: Tensor) -> Tensor:
        """Return the result of a self-attention.

        Args:
            processor: Computes attention.
            attention: The layer.
            x: Its tokens, [rows, tokens, channels], or of all tiles of each row.
        """
        if self._step.mode != "read" or not self._tokens:
            return processor(attention, x)
        tiles = len(x) // len(self._tokens[0])
        # Others may have added channels that they take off again: those of a reference are zeros.
        width = x.shape[-1]
        tokens = [
            functional.pad(one, (0, width - one.shape[-1])).repeat_interleave(tiles, 0)
            for one in self._tokens
        ]
        result = processor(attention, x, torch.cat([x, *tokens], dim=1))
        rows = self._step.uncond_rows(len(x))
        if rows:
            fidelity = self._step.style_fidelity
            apart = processor(attention, x[rows])
            result[rows] = fidelity * apart + (1 - fidelity) * result[rows]
        return result


class _Reader:
    """An attention processor that attends to references, too, by another processor."""

    def __init__(self, bank: AttentionBank, inner: Callable[..., Tensor]) -> None:
        self._bank, self._inner = bank, inner

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the result of attention; the names are diffusers'."""
        if encoder_hidden_states is not None or attention_mask is not None:
            return self._inner(attn, hidden_states, encoder_hidden_states, attention_mask, **kwargs)
        return self._bank.attend(self._inner, attn, hidden_states)


class NormBank(Bank):
    """The means and deviations that the channels of a block's result get from the references (AdaIN).

    Args:
        step: What the layers do.
        stack: Removes the hook.
        module: Whose result it is.
        least: The weight above which a reference is written.
    """

    def __init__(self, step: Step, stack: ExitStack, module: nn.Module, least: float) -> None:
        super().__init__(step, least)
        self._moments: list[tuple[Tensor, Tensor]] = []  # variance, mean
        stack.callback(module.register_forward_hook(self._run).remove)

    def clear(self) -> None:
        """Forget the references."""
        self._moments = []

    def _run(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        x = output if isinstance(output, Tensor) else output[0]
        if self._step.writes("norms", self._least):
            self._moments.append(torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0))
        if self._step.mode != "read" or not self._moments:
            return output
        changed = self._adapt(x)
        return changed if isinstance(output, Tensor) else (changed, *output[1:])

    def _adapt(self, x: Tensor) -> Tensor:
        own_variance, own_mean = torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0)
        variances, means = zip(*self._moments, strict=True)
        variance, mean = torch.stack(variances).mean(0), torch.stack(means).mean(0)
        normal = (x - own_mean) / own_variance.clamp(min=_LEAST_VARIANCE).sqrt()
        adapted = normal * variance.clamp(min=_LEAST_VARIANCE).sqrt() + mean
        rows = self._step.uncond_rows(len(x))
        if rows:
            fidelity = self._step.style_fidelity
            adapted[rows] = fidelity * x[rows] + (1 - fidelity) * adapted[rows]
        return adapted.to(x.dtype)

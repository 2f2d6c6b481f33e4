"""The conditionings of one evaluation, brought to lengths that fit into as few calls of the UNet as possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modules.backend.conditioning.text import PromptConditioning
from modules.params.settings.guidance import GuidanceSettings


def conds_at_step(
    conditioning: PromptConditioning, index: int, settings: GuidanceSettings
) -> tuple[list[Tensor], Tensor]:
    """Return the conds and the uncond of an evaluation, counted from 0, padded as the settings say."""
    conds = _to_same_length([cond.at_step(index) for cond in conditioning.conds])
    uncond = conditioning.uncond.at_step(index)
    missing = conds[0].shape[1] - uncond.shape[1]
    if missing and settings.pad_cond_uncond_v0:
        return conds, _to_length(uncond, conds[0].shape[1])
    if missing and settings.pad_cond_uncond and conditioning.empty_cond is not None:
        empty = conditioning.empty_cond
        padding = empty.repeat(1, abs(missing) // empty.shape[1], 1)
        if missing > 0:
            return conds, torch.cat([uncond, padding], dim=1)
        return [torch.cat([cond, padding], dim=1) for cond in conds], uncond
    return conds, uncond


def group_by_call(
    conds: Sequence[Tensor], uncond: Tensor | None, settings: GuidanceSettings
) -> list[list[Tensor]]:
    """Return the conditionings by call of the UNet, the uncond first; each group has one length."""
    if not settings.batch_cond_uncond:
        return [[cond] for cond in ([uncond] if uncond is not None else []) + list(conds)]
    if uncond is None:
        return [list(conds)]
    return [[uncond, *conds]] if conds[0].shape == uncond.shape else [[uncond], list(conds)]


def _to_length(cond: Tensor, tokens: int) -> Tensor:
    """Return the conditioning truncated to a length, or padded to it with its last vector."""
    missing = max(0, tokens - cond.shape[1])
    return torch.cat([cond[:, :tokens], cond[:, -1:].expand(-1, missing, -1)], dim=1)


def _to_same_length(conds: list[Tensor]) -> list[Tensor]:
    """Return the sub-prompts of AND padded to the length of the longest, as in A1111."""
    longest = max(cond.shape[1] for cond in conds)
    return [cond if cond.shape[1] == longest else _to_length(cond, longest) for cond in conds]

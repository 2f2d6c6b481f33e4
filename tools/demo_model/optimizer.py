"""Muon for matrices and AdamW for the rest, with a running average of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

# Coefficients of three orthogonalizing iterations (Polar Express, arXiv:2505.16932).
ITERATIONS = (
    (8.2872, -23.5959, 17.3004),
    (4.1071, -2.9478, 0.5448),
    (3.9487, -2.9089, 0.5518),
)
# Parts of the names of the first and the last layer.
ENDS = ("conv_in", "conv_out", "embedding.weight")


def orthogonalize(gradient: torch.Tensor) -> torch.Tensor:
    """Return a matrix with the gradient's singular vectors and all singular values near 1."""
    flat = gradient.reshape(len(gradient), -1)
    is_tall = flat.shape[0] > flat.shape[1]
    x = flat.T if is_tall else flat
    x = x / (x.norm() * 1.02 + 1e-7)
    for a, b, c in ITERATIONS:
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.T if is_tall else x).reshape(gradient.shape)


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalized (Jordan 2024, kellerjordan.github.io/posts/muon)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        """Take matrices and convolution kernels; their first axis is the output."""
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002 - torch's signature
        """Move every weight by the learning rate along its orthogonalized momentum."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:  # part of a layout, but not used by this model
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalize(weight.grad.lerp(state["momentum"], group["momentum"]))
                wideness = max(1.0, len(weight) / (weight.numel() / len(weight))) ** 0.5
                weight.add_(update, alpha=-group["lr"] * wideness)


class Trainer:
    """Optimizers of one model, and the average of its weights that is kept as the result.

    Attributes:
        model: The model being trained.
        average: A copy of the model whose weights follow slowly.
    """

    def __init__(
        self,
        model: nn.Module,
        average: nn.Module,
        muon_lr: float,
        adam_lr: float,
        decay: float,
        ends: tuple[str, ...] = ENDS,
    ) -> None:
        """Split the weights: matrices between the first and the last layer, whose names hold `ends`, go to Muon."""
        self.model, self.average, self.decay = model, average, decay
        average.load_state_dict(model.state_dict())
        average.requires_grad_(requires_grad=False)
        named = list(model.named_parameters())
        inner = [p for n, p in named if p.ndim >= 2 and not any(e in n for e in ends)]
        ids = {id(p) for p in inner}
        rest = [p for _, p in named if id(p) not in ids]
        self.optimizers = [
            Muon(inner, muon_lr),
            torch.optim.AdamW(rest, adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.base_rates = (muon_lr, adam_lr)
        self.step_count = 0

    def step(self, rate: float) -> None:
        """Apply the gradients at a share of the base rates, clear them, update the average."""
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        for optimizer, base in zip(self.optimizers, self.base_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step_count += 1
        follow = 1 - min(self.decay, (self.step_count + 1) / (self.step_count + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), follow
            )

    def state(self) -> dict[str, object]:
        """Return everything that is needed to go on later."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step_count": self.step_count,
        }

    def restore(self, state: dict[str, object]) -> None:
        """Take up the state of an earlier run, or bare weights ("average") with new optimizers."""
        self.model.load_state_dict(state.get("model", state["average"]))
        self.average.load_state_dict(state["average"])
        if "optimizers" not in state:
            return
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step_count = state["step_count"]

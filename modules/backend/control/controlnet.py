"""A loaded ControlNet, and what it adds to the steps of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from torch import Tensor, nn

from modules.backend.control.empty_controlnet import ControlNet
from modules.backend.control.unit_schedule import UnitSchedule
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.backend.loading.layers import circular_padding

DOWN, MIDDLE = "down_block_additional_residuals", "mid_block_additional_residual"


class ControlNetwork:
    """A ControlNet whose hint encoder runs by itself: once for a control picture, where stock code runs it at every step.

    Args:
        network: Loaded. Its hint encoder is taken out of it.
        device: Where it computes; it lies there only while it is used.
        stays: Whether it stays on the device between its uses.
    """

    def __init__(self, network: ControlNet, device: torch.device, *, stays: bool) -> None:
        self.network = network
        self.device = device
        self._stays = stays
        self._encoder = network.controlnet_cond_embedding
        network.controlnet_cond_embedding = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue] - it gets what is encoded
        self._parts: tuple[nn.Module, ...] = (network, self._encoder)
        self._encoded: tuple[Tensor, bool, Tensor] | None = None

    @contextmanager
    def use(self, *, tiling: bool) -> Iterator[None]:
        """Have the network on the device, and its convolutions pad as those of the UNet.

        Args:
            tiling: Whether they pad circularly.
        """
        for part in self._parts:
            # What stays is there already: to look for hooks and at every weight would take as long as a hundredth of a step.
            if next(part.parameters()).device != self.device:
                part.to(self.device)
        try:
            with circular_padding(*self._parts, enabled=tiling):
                yield
        finally:
            if not self._stays:
                for part in self._parts:
                    part.to("cpu")
                self.forget()

    @torch.no_grad()
    def encode(self, hint: Tensor, *, tiling: bool = False) -> Tensor:
        """Return an encoded control picture, [1, channels, rows, columns]; the last one is remembered.

        Args:
            hint: [1, channels, height, width], float32 on the CPU, 0 to 1, or -1 where an inpainting one is masked.
            tiling: As in `use`.
        """
        last = self._encoded
        if last is not None and last[1] == tiling and torch.equal(last[0], hint):
            return last[2]
        encoded = self._encoder(hint.to(self.device, self.network.dtype))
        self._encoded = hint, tiling, encoded
        return encoded

    @property
    def remembers(self) -> bool:
        """Return whether an encoded control picture is remembered."""
        return self._encoded is not None

    def forget(self) -> None:
        """Forget the encoded control picture."""
        self._encoded = None

    @torch.no_grad()
    def outputs(self, call: UNetCall, encoded: Tensor, control_type: int) -> list[Tensor]:
        """Return the outputs for the rows of a call, that of the middle last.

        Args:
            call: Of the UNet.
            encoded: The control picture.
            control_type: Number of what it shows, for a Union model.
        """
        rows = len(call.sample)
        sample = call.sample[:, : self.network.config["in_channels"]]  # not what inpainting adds
        kwargs: dict[str, Any] = {"return_dict": False}
        if "added_cond_kwargs" in call.kwargs:
            kwargs["added_cond_kwargs"] = call.kwargs["added_cond_kwargs"]
        hint: Any = encoded
        if isinstance(self.network, ControlNetUnionModel):
            hint = [encoded.expand(rows, -1, -1, -1)]
            types = torch.zeros(rows, self.network.config["num_control_type"], device=sample.device)
            types[:, control_type] = 1
            kwargs |= {"control_type": types, "control_type_idx": [control_type]}
        down, middle = self.network(
            sample, call.timestep, call.encoder_hidden_states, controlnet_cond=hint, **kwargs
        )
        return [*down, middle]


@dataclass
class ControlNetStep(StepExtension):
    """Adds the outputs of a ControlNet to those of the UNet's encoder half.

    Args:
        network: On the device while the run lasts.
        encoded: The control picture.
        schedule: In which evaluations it counts.
        weights: Of each output.
        is_cond_only: Whether the negative prompt's prediction is left alone.
        pools: Whether an output is reduced to its mean: of a picture's colours, not of its places.
        region: [1, 1, height, width], 1 where it counts; None everywhere.
        control_type: See `ControlNetwork.outputs`.
    """

    network: ControlNetwork
    encoded: Tensor
    schedule: UnitSchedule
    weights: Sequence[float]
    is_cond_only: bool = False
    pools: bool = False
    region: Tensor | None = None
    control_type: int = 0

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the call with the outputs added to those of other units."""
        if not self.schedule.counts_at(call.index):
            return call
        rows = self._rows(call)
        if rows is not None and not len(rows):
            return call
        part = call if rows is None else select_rows(call, rows)
        outputs = self.network.outputs(part, self.encoded, self.control_type)
        outputs = [self._weigh(output, w) for output, w in zip(outputs, self.weights, strict=True)]
        if rows is not None:
            outputs = [_spread(output, rows, len(call.sample)) for output in outputs]
        return add_outputs(call, outputs)

    def _rows(self, call: UNetCall) -> Tensor | None:
        """Return the rows that it counts for, None for all."""
        # As sd-webui-controlnet: a mean of the colours does not count for the negative prompt either.
        if not (self.is_cond_only or self.pools) or not any(call.is_uncond):
            return None
        batch = len(call.sample) // len(call.is_uncond)
        rows = [
            prompt * batch + image
            for prompt, is_uncond in enumerate(call.is_uncond)
            if not is_uncond
            for image in range(batch)
        ]
        return torch.tensor(rows, dtype=torch.long, device=call.sample.device)

    def _weigh(self, output: Tensor, weight: float) -> Tensor:
        if weight != 1:
            output = output * weight
        if self.region is not None:
            region = self.region.to(output.device, output.dtype)
            output = output * nn.functional.interpolate(
                region, size=output.shape[-2:], mode="bilinear"
            )
        return output.mean(dim=(2, 3), keepdim=True) if self.pools else output


def select_rows(call: UNetCall, rows: Tensor) -> UNetCall:
    """Return a call with some of its rows alone; its prompts are no longer distinguished."""
    added = call.kwargs.get("added_cond_kwargs")
    kwargs = dict(call.kwargs)
    if added is not None:
        kwargs["added_cond_kwargs"] = {
            name: value[rows] if isinstance(value, Tensor) else value
            for name, value in added.items()
        }
    states = call.encoder_hidden_states[rows]
    return replace(
        call,
        sample=call.sample[rows],
        encoder_hidden_states=states,
        kwargs=kwargs,
        is_uncond=(),
    )


def _spread(output: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return outputs of some rows as those of all rows, zero elsewhere."""
    whole = output.new_zeros((count, *output.shape[1:]))
    whole[rows] = output
    return whole


def add_outputs(call: UNetCall, outputs: Sequence[Tensor]) -> UNetCall:
    """Return a call whose UNet adds these outputs, that of the middle last, to those of its encoder half."""
    *down, middle = outputs
    if DOWN in call.kwargs:
        down = [one + other for one, other in zip(call.kwargs[DOWN], down, strict=True)]
        middle = call.kwargs[MIDDLE] + middle
    return replace(call, kwargs={**call.kwargs, DOWN: tuple(down), MIDDLE: middle})

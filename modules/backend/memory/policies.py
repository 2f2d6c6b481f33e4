"""POLICIES: which parts of a model stay on the device. Automatic takes the first one for which there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from modules.backend.components import Components, Precision
from modules.backend.memory.estimate import UNET_BYTES
from modules.backend.memory.offload import networks_of, offload_in_turn, stream_blocks
from modules.core.errors import OutOfMemory
from modules.models.model_spec import ModelSpec
from modules.models.weight_counts import WeightCounts

AUTOMATIC = "Automatic"
_FP8_BYTES = 1
_GB = 1e9


@dataclass(frozen=True)
class ModelBytes:
    """The memory of a model's parts, in bytes.

    Args:
        unet: The weights of the UNet.
        unet_block: Of its largest block.
        vae: Of the VAE.
        text_encoders: Of each text encoder.
        working: What one image of the native size needs in addition to the weights.
    """

    unet: int
    unet_block: int
    vae: int
    text_encoders: tuple[int, ...]
    working: int

    @property
    def largest_other(self) -> int:
        """Return the largest part other than the UNet."""
        return max(self.vae, *self.text_encoders, 0)


@dataclass(frozen=True)
class MemoryPolicy:
    """One row of POLICIES.

    Args:
        name: As the option has it.
        flag: The flag that requests it; "" for none.
        weight_bytes: Returns the most bytes of weights that are on the device at a time.
        place: Puts a model's networks, which are on the CPU unless `loads_on_device`, where they belong.
        loads_on_device: Whether weights are read to the device at once.
    """

    name: str
    flag: str
    weight_bytes: Callable[[ModelBytes], int]
    place: Callable[[Components, torch.device], None]
    loads_on_device: bool = False


def _keep_all(components: Components, device: torch.device) -> None:
    for network in networks_of(components):
        network.to(device)


def _offload_idle(components: Components, device: torch.device) -> None:
    offload_in_turn(networks_of(components), device)


def _stream_unet(components: Components, device: torch.device) -> None:
    unet, *others = networks_of(components)
    assert unet is components.unet
    stream_blocks(components.unet, others, device)


# The first that fits is the fastest.
POLICIES: tuple[MemoryPolicy, ...] = (
    MemoryPolicy(
        "All on the device",
        "",
        lambda size: size.unet + size.vae + sum(size.text_encoders),
        _keep_all,
        loads_on_device=True,
    ),
    MemoryPolicy(
        "Idle parts off the device",
        "--medvram",
        lambda size: max(size.unet, size.largest_other),
        _offload_idle,
    ),
    # A block is still there while the next one comes.
    MemoryPolicy(
        "UNet in blocks",
        "--lowvram",
        lambda size: max(2 * size.unet_block, size.largest_other),
        _stream_unet,
    ),
)


def measure(spec: ModelSpec, counts: WeightCounts, precision: Precision) -> ModelBytes:
    """Return the memory that a model needs in a precision.

    Args:
        spec: The model.
        counts: Its weights.
        precision: Dtype of each component.
    """
    unet_bytes, text_bytes = precision.unet.itemsize, precision.text_encoder.itemsize
    if spec.stores_fp8:
        unet_bytes = text_bytes = _FP8_BYTES
    cells = (spec.family.native_size // spec.family.latent_format.pixels_per_cell) ** 2
    per_cell = UNET_BYTES * precision.unet.itemsize // torch.float32.itemsize
    return ModelBytes(
        unet=counts.unet * unet_bytes,
        unet_block=counts.unet_block * unet_bytes,
        vae=counts.vae * precision.vae.itemsize,
        text_encoders=tuple(count * text_bytes for count in counts.text_encoders),
        working=2 * per_cell * counts.unet_width * cells,  # prompt and negative prompt
    )


def choose_policy(
    spec: ModelSpec,
    size: ModelBytes,
    free_bytes: int | None,
    lowest: int = 0,
    policies: Sequence[MemoryPolicy] = POLICIES,
) -> MemoryPolicy:
    """Return the policy that a model is loaded with.

    Args:
        spec: The model, with the name of the policy that the options ask for.
        size: Its memory.
        free_bytes: Of the device; None for one whose memory is that of the computer, where there is nothing to gain.
        lowest: Index of the first one that Automatic may take, after a lack of memory.
        policies: All of them.

    Raises:
        OutOfMemory: the policy, or for Automatic every one, needs more than is free; the message names one that fits.
    """
    if free_bytes is None:
        return policies[0]
    if spec.memory_policy == AUTOMATIC:
        allowed = policies[lowest:]
        fitting = [row for row in allowed if row.weight_bytes(size) + size.working <= free_bytes]
        # What is needed in addition to weights is a guess, so it refuses nothing.
        chosen = fitting[0] if fitting else allowed[-1]
    else:
        chosen = next(row for row in policies if row.name == spec.memory_policy)
    if chosen.weight_bytes(size) <= free_bytes:
        return chosen
    raise OutOfMemory(
        f"{spec.checkpoint.name} needs {chosen.weight_bytes(size) / _GB:.1f} GB of the device with"
        f" '{chosen.name}', and {free_bytes / _GB:.1f} GB are free.",
        suggest(spec, size, free_bytes, policies),
    )


def suggest(
    spec: ModelSpec, size: ModelBytes, free_bytes: int, policies: Sequence[MemoryPolicy] = POLICIES
) -> str:
    """Return what to do about a model that does not fit: the first policy that would, or smaller weights."""
    for row in policies:
        if row.weight_bytes(size) <= free_bytes:
            flag = f" (start with {row.flag})" if row.flag else ""
            return f"Choose '{row.name}' in the Models settings{flag}."
    if not spec.stores_fp8:
        return (
            "Store the weights in 8 bits (the option FP8 weight), or work on the CPU (--use-cpu)."
        )
    return "Work on the CPU (start with --use-cpu)."


def check_computer(
    spec: ModelSpec, size: ModelBytes, free_bytes: int, half: ModelBytes | None = None
) -> None:
    """Refuse weights for which the computer has no room: the system would end the program.

    Args:
        spec: The model.
        size: Its memory while it is loaded, before weights are stored in 8 bits.
        free_bytes: Of the computer.
        half: Its memory in 16 bits, if the device computes in them.

    Raises:
        OutOfMemory: with what would fit.
    """

    def whole(size: ModelBytes) -> int:
        return size.unet + size.vae + sum(size.text_encoders)

    if whole(size) <= free_bytes:
        return
    advice = "Close other programs, or choose a smaller checkpoint."
    if half is not None and whole(half) <= free_bytes:
        advice = (
            f"Set Precision to Half in the Models settings, which needs {whole(half) / _GB:.1f} GB."
        )
    raise OutOfMemory(
        f"{spec.checkpoint.name} needs {whole(size) / _GB:.1f} GB of memory, and {free_bytes / _GB:.1f} GB are free.",
        advice,
    )

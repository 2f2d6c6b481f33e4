"""Reference images: the UNet evaluates a noisy reference at every step, and its attention and norms then use the activations.

As the preprocessors reference_only (self-attention also attends to the reference's tokens), reference_adain (each channel gets
the reference's mean and deviation) and reference_adain+attn of sd-webui-controlnet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from modules.backend.control.adapters.latent_fixes import alpha_at
from modules.backend.control.adapters.reference_hooks import (
    AttentionBank,
    Bank,
    NormBank,
    Step,
)
from modules.backend.control.adapters.unet_places import Block, input_blocks, output_blocks
from modules.backend.denoise.deep_cache import find_cache
from modules.backend.denoise.step_extensions import StepExtension, UNetCall

SharedPart = Literal["attention", "norms"]
# By the preprocessor's name.
SHARED_PARTS: dict[str, frozenset[SharedPart]] = {
    "reference_only": frozenset({"attention"}),
    "reference_adain": frozenset({"norms"}),
    "reference_adain+attn": frozenset({"attention", "norms"}),
}
_TEXT_KWARGS = (
    "added_cond_kwargs",
    "class_labels",
)  # no residuals of other units reach the reference


def find_style_fidelity(
    threshold: float, control_mode: str, *, is_sdxl: bool, is_hires_pass: bool
) -> float:
    """Return how much of the reference the negative prompt is kept from, 0 to 1, as sd-webui-controlnet chooses it.

    Args:
        threshold: The unit's first threshold.
        control_mode: Of the unit.
        is_sdxl: Whether the checkpoint is an SDXL, whose attention bears less.
        is_hires_pass: Whether it is the second pass of hires fix.
    """
    fidelity = min(max(threshold, 0.0), 1.0)
    if control_mode == "ControlNet is more important":
        return 1.0
    if control_mode == "My prompt is more important" or is_hires_pass:
        return 0.0
    return fidelity**3 if is_sdxl else fidelity


@dataclass(frozen=True)
class Reference:
    """What a unit shares of its image.

    Args:
        latents: Of the image, as the UNet's own, [1 or batch, channels, rows, columns].
        parts: Of the UNet that use it.
        weight: More of the layers use it the larger it is; 1 lets all self-attention do.
        style_fidelity: See `find_style_fidelity`.
        is_active: Whether it takes part in an evaluation, by its index.
        seeds: Of each image of the batch, for the noise on the reference.
        unit: Number of the unit, which has noise of its own.
    """

    latents: Tensor
    parts: frozenset[SharedPart]
    weight: float
    style_fidelity: float
    is_active: Callable[[int], bool]
    seeds: tuple[int, ...]
    unit: int = 0


class ReferenceExtension(StepExtension):
    """Shows the UNet the references of all units before each of its calls.

    Args:
        references: Of the units.
        alphas_cumprod: Of the checkpoint, [timesteps].
    """

    def __init__(self, references: Sequence[Reference], alphas_cumprod: Tensor) -> None:
        self._references = references
        self._alphas_cumprod = alphas_cumprod
        self._noise = [_ReferenceNoise(reference) for reference in references]
        self._step = Step()
        self._banks: Sequence[Bank] = ()
        self._unet: UNet2DConditionModel | None = None

    @contextmanager
    def use(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Let the layers of a UNet use the references."""
        with ExitStack() as stack:
            self._banks = [
                *(
                    AttentionBank(self._step, stack, block, least)
                    for block, least in attention_places(unet)
                    if self._shares("attention")
                ),
                *(
                    NormBank(self._step, stack, module, least)
                    for module, least in norm_places(unet)
                    if self._shares("norms")
                ),
            ]
            self._unet = unet
            yield
        self._unet, self._banks = None, ()

    def _shares(self, part: SharedPart) -> bool:
        return any(part in reference.parts for reference in self._references)

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Run the UNet on the references; the call itself stays as it is."""
        for bank in self._banks:
            bank.clear()
        active = [one for one in self._references if one.is_active(call.index)]
        for number, reference in enumerate(self._references):
            if reference in active:
                self._show(reference, self._noise[number], number, call)
        self._step.begin_reading(call, [one.style_fidelity for one in active])
        return call

    def _show(
        self, reference: Reference, noise: _ReferenceNoise, number: int, call: UNetCall
    ) -> None:
        assert self._unet is not None, "its calls are within `use`"
        prompts = max(1, len(call.is_uncond))
        alpha = alpha_at(self._alphas_cumprod, call)
        latents = reference.latents.to(call.sample.device, torch.float32)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise.at(call, latents)
        sample = self._with_channels(noisy, latents, call, prompts)
        kwargs = {name: call.kwargs[name] for name in _TEXT_KWARGS if name in call.kwargs}
        self._step.begin_writing(reference.weight, reference.parts)
        cache = find_cache(self._unet)
        with cache.apart(f"reference {number}") if cache is not None else ExitStack():
            self._unet(
                sample,
                call.timestep,
                encoder_hidden_states=call.encoder_hidden_states,
                return_dict=False,
                **kwargs,
            )

    def _with_channels(
        self, noisy: Tensor, latents: Tensor, call: UNetCall, prompts: int
    ) -> Tensor:
        """Return the UNet's input for a reference: an inpainting UNet gets all of it, others their own channels."""
        batch = len(call.sample) // prompts
        rows = noisy.expand(batch, -1, -1, -1).repeat(prompts, 1, 1, 1).to(call.sample.dtype)
        extra = call.sample[:, latents.shape[1] :]
        if extra.shape[1] == latents.shape[1] + 1:
            known = latents.expand(batch, -1, -1, -1).repeat(prompts, 1, 1, 1)
            extra = torch.cat([torch.zeros_like(known[:, :1]), known], dim=1).to(rows.dtype)
        return torch.cat([rows, extra], dim=1) if extra.shape[1] else rows


class _ReferenceNoise:
    """The noise on a reference: one draw for each image and evaluation, the same for all prompts.

    Args:
        reference: Its seeds are those of the images.
    """

    # So that it is not the noise that the image itself begins with.
    _OFFSET = 0x5EED_0F_4E_F

    def __init__(self, reference: Reference) -> None:
        self._generators = [
            torch.Generator().manual_seed((seed + self._OFFSET + reference.unit) % 2**63)
            for seed in reference.seeds
        ]
        self._index = -1
        self._drawn: Tensor | None = None

    def at(self, call: UNetCall, latents: Tensor) -> Tensor:
        """Return the noise of an evaluation, [batch, channels, rows, columns]."""
        if self._drawn is None or call.index != self._index:
            shape = latents.shape[1:]
            drawn = [torch.randn(shape, generator=one) for one in self._generators]
            self._drawn, self._index = torch.stack(drawn).to(latents.device), call.index
        return self._drawn


def attention_places(unet: UNet2DConditionModel) -> list[tuple[BasicTransformerBlock, float]]:
    """Return the transformer blocks, each with the weight above which it uses a reference: the widest come first."""
    parts: Sequence[nn.Module | None] = (unet.down_blocks, unet.mid_block, unet.up_blocks)
    blocks = [
        module
        for part in parts
        if part is not None
        for module in part.modules()
        if isinstance(module, BasicTransformerBlock)
    ]
    blocks.sort(key=lambda block: -_width(block))
    return [(block, index / len(blocks)) for index, block in enumerate(blocks)]


def _width(block: BasicTransformerBlock) -> int:
    norm: Any = block.norm1
    return int(norm.normalized_shape[0])


def norm_places(unet: UNet2DConditionModel) -> list[tuple[nn.Module, float]]:
    """Return modules whose results get a reference's mean and deviation, each with the weight above which they do.

    Of LDM's blocks, as sd-webui-controlnet chooses them: all but those of the largest samples, from the middle outwards.
    """
    per_level = len(list(_children(unet.down_blocks[0], "resnets"))) + 2  # conv_in or a downsampler
    down = [block for block in input_blocks(unet)[per_level:] if _is_resnet(block)]
    all_up = output_blocks(unet)
    up = all_up[: 2 * len(all_up) // 3]
    middle = [] if unet.mid_block is None else [(unet.mid_block, 0.0)]
    return [
        *middle,
        *((block[-1], 2 * (1 - index / len(down))) for index, block in enumerate(down)),
        *((block[-1], 2 * index / len(up)) for index, block in enumerate(up)),
    ]


def _children(module: nn.Module, name: str) -> Iterator[nn.Module]:
    yield from getattr(module, name)


def _is_resnet(block: Block) -> bool:
    return hasattr(block[0], "time_emb_proj")

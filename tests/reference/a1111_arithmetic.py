"""The order of A1111's arithmetic on a processor, put into this program: what remains between the two is no rounding.

Each part computes what it replaces. Together, on a processor of the kind that made the images, they leave latents and
pixels equal to the last bit; without one of them rounding errors of 1e-7 grow to single levels in 0.02 % of the values,
and in a few cases in more.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPTextModelWithProjection

from modules.backend import vae
from modules.backend.conditioning.text import Cond
from modules.backend.denoise.denoiser import Denoised, Denoiser
from modules.backend.denoise.guidance import conds_at_step, group_by_call
from modules.backend.loading import empty_models
from modules.backend.pipelines import stable_diffusion
from modules.backend.upscale.network import UpscalerNetwork

_SDXL_SCALE = 0.13025


def use_arithmetic_of_a1111(patch: pytest.MonkeyPatch) -> None:
    """Compute as A1111 does, in models that are loaded from now on; its attention is chosen by an option (InvokeAI).

    Args:
        patch: Undoes it.
    """
    patch.setattr(CLIPAttention, "forward", _attend_in_clip)
    patch.setattr(CLIPTextModelWithProjection, "forward", _projecting(CLIPTextModelWithProjection))
    patch.setattr(stable_diffusion, "Denoiser", KDiffusionDenoiser)
    patch.setattr(Transformer2DModel, "_get_output_for_continuous_inputs", _finish_transformer)
    with_exact_norms = empty_models.with_exact_norms

    def with_norms(network: nn.Module) -> nn.Module:
        """Leave group norms the layout that they get, as LDM does; of SDXL it is contiguous anyway."""
        return network if isinstance(network, UNet2DConditionModel) else with_exact_norms(network)

    patch.setattr(empty_models, "with_exact_norms", with_norms)
    patch.setattr(empty_models, "make_empty_vae", _with_convolutions(empty_models.make_empty_vae))
    patch.setattr(vae, "denormalize", lambda model, latents: _inverse_scale(model) * latents)
    patch.setattr(UpscalerNetwork, "_to_pixels", _channels_last(UpscalerNetwork._to_pixels))


class KDiffusionDenoiser(Denoiser):
    """Multiplies by the scales of k-diffusion's wrappers, in float32, and guides what each prompt predicts as x0."""

    def __call__(self, x: Tensor, sigma: float, index: int) -> Denoised:
        if self._sampler.family.mask_before_denoising or self._guidance.name != "CFG":
            return super().__call__(x, sigma, index)  # no wrapper of k-diffusion
        evaluation = (
            self._known[index] if index < len(self._known) else self._evaluation(index, sigma)
        )
        level = torch.tensor(sigma, dtype=torch.float32)
        variance = level**2 + 1
        model_input = x * (1 / variance**0.5)
        for extension in self._extensions:
            model_input = extension.before(model_input, evaluation.timestep)
        conds, uncond = conds_at_step(self._conditioning, index, self._settings)
        outputs = self._outputs(model_input, [*conds], uncond, index, sigma)
        if self._prediction.name == "v_prediction":
            x0s = [out * (-level / variance**0.5) + x * (1 / variance) for out in outputs]
        else:
            x0s = [x + out * -level for out in outputs]
        uncond_x0, *cond_x0s = x0s
        x0 = uncond_x0
        for weight, cond_x0 in zip(self._conditioning.weights, cond_x0s, strict=True):
            x0 = x0 + (cond_x0 - uncond_x0) * (weight * self._cfg_scale)
        for extension in self._extensions:
            x0 = extension.after(x0, sigma)
        return Denoised(x0, uncond_x0 if self._sampler.needs_uncond else None)

    def _outputs(
        self, model_input: Tensor, conds: list[Cond], uncond: Cond, index: int, sigma: float
    ) -> list[Tensor]:
        evaluation = self._evaluation(index, sigma)
        groups = group_by_call(conds, uncond, self._settings, self._conds_per_call)
        return [
            output
            for group in groups
            for output in self._call_unet(model_input, group, evaluation, uncond)
        ]


_stock_clip_attention = CLIPAttention.forward


def _attend_in_clip(
    layer: CLIPAttention, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Return softmax((scale query) key^T) value; transformers 4.30 has no other attention. OpenCLIP has PyTorch's."""
    if layer.config.hidden_act == "gelu":
        return _stock_clip_attention(layer, hidden_states, attention_mask, **kwargs)
    rows, tokens, width = hidden_states.shape
    queries, keys, values = (
        projected.view(rows, tokens, layer.num_heads, -1)
        .transpose(1, 2)
        .reshape(rows * layer.num_heads, tokens, -1)
        for projected in (
            layer.q_proj(hidden_states) * layer.scale,
            layer.k_proj(hidden_states),
            layer.v_proj(hidden_states),
        )
    )
    mask = torch.full((tokens, tokens), torch.finfo(torch.float32).min).triu(1)
    weights = (torch.bmm(queries, keys.transpose(1, 2)) + mask).softmax(dim=-1)
    attended = torch.bmm(weights, values).view(rows, layer.num_heads, tokens, -1)
    return layer.out_proj(attended.transpose(1, 2).reshape(rows, tokens, width)), None


def _projecting(stock: type[CLIPTextModelWithProjection]) -> Any:
    """Return a forward that projects by a matrix of [width, projected], as OpenCLIP keeps it."""
    forward = stock.forward

    def project(model: CLIPTextModelWithProjection, *args: Any, **kwargs: Any) -> Any:
        matrix = model.text_projection.weight.t().contiguous()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model.text_projection, "forward", lambda pooled: pooled @ matrix)
            return forward(model, *args, **kwargs)

    return project


def _finish_transformer(
    layer: Transformer2DModel,
    hidden_states: Tensor,
    residual: Tensor,
    batch_size: int,
    height: int,
    width: int,
    inner_dim: int,
) -> Tensor:
    """Return the output; after a 1x1 convolution, which A1111's own forward has for LDM alone, it is channels last."""
    shape = batch_size, height, width, inner_dim
    if layer.use_linear_projection:
        projected = layer.proj_out(hidden_states).reshape(shape).permute(0, 3, 1, 2).contiguous()
        return projected + residual
    return layer.proj_out(hidden_states.reshape(shape).permute(0, 3, 1, 2)) + residual


class ConvolvedAttention:
    """Attention of a VAE whose projections are 1x1 convolutions.

    Args:
        is_sdxl: Whether it attends by PyTorch's function, as sgm does, or by plain products, as LDM does.
    """

    def __init__(self, is_sdxl: bool) -> None:
        self._is_sdxl = is_sdxl

    def __call__(
        self,
        layer: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return what the layer computes; the arguments are those of the stock processor."""
        del encoder_hidden_states, attention_mask, temb
        rows, channels, height, width = hidden_states.shape
        assert layer.group_norm is not None and layer.to_k is not None and layer.to_v is not None
        normed = layer.group_norm(hidden_states)
        query, key, value = (
            _convolve(normed, one).flatten(2) for one in (layer.to_q, layer.to_k, layer.to_v)
        )
        if self._is_sdxl:
            heads = (one.mT.contiguous().unsqueeze(1) for one in (query, key, value))
            attended = functional.scaled_dot_product_attention(*heads).squeeze(1).mT
        else:
            weights = (torch.bmm(query.mT, key) * channels**-0.5).softmax(dim=2)
            attended = torch.bmm(value, weights.mT)
        result = attended.reshape(rows, channels, height, width)
        assert layer.to_out is not None
        return hidden_states + _convolve(result, layer.to_out[0])


def _convolve(values: Tensor, layer: nn.Module) -> Tensor:
    linear = cast("nn.Linear", layer)
    return functional.conv2d(values, linear.weight[:, :, None, None], linear.bias)


def _with_convolutions(make: Any) -> Any:
    def make_empty_vae(config: Any) -> AutoencoderKL:
        model: AutoencoderKL = make(config)
        processor = ConvolvedAttention(model.config["scaling_factor"] == _SDXL_SCALE)
        for layer in model.modules():
            if isinstance(layer, Attention):
                layer.processor = processor  # pyright: ignore[reportAttributeAccessIssue] - it is called alike
        return model

    return make_empty_vae


def _inverse_scale(model: AutoencoderKL) -> float:
    return 1 / model.config["scaling_factor"]


def _channels_last(to_pixels: Any) -> Any:
    def make_pixels(network: UpscalerNetwork, image: Any) -> Tensor:
        pixels: Tensor = to_pixels(network, image)
        return pixels.contiguous(memory_format=torch.channels_last)

    return make_pixels

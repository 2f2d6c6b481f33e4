"""The order of A1111's arithmetic on a processor, put into this program: what remains between the two is no rounding.

Each part computes what it replaces. Together, on a processor of the kind that made the images, they leave latents equal
to the last bit; without one of them rounding errors of 1e-7 grow to single levels in 0.02 % of the values, and in a few
images in more.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPTextModelWithProjection

from modules.backend.denoise.denoiser import Denoised, Denoiser
from modules.backend.denoise.guidance import conds_at_step, group_by_call


def use_arithmetic_of_a1111(patch: pytest.MonkeyPatch) -> None:
    """Compute as A1111 does from now on; its attention is chosen by an option (InvokeAI).

    Args:
        patch: Undoes it.
    """
    patch.setattr(CLIPAttention, "forward", _attend_in_clip)
    patch.setattr(CLIPTextModelWithProjection, "forward", _project)
    patch.setattr(Denoiser, "__call__", _denoise)
    patch.setattr(UNet2DConditionModel, "forward", _predict_with_norms_of_any_layout)
    patch.setattr(Transformer2DModel, "_get_output_for_continuous_inputs", _finish_transformer)


_stock_denoise = Denoiser.__call__


def _denoise(denoiser: Denoiser, x: Tensor, sigma: float, index: int) -> Denoised:
    """Multiply by the scales of k-diffusion's wrappers, in float32, and guide what each prompt predicts as x0."""
    if denoiser._sampler.family.mask_before_denoising or denoiser._guidance.name != "CFG":
        return _stock_denoise(denoiser, x, sigma, index)  # no wrapper of k-diffusion
    evaluation = denoiser._evaluation(index, sigma)
    level = torch.tensor(sigma, dtype=torch.float32)
    variance = level**2 + 1
    model_input = x * (1 / variance**0.5)
    for extension in denoiser._extensions:
        model_input = extension.before(model_input, evaluation.timestep)
    conds, uncond = conds_at_step(denoiser._conditioning, index, denoiser._settings)
    groups = group_by_call([*conds], uncond, denoiser._settings, denoiser._conds_per_call)
    outputs = [
        output
        for group in groups
        for output in denoiser._call_unet(model_input, group, evaluation, uncond)
    ]
    if denoiser._prediction.name == "v_prediction":
        x0s = [out * (-level / variance**0.5) + x * (1 / variance) for out in outputs]
    else:
        x0s = [x + out * -level for out in outputs]
    uncond_x0, *cond_x0s = x0s
    x0 = uncond_x0
    for weight, cond_x0 in zip(denoiser._conditioning.weights, cond_x0s, strict=True):
        x0 = x0 + (cond_x0 - uncond_x0) * (weight * denoiser._cfg_scale)
    for extension in denoiser._extensions:
        x0 = extension.after(x0, sigma)
    return Denoised(x0, uncond_x0 if denoiser._sampler.needs_uncond else None)


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


_stock_projection = CLIPTextModelWithProjection.forward


def _project(model: CLIPTextModelWithProjection, *args: Any, **kwargs: Any) -> Any:
    """Project by a matrix of [width, projected], as OpenCLIP keeps it."""
    matrix = model.text_projection.weight.t().contiguous()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.text_projection, "forward", lambda pooled: pooled @ matrix)
        return _stock_projection(model, *args, **kwargs)


_stock_prediction = UNet2DConditionModel.forward


def _predict_with_norms_of_any_layout(unet: UNet2DConditionModel, *args: Any, **kwargs: Any) -> Any:
    """Leave group norms the layout that they get, as LDM does; this program makes it contiguous."""
    for layer in unet.modules():
        if isinstance(layer, nn.GroupNorm):
            layer._forward_pre_hooks.clear()
    return _stock_prediction(unet, *args, **kwargs)


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

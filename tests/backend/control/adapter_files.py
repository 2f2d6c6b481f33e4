"""Writes tiny adapters with seeded random weights, in the layouts in which they are published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import T2IAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from modules.models.files.scan import ModelFile, scan_folder

VISION_WIDTH, VISION_EMBEDDING, CONTEXT = 128, 24, 32


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 8


def random_image(width: int = 50, height: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, tensors: Mapping[str, Tensor]) -> ModelFile:
    """Write a file, as .safetensors or, by its suffix, as torch does; "a.b" is nested there where a is a group."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(contiguous, path)
    elif all(name.startswith(("image_proj.", "ip_adapter.")) for name in contiguous):
        nested: dict[str, dict[str, Tensor]] = {}
        for name, tensor in contiguous.items():
            group, _, key = name.partition(".")
            nested.setdefault(group, {})[key] = tensor
        torch.save(nested, path)
    else:
        torch.save(contiguous, path)
    (file,) = scan_folder(path.parent, (path.name,))
    return file


def seeded(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Return the module with seeded random weights, without gradients."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 8
    return module.eval().requires_grad_(False)


def tiny_unet(seed: int = 0) -> UNet2DConditionModel:
    """Return a UNet with the four sizes of SD 1.x."""
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 48, 48),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    return seeded(unet, seed)  # pyright: ignore[reportReturnType]


def tiny_sdxl_unet(seed: int = 0) -> UNet2DConditionModel:
    """Return a UNet with the three sizes and several transformer layers of SDXL."""
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 48),
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        layers_per_block=2,
        transformer_layers_per_block=[1, 2, 3],
        cross_attention_dim=CONTEXT,
        attention_head_dim=2,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    )
    return seeded(unet, seed)  # pyright: ignore[reportReturnType]


def vision_encoder(
    seed: int = 0, embedding: int = VISION_EMBEDDING
) -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=96,
        projection_dim=embedding,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=7,
        hidden_act="gelu",
    )
    return seeded(CLIPVisionModelWithProjection(config), seed)  # pyright: ignore[reportReturnType]


def open_clip_vision_weights(encoder: CLIPVisionModelWithProjection) -> dict[str, Tensor]:
    """Return an image encoder's weights by OpenCLIP's names."""
    top = {
        "vision_model.embeddings.class_embedding": "class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "positional_embedding",
        "vision_model.pre_layrnorm": "ln_pre",
        "vision_model.post_layernorm": "ln_post",
    }
    layer = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    source = encoder.state_dict()
    found = {"visual.proj": source["visual_projection.weight"].T}
    for key, value in source.items():
        module, _, leaf = key.rpartition(".")
        if key in top:
            found[f"visual.{top[key]}"] = value
        elif module in top:
            found[f"visual.{top[module]}.{leaf}"] = value
        elif ".layers." in key:
            number, part = module.split(".layers.")[1].split(".", 1)
            block = f"visual.transformer.resblocks.{number}"
            if part in layer:
                found[f"{block}.{layer[part]}.{leaf}"] = value
            elif part == "self_attn.q_proj":
                joined = [source[key.replace("q_proj", f"{one}_proj")] for one in "qkv"]
                found[f"{block}.attn.in_proj_{leaf}"] = torch.cat(joined)
    return found


def ip_adapter_weights(
    unet: UNet2DConditionModel, projection: str, tokens: int = 4, seed: int = 0
) -> dict[str, Tensor]:
    """Return an IP-Adapter for a UNet, by the names of the published files."""
    makers = {"plain": _plain, "plus": _plus, "full": _full}
    context = int(unet.config["cross_attention_dim"])
    made = makers[projection](tokens, seed, context)
    weights = {f"image_proj.{k}": v for k, v in made.items()}
    names = [name for name in unet.attn_processors if ".attn2." in name]
    # By diffusers' names of a UNet: down, up, middle.
    order = sorted(names, key=lambda name: "dum".index(name[0]))
    for number, name in enumerate(order):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for kind in "kv":
            key = f"ip_adapter.{2 * number + 1}.to_{kind}_ip.weight"
            weights[key] = random(attention.inner_dim, context, seed=seed + 7 * number + ord(kind))
    return weights


def _plain(tokens: int, seed: int, context: int) -> dict[str, Tensor]:
    return {
        "proj.weight": random(tokens * context, VISION_EMBEDDING, seed=seed),
        "proj.bias": random(tokens * context, seed=seed + 1),
        "norm.weight": 1 + random(context, seed=seed + 2),
        "norm.bias": random(context, seed=seed + 3),
    }


def _full(_tokens: int, seed: int, context: int) -> dict[str, Tensor]:
    return {
        "proj.0.weight": random(VISION_WIDTH, VISION_WIDTH, seed=seed),
        "proj.0.bias": random(VISION_WIDTH, seed=seed + 1),
        "proj.2.weight": random(context, VISION_WIDTH, seed=seed + 2),
        "proj.2.bias": random(context, seed=seed + 3),
        "proj.3.weight": 1 + random(context, seed=seed + 4),
        "proj.3.bias": random(context, seed=seed + 5),
    }


def _plus(tokens: int, seed: int, context: int) -> dict[str, Tensor]:
    width, inner = 48, 128
    weights = {
        "latents": random(1, tokens, width, seed=seed),
        "proj_in.weight": random(width, VISION_WIDTH, seed=seed + 1),
        "proj_in.bias": random(width, seed=seed + 2),
        "proj_out.weight": random(context, width, seed=seed + 3),
        "proj_out.bias": random(context, seed=seed + 4),
        "norm_out.weight": 1 + random(context, seed=seed + 5),
        "norm_out.bias": random(context, seed=seed + 6),
    }
    for layer in range(4):
        shapes = {
            "0.norm1.weight": (width,),
            "0.norm1.bias": (width,),
            "0.norm2.weight": (width,),
            "0.norm2.bias": (width,),
            "0.to_q.weight": (inner, width),
            "0.to_kv.weight": (2 * inner, width),
            "0.to_out.weight": (width, inner),
            "1.0.weight": (width,),
            "1.0.bias": (width,),
            "1.1.weight": (4 * width, width),
            "1.3.weight": (width, 4 * width),
        }
        for number, (name, shape) in enumerate(shapes.items()):
            weights[f"layers.{layer}.{name}"] = random(*shape, seed=seed + 20 * layer + number)
    return weights


def t2i_adapter(adapter_type: str, channels: tuple[int, ...], inputs: int = 3) -> T2IAdapter:
    side = 16 if adapter_type.endswith("xl") else 8
    blocks = 4 if adapter_type == "light_adapter" else 2
    return seeded(T2IAdapter(inputs, list(channels), blocks, side, adapter_type), 5)  # pyright: ignore[reportReturnType]


def original_t2i_weights(adapter: T2IAdapter) -> dict[str, Tensor]:
    """Return an adapter's weights by the names of the published files."""
    found: dict[str, Tensor] = {}
    for key, value in adapter.state_dict().items():
        name = key.removeprefix("adapter.")
        if adapter.config["adapter_type"] == "light_adapter":
            found[name.replace("resnets", "body")] = value
            continue
        parts = name.split(".")
        if parts[0] == "body":
            first = 2 * int(parts[1])
            if parts[2] == "resnets":
                name = ".".join(["body", str(first + int(parts[3])), *parts[4:]])
            else:
                name = ".".join(["body", str(first), *parts[2:]])
        found[name] = value
    return found

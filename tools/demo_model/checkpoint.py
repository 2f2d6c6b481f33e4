"""Reads an exported checkpoint back, to go on training from the committed file.

As a command it fills a work folder from a checkpoint, so that the trainers resume from it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import load_file

from tools.demo_model.architecture import UNET, VAE, make_unet
from tools.demo_model.ldm_keys import SCALE_FACTOR, Weights
from tools.demo_model.text_side import TextSide
from tools.demo_model.tokens import BOS, EOS
from tools.demo_model.vae import make_vae

TEXT_TABLE = "embeddings.token_embedding.weight"


@dataclass(frozen=True)
class Unpacked:
    """The models inside a checkpoint, in float32; the VAE works on latents of unit variance."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: TextSide


def unet_weights(weights: Weights) -> Weights:
    """Return the UNet's weights under diffusers' names."""
    levels = len(UNET["channel_mult"])
    config = {
        "layers_per_block": UNET["num_res_blocks"],
        "class_embed_type": None,
        "addition_embed_type": None,
        "down_block_types": [""] * levels,
        "up_block_types": [""] * levels,
    }
    return convert_ldm_unet_checkpoint(dict(weights), config)


def vae_weights(weights: Weights) -> Weights:
    """Return the VAE's weights under diffusers' names, for latents of unit variance."""
    levels = len(VAE["ch_mult"])
    config = {"layers_per_block": VAE["num_res_blocks"]}
    config |= {"down_block_types": [""] * levels, "up_block_types": [""] * levels}
    result = {k: v.float() for k, v in convert_ldm_vae_checkpoint(dict(weights), config).items()}
    channels = VAE["z_channels"]
    result["quant_conv.weight"][:channels] *= SCALE_FACTOR
    result["quant_conv.bias"][:channels] *= SCALE_FACTOR
    result["post_quant_conv.weight"] /= SCALE_FACTOR
    return result


def text_parts(weights: Weights) -> dict[str, object]:
    """Return the text encoder as `train_text.py` saves it: compact table and its CLIP ids."""
    full = convert_ldm_clip_checkpoint(dict(weights))
    full = {k.removeprefix("text_model."): v.float() for k, v in full.items()}
    full.pop("embeddings.position_ids", None)
    table = full[TEXT_TABLE]
    used = table.abs().sum(1).nonzero()[:, 0].tolist()
    clip_ids = [k for k in used if k not in (BOS, EOS)]
    full[TEXT_TABLE] = torch.cat(
        [torch.zeros(1, table.shape[1]), table[[BOS, EOS]], table[clip_ids]]
    )
    return {"text_encoder": full, "clip_ids": clip_ids}


def read(file: Path, device: str = "cpu") -> Unpacked:
    """Return the models of an exported checkpoint in SD 1.x layout."""
    weights = load_file(file)
    converted = {key: value.float() for key, value in unet_weights(weights).items()}
    unet = make_unet(converted["conv_in.weight"].shape[1])
    unet.load_state_dict(converted)
    vae = make_vae()
    vae.load_state_dict(vae_weights(weights))
    layout = {"device": device, "memory_format": torch.channels_last}
    text = TextSide.build(text_parts(weights), device)
    return Unpacked(unet.to(**layout).eval(), vae.to(**layout).eval(), text)


def unpack(file: Path, work_dir: Path) -> None:
    """Write text.pt, vae.pt and unet.pt; optimizers start anew."""
    parts = read(file)
    work_dir.mkdir(parents=True, exist_ok=True)
    torch.save(text_parts(load_file(file)), work_dir / "text.pt")
    torch.save({"vae": parts.vae.state_dict()}, work_dir / "vae.pt")
    torch.save({"average": parts.unet.state_dict()}, work_dir / "unet.pt")


def main() -> None:
    """Read the command line and unpack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--work-dir", type=Path, default=Path("tools/demo_model/work"))
    arguments = parser.parse_args()
    unpack(arguments.file, arguments.work_dir)


if __name__ == "__main__":
    main()

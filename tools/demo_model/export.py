"""Writes trained parts as one checkpoint file in the original LDM layout, with its .yaml."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from tools.demo_model.architecture import UNET, VAE
from tools.demo_model.diffusion import LINEAR_END, LINEAR_START, TIMESTEPS
from tools.demo_model.ldm_keys import SCALE_FACTOR, Weights, ldm_clip, ldm_unet, ldm_vae
from tools.demo_model.text_encoder import HEADS, HIDDEN, LAYERS
from tools.demo_model.tokens import (
    CLIP_VOCABULARY_SIZE,
    CONTEXT_LENGTH,
    CompactVocabulary,
    Tokenizer,
)

MODELS = Path(__file__).parents[2] / "models/Stable-diffusion/demo"
TARGETS = {
    4: "ldm.models.diffusion.ddpm.LatentDiffusion",
    9: "ldm.models.diffusion.ddpm.LatentInpaintDiffusion",
}
TEXT_TABLE = "embeddings.token_embedding.weight"


def text_config() -> dict[str, object]:
    """Return the sizes of the text encoder as transformers names them."""
    return {
        "vocab_size": CLIP_VOCABULARY_SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT_LENGTH,
        "hidden_act": "quick_gelu",
        "projection_dim": HIDDEN,
    }


def model_config(in_channels: int) -> dict[str, object]:
    """Return the content of the .yaml of an SD 1.x layout file."""
    parameters = {
        "linear_start": LINEAR_START,
        "linear_end": LINEAR_END,
        "timesteps": TIMESTEPS,
        "parameterization": "v",
        "scale_factor": SCALE_FACTOR,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
    }
    if in_channels == 9:
        parameters |= {"conditioning_key": "hybrid", "finetune_keys": None}
    parameters |= {
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": {**UNET, "in_channels": in_channels},
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": VAE["z_channels"],
                "ddconfig": VAE,
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
            "params": {"text_config": text_config()},
        },
    }
    return {"model": {"target": TARGETS[in_channels], "params": parameters}}


def full_text_weights(saved: dict[str, object]) -> Weights:
    """Return the text encoder's weights with the table over all CLIP tokens."""
    vocabulary = CompactVocabulary(Tokenizer(), saved["clip_ids"])
    weights = dict(saved["text_encoder"])
    key = next(k for k in weights if k.endswith(TEXT_TABLE))
    weights[key] = vocabulary.table(weights[key])
    return weights


def ldm_weights(unet: Weights, vae: Weights, text: Weights) -> Weights:
    """Return all weights under the names of SD 1.x, in half precision."""
    parts = {
        "model.diffusion_model.": ldm_unet(unet),
        "first_stage_model.": ldm_vae(vae),
        "cond_stage_model.transformer.": ldm_clip(text),
    }
    weights = {prefix + key: v for prefix, part in parts.items() for key, v in part.items()}
    return {
        key: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for key, value in weights.items()
    }


def write(file: Path, weights: Weights, config: dict[str, object]) -> None:
    """Write checkpoint and .yaml side by side."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file, metadata={"format": "pt"})
    text = yaml.safe_dump(config, sort_keys=False, default_flow_style=None, width=100)
    file.with_suffix(".yaml").write_text(text)


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path("tools/demo_model/work"))
    parser.add_argument("--unet", default="unet", help="name of the stage to export")
    parser.add_argument("--file", type=Path, default=MODELS / "demo.safetensors")
    arguments = parser.parse_args()
    work = arguments.work_dir
    unet = torch.load(work / f"{arguments.unet}.pt", map_location="cpu")["average"]
    vae = torch.load(work / "vae.pt", map_location="cpu")["vae"]
    text = full_text_weights(torch.load(work / "text.pt", map_location="cpu"))
    config = model_config(unet["conv_in.weight"].shape[1])
    write(arguments.file, ldm_weights(unet, vae, text), config)
    print(f"{arguments.file}: {arguments.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

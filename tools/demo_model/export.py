"""Writes trained parts as one checkpoint file in the original LDM layout, with its .yaml."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
import yaml
from safetensors.torch import save_file

from tools.demo_model import depth_estimator
from tools.demo_model.architecture import HEAD_CHANNELS, UNET, VAE
from tools.demo_model.diffusion import LINEAR_END, LINEAR_START, TIMESTEPS
from tools.demo_model.ldm_keys import (
    SCALE_FACTOR,
    Weights,
    ldm_clip,
    ldm_depth,
    ldm_unet,
    ldm_vae,
    open_clip,
)
from tools.demo_model.objectives import OBJECTIVES
from tools.demo_model.text_encoder import HEADS, HIDDEN, LAYERS
from tools.demo_model.tokens import (
    CLIP_VOCABULARY_SIZE,
    CONTEXT_LENGTH,
    EOS,
    CompactVocabulary,
)

MODELS = Path(__file__).parents[2] / "models/Stable-diffusion/demo"
TEXT_TABLE = "embeddings.token_embedding.weight"
TEXT_POSITIONS = "embeddings.position_embedding.weight"
PROJECTIONS = ("proj_in.weight", "proj_out.weight")
DIFFUSION = "ldm.models.diffusion.ddpm."


@dataclass(frozen=True)
class Layout:
    """How a line of Stable Diffusion names its parts.

    Attributes:
        rename_text: Gives the text encoder's weights that line's names.
        text_file: File in the work folder that holds a fitting text encoder.
        text_stage: What the .yaml says of the text encoder.
        unet: What it says of the UNet in addition to the sizes.
    """

    rename_text: Callable[[Weights], Weights]
    text_file: str
    text_stage: dict[str, object]
    unet: dict[str, object]


def text_config(activation: str) -> dict[str, object]:
    """Return the sizes of the text encoder as transformers names them."""
    return {
        "vocab_size": CLIP_VOCABULARY_SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT_LENGTH,
        "hidden_act": activation,
        "projection_dim": HIDDEN,
    }


LAYOUTS = {
    "sd1": Layout(
        rename_text=ldm_clip,
        text_file="text.pt",
        text_stage={
            "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
            "params": {"text_config": text_config("quick_gelu")},
        },
        unet={"num_heads": UNET["num_heads"]},
    ),
    "sd2": Layout(
        rename_text=lambda text: open_clip(padded_with_zero(text)),
        text_file="text-gelu.pt",
        text_stage={
            "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {
                "freeze": True,
                "layer": "penultimate",
                "text_config": text_config("gelu"),
            },
        },
        unet={"num_head_channels": HEAD_CHANNELS, "use_linear_in_transformer": True},
    ),
}
DEPTH_STAGE = {
    "target": "ldm.modules.midas.api.MiDaSInference",
    "params": {
        "model_type": "dpt_hybrid",
        "num_attention_heads": depth_estimator.HEADS,
        "backbone_num_groups": depth_estimator.NORM_GROUPS,
    },
}
KINDS = {  # by input channels of the UNet: class of the model, what else its .yaml says
    4: ("LatentDiffusion", {}),
    5: (
        "LatentDepth2ImageDiffusion",
        {"conditioning_key": "hybrid", "depth_stage_config": DEPTH_STAGE},
    ),
    9: ("LatentInpaintDiffusion", {"conditioning_key": "hybrid", "finetune_keys": None}),
}


def model_config(
    in_channels: int, layout: str = "sd1", parameterization: str = "v"
) -> dict[str, object]:
    """Return the content of the .yaml."""
    target, extra = KINDS[in_channels]
    unet = {key: value for key, value in UNET.items() if key != "num_heads"}
    parameters = {
        "linear_start": LINEAR_START,
        "linear_end": LINEAR_END,
        "timesteps": TIMESTEPS,
        "parameterization": parameterization,
        "scale_factor": SCALE_FACTOR,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        **extra,
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": {**unet, "in_channels": in_channels, **LAYOUTS[layout].unet},
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": VAE["z_channels"],
                "ddconfig": VAE,
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": LAYOUTS[layout].text_stage,
    }
    return {"model": {"target": DIFFUSION + target, "params": parameters}}


def padded_with_zero(text: Weights) -> Weights:
    """Return a text encoder that takes token 0 for what the given one takes the end token for.

    SD 1.x fills a prompt up with the end token, SD 2.x with token 0. The end token's vector moves
    from the table into the positions, so that nothing, which is then token 0's row, replaces it.
    """
    end = text[TEXT_TABLE][EOS]
    table = text[TEXT_TABLE] - end
    table[0] = 0
    return {**text, TEXT_TABLE: table, TEXT_POSITIONS: text[TEXT_POSITIONS] + end}


def full_text_weights(saved: dict[str, object]) -> Weights:
    """Return the text encoder's weights with the table over all CLIP tokens."""
    vocabulary = CompactVocabulary(saved["clip_ids"])
    weights = dict(saved["text_encoder"])
    key = next(k for k in weights if k.endswith(TEXT_TABLE))
    weights[key] = vocabulary.table(weights[key])
    return weights


def linear_projections(unet: Weights) -> Weights:
    """Return UNet weights with linear layers where SD 1.x has 1x1 convolutions."""
    return {
        key: value[:, :, 0, 0] if key.endswith(PROJECTIONS) and value.ndim == 4 else value
        for key, value in unet.items()
    }


def ldm_weights(
    unet: Weights,
    vae: Weights,
    text: Weights,
    layout: str = "sd1",
    estimator: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> Weights:
    """Return all weights under the names of SD 1.x or 2.x, in half precision."""
    line = LAYOUTS[layout]
    unet = linear_projections(unet) if "use_linear_in_transformer" in line.unet else unet
    weights = ldm_unet(unet) | ldm_vae(vae) | line.rename_text(text) | ldm_depth(estimator)
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
    parser.add_argument(
        "--objective", choices=list(OBJECTIVES), default="v", help="what it predicts"
    )
    parser.add_argument("--layout", choices=list(LAYOUTS), default="sd1")
    parser.add_argument("--file", type=Path, default=MODELS / "demo.safetensors")
    arguments = parser.parse_args()
    work, layout = arguments.work_dir, arguments.layout
    unet = torch.load(work / f"{arguments.unet}.pt", map_location="cpu")["average"]
    vae = torch.load(work / "vae.pt", map_location="cpu")["vae"]
    text = full_text_weights(torch.load(work / LAYOUTS[layout].text_file, map_location="cpu"))
    config = model_config(unet["conv_in.weight"].shape[1], layout, arguments.objective)
    estimator: Weights = {}
    if "depth_stage_config" in config["model"]["params"]:
        estimator = torch.load(work / "depth-estimator.pt", map_location="cpu")["average"]
    write(arguments.file, ldm_weights(unet, vae, text, layout, estimator), config)
    print(f"{arguments.file}: {arguments.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""The loaded networks against the original code, with the same random weights.

The original packages ask for versions that do not fit this program's, so they are not installed with it:

    pip install --no-deps --target DIR stable-diffusion-sdkit open_clip_torch einops
    PYTHONPATH=DIR pytest tests/reference
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modules.backend.loader import Components, Precision, load
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.checkpoints_sd2 import CHANGES, OpenClipText

WHY = "see this file's first lines for how to get the original code"
FULL = Precision(torch.float32, torch.float32, torch.float32)
UNET = {
    "image_size": 8,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [2, 1],
    "num_res_blocks": 2,
    "channel_mult": [1, 2],
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": 32,
    "legacy": False,
}
DDCONFIG = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 32,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}
LINES = {
    "SD 1.x": {"num_heads": 4},
    "SD 2.x": {"num_head_channels": 16, "use_linear_in_transformer": True},
}


def randomized(module: nn.Module) -> nn.Module:
    """Give every weight a value: the original begins some layers with zeros."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
    return module.eval()


def agree(ours: Tensor, theirs: Tensor) -> None:
    difference = (ours - theirs).abs().max() / theirs.abs().max()
    assert difference < 1e-4, f"relative difference {difference:.1e}"


class Autoencoder(nn.Module):
    """The original encoder and decoder, joined as ldm.models.autoencoder does."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = model.Encoder(**DDCONFIG), model.Decoder(**DDCONFIG)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("in_channels", [4, 5, 9])
def test_unet_and_vae_agree_with_the_original_ldm(tmp_path: Path, line: str, in_channels: int):
    original = pytest.importorskip("ldm.modules.diffusionmodules.openaimodel", reason=WHY)
    autoencoder = pytest.importorskip("ldm.modules.diffusionmodules.model", reason=WHY)
    params = {**UNET, **LINES[line], "in_channels": in_channels}
    unet = randomized(original.UNetModel(**params))
    vae = randomized(Autoencoder(autoencoder))
    weights = {f"model.diffusion_model.{k}": v for k, v in unet.state_dict().items()}
    weights |= {f"first_stage_model.{k}": v for k, v in vae.state_dict().items()}
    components = loaded(tmp_path, line, weights, params)

    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, in_channels, 8, 8, generator=generator)
    words = torch.randn(2, 77, 32, generator=generator)
    picture = torch.rand(1, 3, 32, 32, generator=generator) * 2 - 1
    with torch.inference_mode():
        t = torch.tensor([10, 900])
        agree(components.unet(x, t, words).sample, unet(x, t, context=words))
        moments = vae.quant_conv(vae.encoder(picture))
        agree(components.vae.encode(picture).latent_dist.parameters, moments)
        decoded = vae.decoder(vae.post_quant_conv(x[:1, :4]))
        agree(components.vae.decode(x[:1, :4]).sample, decoded)


def loaded(folder: Path, line: str, weights: dict[str, Tensor], params: dict[str, Any]) -> Components:
    changes: dict[str, Any] = {}
    if line == "SD 2.x":
        text = randomized(OpenClipText(32, 2, 3))
        weights |= {f"cond_stage_model.model.{k}": v.detach() for k, v in text.state_dict().items()}
        changes = {key: value for key, value in CHANGES.items() if "unet" not in key}
    else:
        weights |= {k: v for k, v in tiny_weights().items() if k.startswith("cond_stage")}
    changes |= {"unet_config.params": params, "first_stage_config.params.ddconfig": DDCONFIG}
    path = write_checkpoint(folder / "original.safetensors", weights=weights, changes=changes)
    return load(path, path.with_suffix(".yaml"), FULL)


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenCLIP's own transformer; the vision side of its package, which needs torchvision, stays out."""
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip(WHY)
    package = types.ModuleType("open_clip")
    package.__path__ = list(found.submodule_search_locations or [])
    misc: Any = types.ModuleType("torchvision.ops.misc")
    misc.FrozenBatchNorm2d = nn.Identity
    for name, module in {
        "open_clip": package,
        "torchvision": types.ModuleType("torchvision"),
        "torchvision.ops": types.ModuleType("torchvision.ops"),
        "torchvision.ops.misc": misc,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return importlib.import_module("open_clip.transformer")


def test_the_text_encoder_agrees_with_open_clip(tmp_path: Path, open_clip: Any):
    original = randomized(
        open_clip.TextTransformer(width=32, heads=2, layers=3, output_dim=32)
    )
    weights = {
        f"cond_stage_model.model.{key}": value
        for key, value in original.state_dict().items()
        if key != "attn_mask"
    }
    weights |= {k: v for k, v in tiny_weights().items() if not k.startswith("cond_stage")}
    changes = {key: value for key, value in CHANGES.items() if "unet" not in key}
    path = write_checkpoint(tmp_path / "a.safetensors", weights=weights, changes=changes)
    components = load(path, path.with_suffix(".yaml"), FULL)

    ids = torch.tensor([[49406, 320, 2368, 537, 320, 1929, 49407, *[0] * 70]])
    with torch.inference_mode():
        x = original.token_embedding(ids) + original.positional_embedding
        for block in original.transformer.resblocks[:-1]:  # "penultimate", as FrozenOpenCLIPEmbedder
            x = block(x, attn_mask=original.attn_mask)
        agree(components.text_encoder(ids).last_hidden_state, original.ln_final(x))

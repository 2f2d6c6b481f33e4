"""The keys are checked against diffusers' own converters, which were written independently."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.loaders import single_file_utils

from modules.backend.loading import ldm_keys
from modules.models.ldm.unet import UNetConfig
from tests.backend.checkpoints import UNET, tiny_modules, tiny_weights

SD1 = json.loads((Path(__file__).parents[2] / "headers" / "sd1.json").read_text(encoding="utf-8"))
SD1_UNET = UNetConfig(
    4, 4, 320, (1, 2, 4, 4), 2, (True, True, True, False), (8,) * 4, (1,) * 4, 768, False, 32, 64
)


@pytest.mark.parametrize(
    ("weights", "config"),
    [
        (tiny_weights(), UNET),
        ({name: torch.empty(shape, device="meta") for name, shape in SD1.items()}, SD1_UNET),
    ],
    ids=["tiny", "SD 1.x"],
)
def test_unet_keys_agree_with_diffusers(weights, config):
    converted = single_file_utils.convert_ldm_unet_checkpoint(
        weights, {"layers_per_block": config.num_res_blocks}
    )
    unet = {name for name in weights if name.startswith("model.diffusion_model.")}
    assert {ldm_keys.unet_key(key, config) for key in converted} == unet
    assert all(converted[key] is weights[ldm_keys.unet_key(key, config)] for key in converted)


def test_vae_keys_agree_with_diffusers():
    weights = tiny_weights()
    config = {"down_block_types": [0] * 4, "up_block_types": [0] * 4}
    converted = single_file_utils.convert_ldm_vae_checkpoint(weights, config)
    vae = {name for name in weights if name.startswith("first_stage_model.")}
    assert {ldm_keys.vae_key(key, 4) for key in converted} == vae
    for key, value in converted.items():
        assert torch.equal(value.flatten(), weights[ldm_keys.vae_key(key, 4)].flatten())


def test_text_encoder_keys_agree_with_diffusers():
    weights = tiny_weights()
    converted = single_file_utils.convert_ldm_clip_checkpoint(weights)
    assert len(converted) == len(tiny_modules()[2].state_dict())
    assert all(value is weights[ldm_keys.clip_key(key)] for key, value in converted.items())

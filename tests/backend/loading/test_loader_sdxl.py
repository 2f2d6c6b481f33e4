"""SDXL from single files: every tensor where diffusers' own conversion puts it, in every dtype and layout of files."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import save_file
from torch import Tensor

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import LoadOptions, load_components
from modules.core.errors import BadFile, Unsupported, UserError
from modules.models.families import make_family_registry
from modules.models.files.header import read_header
from modules.models.key_condition import KeyCondition
from modules.models.kinds import detect, make_kind_registry
from modules.models.ldm.config import TextEncoderSource, read_config
from tests.backend.checkpoints import same, tiny_modules
from tests.backend.checkpoints_sdxl import (
    CLIP_G,
    CLIP_L,
    REFINER_UNET,
    SCALE,
    UNET,
    sdxl_weights,
    tiny_clip_g,
    tiny_unet,
    write_sdxl,
)
from tests.models.model_files import CONFIGS, header_of
from tests.tolerance import assert_alike, rounding

ANY = KeyCondition()
FLOAT32 = Precision(torch.float32, torch.float32, torch.float32)


def load(path: Path, **options: Any) -> Components:
    return load_components(path, path.with_suffix(".yaml"), FLOAT32, LoadOptions(**options))


@pytest.mark.parametrize(
    ("file", "config", "family"),
    [
        ("sdxl", "sd_xl_base.yaml", "SDXL"),
        ("sdxl-inpainting", "sd_xl_inpaint.yaml", "SDXL inpainting"),
        ("sdxl-refiner", "sd_xl_refiner.yaml", "SDXL refiner"),
    ],
)
def test_a_published_file_is_recognised_and_its_config_describes_it(
    file: str, config: str, family: str
):
    header = header_of(file)
    found = detect(header, make_kind_registry(), make_family_registry()).family
    assert found is not None
    assert (found.name, found.config_file) == (family, config)
    # The loader compares every tensor, this those whose sizes have a key in the .yaml.
    sources = [TextEncoderSource(header, file, slot) for slot in found.text_encoders]
    read = read_config(CONFIGS / config, header, file, sources)
    assert read.vae.scale_factor == 0.13025
    assert [(text.hidden_layer, text.final_norm) for text in read.text_encoders] == [
        (2, False)
    ] * len(sources)


def test_the_unet_is_the_one_that_was_saved(tmp_path: Path):
    components = load(write_sdxl(tmp_path / "xl.safetensors"))
    assert same(components.unet, tiny_unet())
    assert components.family == "SDXL"
    assert components.latent_format.scale == SCALE
    sample, timestep = torch.randn(1, 4, 8, 8), torch.tensor(500.5)
    added = {
        "text_embeds": torch.randn(1, 16),
        "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]]),
    }
    states = torch.randn(1, 77, 48)
    with torch.inference_mode():
        ours, theirs = (
            unet(sample, timestep, states, added_cond_kwargs=added).sample
            for unet in (components.unet, tiny_unet())
        )
    assert_alike(ours, theirs, rounding(tiny_unet()))


@pytest.mark.parametrize("config", [UNET, REFINER_UNET, replace(UNET, in_channels=9)])
def test_diffusers_conversion_of_the_same_file_gives_the_same_weights(tmp_path: Path, config: Any):
    weights = sdxl_weights(config)
    components = load(write_sdxl(tmp_path / "xl.safetensors", config, weights=weights))
    unet = convert_ldm_unet_checkpoint(
        copy.deepcopy(weights), dict(components.unet.config) | {"layers_per_block": 1}
    )
    assert_equal(components.unet.state_dict(), unet)
    vae = convert_ldm_vae_checkpoint(copy.deepcopy(weights), dict(components.vae.config))
    assert_equal(components.vae.state_dict(), vae)
    *clip_l, clip_g = components.text_encoders
    prefix = CLIP_G if clip_l else CLIP_L
    converted = convert_open_clip_checkpoint(
        clip_g.network, copy.deepcopy(weights), prefix=prefix + "model."
    )
    assert_equal(clip_g.network.state_dict(), converted)
    if clip_l:
        converted = convert_ldm_clip_checkpoint(
            copy.deepcopy(weights), remove_prefix=CLIP_L + "transformer."
        )
        ours = clip_l[0].network.state_dict()
        assert_equal(ours, {k.removeprefix("text_model."): v for k, v in converted.items()})


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    missing = {key for key in ours if key not in theirs and not key.endswith("position_ids")}
    assert missing == set()
    for key, value in ours.items():
        if key in theirs:
            assert torch.equal(value, theirs[key].reshape(value.shape)), key


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_a_file_in_another_dtype_is_converted_as_it_is_read(tmp_path: Path, dtype: torch.dtype):
    weights = sdxl_weights(dtype=dtype)
    components = load(write_sdxl(tmp_path / "xl.safetensors", weights=weights))
    rounded = {key: value.to(dtype).float() for key, value in tiny_unet().state_dict().items()}
    assert_equal(components.unet.state_dict(), rounded)
    projection = components.text_encoders[1].network.state_dict()["text_projection.weight"]
    assert torch.equal(projection, tiny_clip_g().text_projection.to(dtype).float().T)


def test_scaled_weights_in_8_bits_are_multiplied_by_their_scale(tmp_path: Path):
    weights, name = sdxl_weights(), "model.diffusion_model.time_embed.0."
    scale = torch.tensor(0.25)
    weights[name + "weight"] = (weights[name + "weight"] / scale).to(torch.float8_e4m3fn)
    expected = weights[name + "weight"].float() * scale
    weights |= {name + "scale_weight": scale, "scaled_fp8": torch.zeros(0)}
    components = load(write_sdxl(tmp_path / "xl.safetensors", weights=weights))
    assert torch.equal(components.unet.time_embedding.linear_1.weight, expected)


def test_a_unet_as_diffusers_saves_it_is_the_same_checkpoint(tmp_path: Path):
    whole = write_sdxl(tmp_path / "whole.safetensors")
    others = {k: v for k, v in sdxl_weights().items() if not k.startswith("model.diffusion")}
    unet = {k: v.clone() for k, v in tiny_unet().state_dict().items()}
    saved = write_sdxl(tmp_path / "saved.safetensors", weights=others | unet)
    assert same(load(saved).unet, load(whole).unet)
    del unet["up_blocks.0.resnets.0.conv1.weight"]
    saved = write_sdxl(tmp_path / "saved.safetensors", weights=others | unet)
    with pytest.raises(BadFile, match="lacks 1 weights"):
        load(saved)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_vae_as_diffusers_saves_it_replaces_that_of_the_checkpoint(tmp_path: Path, is_old: bool):
    _, vae, _ = tiny_modules(seed=1)
    weights = {key: value.clone() for key, value in vae.state_dict().items()}
    if is_old:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value")):
            weights = {k.replace(new, old): v for k, v in weights.items()}
        weights = {k.replace("to_out.0", "proj_attn"): v for k, v in weights.items()}
    save_file(weights, tmp_path / "vae.safetensors")
    checkpoint = write_sdxl(tmp_path / "xl.safetensors")
    assert same(load(checkpoint, vae=tmp_path / "vae.safetensors").vae, vae)


def test_a_vae_of_another_family_is_refused_in_words(tmp_path: Path):
    checkpoint = write_sdxl(tmp_path / "xl.safetensors")
    weights = {"encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}
    weights |= {"decoder.conv_in.weight": torch.zeros(16, 16, 3, 3)}
    save_file(weights, tmp_path / "flux.safetensors")
    with pytest.raises(UserError, match=r"'flux\.safetensors' is a VAE for latents of 16 channels"):
        load(checkpoint, vae=tmp_path / "flux.safetensors")


@pytest.mark.parametrize("layout", ["alone", "transformers", "checkpoint"])
def test_text_encoders_come_from_other_files(tmp_path: Path, layout: str):
    weights = sdxl_weights()
    bare = {k: v for k, v in weights.items() if not k.startswith("conditioner.")}
    clip_l = {k.removeprefix(CLIP_L): v for k, v in weights.items() if k.startswith(CLIP_L)}
    clip_g = {
        k.removeprefix(CLIP_G + "model."): v for k, v in weights.items() if k.startswith(CLIP_G)
    }
    whole = load(write_sdxl(tmp_path / "whole.safetensors"))
    files = (tmp_path / "clip_l.safetensors", tmp_path / "clip_g.safetensors")
    family = make_family_registry().get("SDXL")
    if layout == "transformers":
        clip_g = dict(whole.text_encoders[1].network.state_dict())
        rows = tuple(
            replace(row, width=16) if row.width == 1280 else row
            for row in family.text_encoders[1].layouts
        )
        slots = (family.text_encoders[0], replace(family.text_encoders[1], layouts=rows))
        family = replace(family, text_encoders=slots)
    save_file(clip_l, files[0])
    save_file(clip_g, files[1])
    if layout == "checkpoint":
        files = (tmp_path / "whole.safetensors",) * 2
    unet = write_sdxl(tmp_path / "unet.safetensors", weights=bare)
    header = read_header(unet)
    assert detect(header, make_kind_registry(), make_family_registry()).name != "SDXL"  # so small
    components = load(unet, text_encoders=files, family=replace(family, conditions=(ANY,)))
    for ours, theirs in zip(components.text_encoders, whole.text_encoders, strict=True):
        assert same(ours.network, theirs.network)
        assert ours.origin is not None
        assert replace(ours, network=theirs.network, origin=theirs.origin) == theirs


def test_the_first_text_encoder_of_sdxl_may_be_that_of_an_sd_1_checkpoint():
    (slot, _) = make_family_registry().get("SDXL").text_encoders
    place = slot.find_in(header_of("sd1").tensors)
    assert place is not None
    assert place.prefix == "cond_stage_model."
    assert slot.find_in(header_of("sd2").tensors) is None


def test_what_sgm_calls_v_scaling_is_v_prediction(tmp_path: Path):
    path = write_sdxl(tmp_path / "v.safetensors", scaling="VScaling")
    assert load(path).prediction_type == "v_prediction"
    assert load(path, prediction="epsilon").prediction_type == "epsilon"


def test_the_continuous_noise_of_edm_is_refused_in_words(tmp_path: Path):
    path = write_sdxl(tmp_path / "edm.safetensors", scaling="EDMScaling")
    with pytest.raises(Unsupported, match="EDMScaling, which is not supported"):
        load(path)
    weights = sdxl_weights() | {"edm_vpred.sigma_max": torch.tensor(120.0)}
    path = write_sdxl(tmp_path / "cos.safetensors", weights=weights)
    with pytest.raises(Unsupported, match=r"CosXL"):
        load(path)


def test_a_yaml_for_another_vector_of_sizes_is_refused(tmp_path: Path):
    path = write_sdxl(tmp_path / "xl.safetensors")
    file = path.with_suffix(".yaml")
    file.write_text(file.read_text().replace(str(UNET.adm_in_channels), "2816"))
    with pytest.raises(UserError, match=r"adm_in_channels 2816, but 'xl\.safetensors' has 1552"):
        load(path)

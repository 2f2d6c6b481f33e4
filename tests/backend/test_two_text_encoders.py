"""A family with two text encoders, and latents unlike those of SD, is a row: detected, loaded and generating images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from modules.backend import vae
from modules.backend.model import LoadedModel
from modules.backend.model_cache import ModelCache
from modules.backend.runner import Runner
from modules.core.errors import BadFile
from modules.models.families import make_family_registry
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.planner import make_plan
from modules.prompt.chunks import Chunker
from modules.prompt.schedule import StepTimeline
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_twin import (
    CLIP_WIDTH,
    LATENTS,
    OPEN_CLIP_WIDTH,
    SECOND,
    TWIN,
    twin_modules,
    twin_weights,
    write_twin,
)
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT
from tests.tolerance import assert_alike, rounding

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)


def index_of(folder: Path) -> ModelIndex:
    """Return an index that knows one more family."""
    families = make_family_registry()
    families.add(TWIN)
    folders = {"Checkpoint": [folder], "Text encoder": [folder / "text_encoder"]}
    return ModelIndex(folders, ROOT / "configs", folder / "cache", families=families)


def generate(folder: Path, tokenizer: ClipTokenizer, request: GenerationRequest) -> Image.Image:
    models = index_of(folder)
    plan = make_plan(request, models, models.find_checkpoint("twin"))
    listener = RecordingListener()
    Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan, listener)
    ((_, image),) = listener.images
    return image


@pytest.fixture
def model(tmp_path: Path, tokenizer: ClipTokenizer) -> LoadedModel:
    write_twin(tmp_path / "twin.safetensors")
    models = index_of(tmp_path)
    spec = make_model_spec(models, models.find_checkpoint("twin"), Settings())
    cache = ModelCache(torch.device("cpu"), tokenizer)
    return cache.acquire(spec, Runner(DeviceOptions(use_cpu=True), tokenizer).device.precisions[0])


def test_the_family_and_both_text_encoders_are_detected_from_the_header(tmp_path: Path):
    write_twin(tmp_path / "twin.safetensors")
    checkpoint = index_of(tmp_path).find_checkpoint("twin")
    assert checkpoint.family == "Twin"
    assert [tuple(info) for info in checkpoint.text_encoders] == [
        ("CLIP", CLIP_WIDTH, True),
        ("OpenCLIP", OPEN_CLIP_WIDTH, True),
    ]


@torch.inference_mode()
def test_hidden_states_are_joined_and_pooled_is_that_of_the_encoder_with_a_projection(
    model: LoadedModel, tokenizer: ClipTokenizer
):
    prompts = model.encode_prompts("a cat", "", StepTimeline(2), Settings(), (64, 64))
    _, _, clip, open_clip = twin_modules()
    first, second = (
        torch.tensor([Chunker(tokenizer, pad_token_id=pad).split_into_chunks("a cat")[0].token_ids])
        for pad in (None, 0)
    )
    expected = torch.cat([clip(first).last_hidden_state, open_clip(second)], dim=-1)
    cond = prompts.conds[0]
    assert_alike(cond.at_step(0), expected, rounding(clip))
    end = second[0].tolist().index(tokenizer.eos_token_id)
    pooled = last_hidden(open_clip, second)[:, end] @ open_clip.text_projection
    assert_alike(cond.pooled_at_step(0), pooled, rounding(open_clip))


def last_hidden(open_clip: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the hidden states of OpenCLIP's last layer, by its definition."""
    x = open_clip.token_embedding(ids) + open_clip.positional_embedding
    future = torch.full((77, 77), float("-inf")).triu(1)
    for block in open_clip.transformer.resblocks:
        x = block(x, future)
    return open_clip.ln_final(x)


def test_sd_has_no_pooled_output(tokenizer: ClipTokenizer):
    from tests.backend.tiny import tiny_components

    model = LoadedModel(tiny_components(), tokenizer)
    with torch.inference_mode():
        cond = model.encode_prompts("a cat", "", StepTimeline(2), Settings(), (64, 64)).uncond
    assert cond.pooled_at_step(0) is None


@torch.inference_mode()
def test_the_latents_are_those_of_the_file(model: LoadedModel):
    assert model.components.latent_format == LATENTS
    image = Image.effect_noise((32, 24), 60).convert("RGB")
    latents = vae.encode(model.components.vae, image)
    assert latents.shape == (1, 6, 6, 8)
    network = twin_modules()[1]
    encoded = network.encode(vae.image_to_pixels(image)).latent_dist.mode()
    assert_alike(latents, (encoded - 0.25) * 0.5, rounding(network))


def test_it_generates_images_that_depend_on_both_text_encoders(
    tmp_path: Path, tokenizer: ClipTokenizer
):
    write_twin(tmp_path / "twin.safetensors")
    image = generate(tmp_path, tokenizer, SMALL)
    assert image.size == (64, 64)
    weights = twin_weights()
    weights[SECOND + "model.ln_final.weight"] *= 2
    write_twin(tmp_path / "twin.safetensors", weights=weights)
    assert generate(tmp_path, tokenizer, SMALL).tobytes() != image.tobytes()


def test_a_hires_pass_and_a_mask_follow_the_size_of_its_cells(
    tmp_path: Path, tokenizer: ClipTokenizer
):
    # Diffusers' img2img pipeline takes latents of 4 channels alone.
    write_twin(tmp_path / "twin.safetensors")
    hires = SMALL.replace(enable_hr=True, hr_resize_x=128, hr_resize_y=104)
    assert generate(tmp_path, tokenizer, hires).size == (128, 104)
    before = Image.effect_noise((64, 64), 60).convert("RGB")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    request = Img2ImgRequest(
        prompt="a cat",
        width=64,
        height=64,
        steps=2,
        seed=7,
        init_image=ImageField.from_pil(before),
        mask=ImageField.from_pil(mask, MASK),
        mask_blur=0,
        inpaint_full_res=False,
    )
    after = generate(tmp_path, tokenizer, request)
    preserved, repainted = (40, 0, 64, 64), (0, 0, 24, 64)
    assert after.crop(preserved).tobytes() == before.crop(preserved).tobytes()
    assert after.crop(repainted).tobytes() != before.crop(repainted).tobytes()


def test_a_missing_text_encoder_is_taken_from_a_file_of_its_own(
    tmp_path: Path, tokenizer: ClipTokenizer
):
    write_twin(tmp_path / "twin.safetensors")
    whole = generate(tmp_path, tokenizer, SMALL)
    marker = SECOND + "model.ln_final.weight"  # which tells the family
    weights = twin_weights()
    alone = {
        name.removeprefix(SECOND + "model."): weights.pop(name)
        for name in list(weights)
        if name.startswith(SECOND)
    }
    write_twin(tmp_path / "twin.safetensors", weights={**weights, marker: alone["ln_final.weight"]})
    with pytest.raises(BadFile, match=r"lacks its text encoder\. Put an OpenCLIP of width 16 into"):
        index_of(tmp_path).find_checkpoint("twin")
    (tmp_path / "text_encoder").mkdir()
    save_file(alone, tmp_path / "text_encoder" / "open.safetensors")
    assert generate(tmp_path, tokenizer, SMALL).tobytes() == whole.tobytes()


def test_a_family_that_precedes_another_is_detected_first(tmp_path: Path):
    write_twin(tmp_path / "twin.safetensors")
    families = make_family_registry()
    families.add(dataclasses.replace(TWIN, precedes=()))
    folders = {"Checkpoint": [tmp_path]}
    models = ModelIndex(folders, ROOT / "configs", tmp_path / "cache", families=families)
    assert models.checkpoints()[0].family == "SDXL"
    assert index_of(tmp_path).checkpoints()[0].family == "Twin"

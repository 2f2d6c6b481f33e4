"""Whole runs with units of adapters, reference images and inpainting, on a tiny random model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from modules.backend.device import choose_device
from modules.backend.model import LoadedModel
from modules.backend.upscale.upscalers import Upscalers
from modules.core.errors import BadFile, NotFound
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import GenerationRequest
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.batches import generate_batch
from tests.backend.checkpoints import write_checkpoint
from tests.backend.control.adapter_files import (
    ip_adapter_weights,
    original_t2i_weights,
    random,
    random_image,
    save,
    t2i_adapter,
    tiny_unet,
    vision_encoder,
)
from tests.backend.control.test_lllite import SD1_LAYERS, weights_of
from tests.backend.control.test_style_adapter import style_weights
from tests.backend.tiny import RecordingListener, tiny_components
from tests.conftest import ROOT

UPSCALERS = Upscalers(choose_device(DeviceOptions(use_cpu=True)))
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=3, seed=7)
PICTURE = ImageField.from_pil(Image.fromarray(random_image(64, 64)))
IP = ControlUnit(enabled=True, image=PICTURE, model="ip", module="ip-adapter-auto")
T2I = ControlUnit(enabled=True, image=PICTURE, model="t2i")
STYLE = ControlUnit(enabled=True, image=PICTURE, model="style", module="clip_vision")
LLLITE = ControlUnit(enabled=True, image=PICTURE, model="lllite")
REFERENCE = ControlUnit(enabled=True, image=PICTURE, module="reference_adain+attn")
Generate = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def model(tokenizer: ClipTokenizer) -> LoadedModel:
    return LoadedModel(replace(tiny_components(), unet=tiny_unet()), tokenizer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "any.safetensors")
    for name in ("control", "vision"):
        (tmp_path / name).mkdir()
    unet, control = tiny_unet(), tmp_path / "control"
    adapter = t2i_adapter("full_adapter", (16, 32, 48, 48))
    save(control / "t2i.pth", original_t2i_weights(adapter))
    save(control / "ip.safetensors", ip_adapter_weights(unet, "plain"))
    save(control / "plus.bin", ip_adapter_weights(unet, "plus", seed=5))
    save(control / "style.pth", style_weights())
    save(control / "lllite.safetensors", weights_of(unet, SD1_LAYERS))
    face = {"ip_adapter.0.to_q_lora.down.weight": random(4, 4)}
    save(control / "face.safetensors", ip_adapter_weights(unet, "plain") | face)
    save(tmp_path / "vision" / "vision.safetensors", vision_encoder().state_dict())
    return tmp_path


@pytest.fixture
def generate(model: LoadedModel, folder: Path) -> Generate:
    def generate(
        *units: ControlUnit, request: GenerationRequest = SMALL, **changes: Any
    ) -> np.ndarray:
        folders = {
            "Checkpoint": [folder],
            "ControlNet": [folder / "control"],
            "CLIP vision encoder": [folder / "vision"],
        }
        index = ModelIndex(folders, ROOT / "configs", folder)
        request = request.replace(control_units=units, **changes)
        plan = make_plan(request, index, index.find_checkpoint("any"))
        listener = RecordingListener()
        with torch.inference_mode():
            generate_batch(lambda _: model, UPSCALERS, plan, 0, listener, listener.cancel)
        return np.stack([np.asarray(image, np.int16) for _, image in listener.images])

    return generate


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def test_each_kind_of_unit_changes_the_picture_in_its_steps_alone(generate: Generate) -> None:
    plain = generate()
    for unit in (IP, T2I, STYLE, LLLITE, REFERENCE, IP.replace(model="plus")):
        changed = generate(unit)
        assert distance(changed, plain) > 0.05, unit.model
        assert np.array_equal(generate(unit), changed)  # the reference's noise is of the seed, too
        late = unit.replace(guidance_start=0.9)
        assert np.array_equal(generate(late), plain), unit.model
        mode = "ControlNet is more important"
        assert distance(generate(unit.replace(control_mode=mode)), plain) > 0.05
    assert np.array_equal(generate(), plain)


def test_units_of_all_kinds_run_together_with_what_saves_computation(generate: Generate) -> None:
    units = (IP, IP.replace(model="plus", weight=0.5), T2I, STYLE, LLLITE, REFERENCE)
    options = {
        "token_merging_ratio": 0.5,
        "hypertile_enable_unet": True,
        "deep_cache_interval": 2,
        "batch_cond_uncond": False,
    }
    request = SMALL.replace(batch_size=2, override_settings=options, enable_hr=True, steps=2)
    together = generate(*units, request=request)
    assert together.shape == (2, 128, 128, 3)
    assert np.array_equal(generate(*units, request=request), together)
    first = generate(*units, request=request.replace(batch_size=1))
    assert distance(first[0], together[0]) < 1


def test_several_pictures_of_an_ip_adapter_are_averaged(generate: Generate) -> None:
    other = ImageField.from_pil(Image.new("RGB", (64, 64), "red"))
    assert IP.image is not None
    alone = generate(IP)
    assert np.array_equal(generate(IP.replace(more_images=(IP.image,))), alone)
    both = generate(IP.replace(more_images=(other,)))
    assert np.array_equal(generate(IP.replace(image=other, more_images=(IP.image,))), both)
    assert distance(both, alone) > 0 < distance(both, generate(IP.replace(image=other)))


def test_hires_option_regions_and_advanced_weights_count(generate: Generate) -> None:
    plain = generate()
    black = ImageField.from_pil(Image.new("L", (64, 64)), MASK)
    for unit in (IP, T2I):
        assert np.array_equal(generate(unit.replace(effective_region_mask=black)), plain)
    assert np.array_equal(generate(IP.replace(advanced_weighting=(0.0,) * 16)), plain)
    assert np.array_equal(generate(T2I.replace(advanced_weighting=(0.0,) * 4)), plain)
    some = IP.replace(advanced_weighting=(0.0,) * 6 + (1.0,) + (0.0,) * 9)
    assert 0 < distance(generate(some), plain) < distance(generate(IP), plain)


def test_a_missing_encoder_and_other_adapters_are_refused(generate: Generate, folder: Path) -> None:
    with pytest.raises(BadFile, match=r"'face.safetensors' is an IP-Adapter FaceID, which needs"):
        generate(IP.replace(model="face"))
    (folder / "vision" / "vision.safetensors").unlink()
    with pytest.raises(NotFound, match=r"unit 0: 'ip \[\w+\]' needs an image encoder") as error:
        generate(IP)
    with pytest.raises(NotFound, match=r"unit 0: 'style \[\w+\]' needs an image encoder"):
        generate(STYLE)
    assert "into models/clip_vision" in str(error.value.hint)
    # One in models/ControlNet is found, too.
    save(folder / "control" / "clip.safetensors", vision_encoder().state_dict())
    generate(IP)


def test_inpainting_keeps_what_is_outside_of_the_mask(generate: Generate) -> None:
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((0, 0, 31, 63), fill=255)
    unit = T2I.replace(module="inpaint_only", mask=ImageField.from_pil(mask, MASK), weight=0.5)
    result = generate(unit)[0]
    picture = np.asarray(PICTURE.to_pil(), np.int16)
    assert np.abs(result[:, 40:] - picture[:, 40:]).max() <= 1
    assert distance(result[:, :24], picture[:, :24]) > 20
    # Without one of its own the unit takes the mask of the request, which keeps the rest itself.
    request = Img2ImgRequest(
        **{name: getattr(SMALL, name) for name in ("prompt", "width", "height", "steps", "seed")},
        init_image=PICTURE,
        mask=ImageField.from_pil(mask, MASK),
    )
    harmonious = T2I.replace(module="inpaint_global_harmonious", image=None)
    assert np.array_equal(
        generate(harmonious, request=request),
        generate(harmonious.replace(module="inpaint_only"), request=request),
    )
    assert distance(generate(harmonious, request=request), generate(request=request)) > 0.1


def test_recoloured_and_tiled_pictures_keep_what_their_control_picture_gives(
    generate: Generate,
) -> None:
    intensity = generate(T2I.replace(module="recolor_intensity"))[0]
    grey = np.asarray(PICTURE.to_pil().convert("HSV"), np.int16)[:, :, 2]
    assert np.abs(intensity.max(axis=2) - grey).mean() < 3
    plain, fixed = generate(T2I)[0], generate(T2I.replace(module="tile_colorfix"))[0]
    assert distance(fixed, plain) > 1
    assert distance(generate(T2I.replace(module="tile_colorfix+sharp"))[0], fixed) > 0.1

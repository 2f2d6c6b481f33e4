"""Inpainting, InstructPix2Pix and depth checkpoints, and SD 2.x, in txt2img."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modules.backend.components import Precision
from modules.backend.conditioning.concat import make_empty_concat_cond
from modules.backend.loading.loader import load_components
from modules.backend.runner import Runner
from modules.core.errors import UserError
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.checkpoints_sd2 import write_sd2
from tests.backend.test_runner import plan_of
from tests.backend.tiny import RecordingListener

FULL = Precision(torch.float32, torch.float32, torch.float32)
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=128, steps=2, seed=7, batch_size=2)


@pytest.mark.parametrize("in_channels", [4, 8, 9])
@pytest.mark.parametrize("cfg_scale", [1.0, 7.0])
def test_txt2img_works_for_every_unet_input(
    tokenizer: ClipTokenizer, tmp_path: Path, in_channels: int, cfg_scale: float
):
    write_sd2(tmp_path / "tiny.safetensors", in_channels)
    listener = RecordingListener()
    request = SMALL.replace(cfg_scale=cfg_scale, negative_prompt="a dog, " * 60)
    Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan_of(tmp_path, request), listener)
    assert [(index, image.size) for index, image in listener.images] == [
        (0, (64, 128)),
        (1, (64, 128)),
    ]


def test_an_inpainting_unet_gets_a_mask_of_ones(tmp_path: Path):
    path = write_sd2(tmp_path / "tiny.safetensors", 9)
    components = load_components(path, path.with_suffix(".yaml"), FULL)
    with torch.inference_mode():
        concat_cond = make_empty_concat_cond(components, 64, 128)
        grey = components.vae.encode(torch.zeros(1, 3, 128, 64)).latent_dist.mean
    assert concat_cond.shape == (1, 5, 16, 8)
    assert (concat_cond[:, :1] == 1).all()
    assert torch.equal(concat_cond[:, 1:], grey * 0.18215)


def test_instruct_pix2pix_gets_zeros(tmp_path: Path):
    path = write_sd2(tmp_path / "tiny.safetensors", 8)
    components = load_components(path, path.with_suffix(".yaml"), FULL)
    concat_cond = make_empty_concat_cond(components, 64, 128)
    assert components.family == "InstructPix2Pix"
    assert torch.equal(concat_cond, torch.zeros(1, 4, 16, 8))


def test_an_ordinary_unet_gets_no_concat_cond(tmp_path: Path):
    path = write_checkpoint(tmp_path / "tiny.safetensors")
    assert (
        make_empty_concat_cond(load_components(path, path.with_suffix(".yaml"), FULL), 64, 64)
        is None
    )


def test_a_depth_checkpoint_is_refused_in_txt2img(tmp_path: Path):
    write_sd2(tmp_path / "tiny.safetensors", 5)
    with pytest.raises(
        UserError, match=r"'tiny\.safetensors' generates from the depth of an image"
    ):
        plan_of(tmp_path, SMALL)

"""The number of threads changes no image visibly: at most one level, on fewer than a thousandth of the values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.runner import Runner
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.checkpoints_sd2 import write_sd2
from tests.backend.demo import ROOT
from tests.backend.tiny import RecordingListener

pytestmark = pytest.mark.slow
SIZE = (136, 120)  # latents that the UNet cannot halve evenly
COMMON: dict[str, Any] = {
    "prompt": "a red circle on a blue background", "width": SIZE[0], "height": SIZE[1], "steps": 10, "seed": 3,
    "sampler_name": "Euler a",
}  # fmt: skip
WHITE = ImageField.from_pil(Image.new("RGB", SIZE, "white"))
RAMP = ImageField.from_pil(Image.linear_gradient("L").resize(SIZE).convert("RGB"))


def left_half() -> ImageField:
    mask = Image.new("L", SIZE)
    mask.paste(255, (0, 0, SIZE[0] // 2, SIZE[1]))
    return ImageField.from_pil(mask, MASK)


REQUESTS = {
    "txt2img": Txt2ImgRequest(**COMMON),
    "hires": Txt2ImgRequest(**COMMON, enable_hr=True, hr_scale=1.5, denoising_strength=0.6),
    "img2img of white": Img2ImgRequest(**COMMON, init_image=WHITE, denoising_strength=0.6),
    "img2img": Img2ImgRequest(**COMMON, init_image=RAMP, denoising_strength=0.6),
    "inpaint white": Img2ImgRequest(**COMMON, init_image=WHITE, mask=left_half()),
    "inpaint, fill": Img2ImgRequest(**COMMON, init_image=RAMP, mask=left_half(), inpainting_fill=0),
}


@pytest.fixture
def runs(tokenizer: ClipTokenizer, tmp_path: Path) -> Iterator[Any]:
    """Return a function that makes the image of a request with a number of threads."""
    before = torch.get_num_threads()
    write_checkpoint(tmp_path / "tiny.safetensors")
    write_sd2(tmp_path / "tiny-inpainting.safetensors", 9)
    folders = [ROOT / "models" / "Stable-diffusion" / "demo", tmp_path]
    index = ModelIndex({"Checkpoint": folders}, ROOT / "configs", tmp_path / "cache")

    def run(request: Any, checkpoint: str, threads: int) -> np.ndarray:
        torch.set_num_threads(threads)
        listener = RecordingListener()
        plan = make_plan(request, index, index.find_checkpoint(checkpoint))
        Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan, listener)
        return np.asarray(listener.images[0][1]).astype(int)

    yield run
    torch.set_num_threads(before)


@pytest.mark.parametrize("checkpoint", ["demo", "demo-inpainting", "tiny", "tiny-inpainting"])
@pytest.mark.parametrize("name", REQUESTS)
def test_one_two_and_four_threads_give_the_same_image(runs: Any, name: str, checkpoint: str):
    one, *others = (runs(REQUESTS[name], checkpoint, threads) for threads in (1, 2, 4))
    for other in others:
        difference = np.abs(one - other)
        print(f"largest {difference.max()}, share {np.mean(difference > 0):.5%}")  # shown by -rP
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 0.001

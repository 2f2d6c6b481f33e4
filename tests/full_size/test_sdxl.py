"""SDXL at full size, with random weights: loaded, sampled, and switched with SD 1.5 in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from modules.backend.components import Precision
from modules.backend.device import choose_device
from modules.backend.model_cache import ModelCache
from modules.backend.upscale.upscalers import Upscalers
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.batches import generate_batch
from tests.backend.process_memory import resident_bytes
from tests.backend.tiny import RecordingListener
from tests.models.model_files import CONFIGS
from tools import full_size

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# Half of what 32-bit floats take; the VAE computes in those, as everywhere.
BFLOAT16 = Precision(torch.bfloat16, torch.float32, torch.bfloat16)
CPU = torch.device("cpu")
UPSCALERS = Upscalers(choose_device(DeviceOptions(use_cpu=True)))


def generate(models: ModelIndex, cache: ModelCache, name: str, size: int) -> Image.Image:
    checkpoint = models.find_checkpoint(name)
    request = Txt2ImgRequest(prompt="a red circle", seed=1, steps=4, width=size, height=size)
    plan = make_plan(request, models, checkpoint)
    listener = RecordingListener()
    with torch.inference_mode():
        generate_batch(
            lambda spec: cache.acquire(spec, BFLOAT16), UPSCALERS, plan, 0, listener, CancelToken()
        )
    ((_, image),) = listener.images
    return image


def test_it_makes_an_image_in_four_steps_and_switches_with_sd_1_5(
    folder: Path, tokenizer: ClipTokenizer
):
    full_size.write("sdxl", folder / "models" / "xl.safetensors")
    full_size.write("sd1", folder / "models" / "sd1.safetensors")
    models = ModelIndex({"Checkpoint": [folder / "models"]}, CONFIGS, folder / "cache")
    cache = ModelCache(CPU, tokenizer)
    assert models.find_checkpoint("xl").family == "SDXL"
    first = generate(models, cache, "xl", 256)
    assert first.size == (256, 256)
    sizes: list[int] = []
    for _ in range(2):
        cache.acquire(make_model_spec(models, models.find_checkpoint("sd1"), Settings()), BFLOAT16)
        again = generate(models, cache, "xl", 256)
        sizes.append(resident_bytes())
    assert again.tobytes() == first.tobytes()
    assert sizes[1] <= 1.03 * sizes[0]


@pytest.mark.parametrize("family", ["sdxl-inpainting", "sdxl-refiner"])
def test_its_relatives_load_and_make_a_step(folder: Path, tokenizer: ClipTokenizer, family: str):
    full_size.write(family, folder / "models" / "one.safetensors")
    models = ModelIndex({"Checkpoint": [folder / "models"]}, CONFIGS, folder / "cache")
    spec = make_model_spec(models, models.find_checkpoint("one"), Settings())
    components = ModelCache(CPU, tokenizer).acquire(spec, BFLOAT16).components
    unet, numbers = components.unet, 5 if family == "sdxl-refiner" else 6
    width = int(unet.config["cross_attention_dim"])
    x = torch.randn(1, int(unet.config["in_channels"]), 16, 16, dtype=unet.dtype)
    added = {"text_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, numbers)}
    with torch.inference_mode():
        states = torch.zeros(1, 77, width, dtype=unet.dtype)
        output = unet(x, torch.tensor(500), states, added_cond_kwargs=added).sample
    assert output.shape == (1, 4, 16, 16)
    assert output.isfinite().all()

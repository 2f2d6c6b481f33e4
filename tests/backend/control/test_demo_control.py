"""The ControlNet in the box: with the demo model a drawn outline decides where a shape is and which one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from modules.backend.runner import Runner
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SIDE = 128
PROMPT = "a red circle on a blue background"
TRIANGLE = [(20, 110), (110, 110), (65, 15)]
LEFT = [(8, 40), (48, 40), (48, 90), (8, 90)]


def polygon(corners: list[tuple[int, int]], *, filled: bool) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    pen.polygon(corners, fill="white" if filled else None, outline="white", width=2)
    return image


def overlap(image: np.ndarray, corners: list[tuple[int, int]]) -> float:
    """Return how well what is red fills a polygon: their intersection over their union."""
    values = image.astype(int)
    is_red = values[:, :, 0] > values[:, :, 2]
    wanted = np.asarray(polygon(corners, filled=True))[:, :, 0] > 0
    return float((is_red & wanted).sum() / (is_red | wanted).sum())


def test_a_drawn_outline_decides_where_and_what_shape(tmp_path: Path, tokenizer: ClipTokenizer):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    checkpoint = models.find_checkpoint("demo/demo.safetensors")
    assert [model.stem for model in models.control.fitting("SD 1.x", 32)] == ["demo-outline"]
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer, tmp_path)

    def generate(corners: list[tuple[int, int]] | None) -> np.ndarray:
        request = Txt2ImgRequest(
            prompt=PROMPT, width=SIDE, height=SIDE, steps=10, cfg_scale=4, seed=3
        )
        if corners is not None:
            image = ImageField.from_pil(polygon(corners, filled=False))
            unit = ControlUnit(enabled=True, image=image, model="demo-outline")
            request = request.replace(control_units=(unit,))
        plan = make_plan(request, models, checkpoint)
        listener = RecordingListener()
        runner.run(plan, listener, listener.cancel)
        return np.asarray(listener.images[0][1])

    plain, triangle, left = generate(None), generate(TRIANGLE), generate(LEFT)
    assert overlap(triangle, TRIANGLE) > 0.58 > 0.5 > overlap(plain, TRIANGLE)
    assert overlap(left, LEFT) > 0.65 > 0.3 > overlap(plain, LEFT)

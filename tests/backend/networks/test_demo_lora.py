"""The LoRA in the box, on the demo checkpoint that it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modules.backend.runner import Runner
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.checkpoints.finder import CheckpointFinder
from modules.plan.planner import Planner
from modules.plan.tables import BUILTIN_TABLES
from modules.prompt.styles import Styles
from modules.prompt.tokens import ClipTokenizer
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT


def test_a_landscape_lies_in_snow_and_a_shape_stays(tmp_path: Path, tokenizer: ClipTokenizer):
    paths = Paths(ROOT, tmp_path)
    models = ModelIndex.from_paths(paths)
    demo = ROOT / "models" / "Stable-diffusion" / "demo"
    finder = CheckpointFinder(models, tmp_path, demo)
    planner = Planner(
        finder,
        Styles(paths.styles_file),
        BUILTIN_TABLES,
        tokenizer,
        paths.wildcards,
    )
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer, tmp_path)

    def generate(prompt: str) -> np.ndarray:
        request = Txt2ImgRequest(
            prompt=prompt,
            sd_model_checkpoint="demo/demo.safetensors",
            width=128,
            height=128,
            steps=8,
            cfg_scale=5,
            seed=3,
        )
        plan = planner.plan(request, Settings())
        listener = RecordingListener()
        runner.run(plan, listener, listener.cancel)
        assert not [note for note in listener.notes if "LoRA" in note]
        return np.asarray(listener.images[0][1], np.float32)

    tag = " <lora:demo-snow:1>"
    meadow = "a meadow under a blue sky"
    ground = generate(meadow)[100:].mean((0, 1))
    snow = generate(meadow + tag)[100:].mean((0, 1))
    assert snow.min() > 150 > ground.min(), "snow is bright in every colour, grass is not"
    circle = "a red circle on a blue background"
    change = np.abs(generate(circle + tag) - generate(circle)).mean()
    assert change < 15 < np.abs(snow - ground).mean()

"""A sampler and a schedule of an extension generate an image."""

from __future__ import annotations

import shutil
from pathlib import Path

from modules.models.manager import ModelManager

from modules import builtin
from modules.backend.runner import Runner
from modules.engine.registries import Registries
from modules.extensions import load_extensions
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

REQUEST = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=3, seed=7, cfg_scale=1)


def test_a_sampler_and_a_schedule_of_an_extension_generate_an_image(
    tokenizer: ClipTokenizer, tmp_path: Path
):
    shutil.copytree(ROOT / "tests" / "extension_example", tmp_path / "extensions" / "loud")
    registries = Registries(serves_page=False)
    builtin.register(registries)
    registries = load_extensions(registries, tmp_path / "extensions")
    write_checkpoint(tmp_path / "tiny.safetensors")
    models = ModelManager([tmp_path], ROOT / "configs", tmp_path / "cache")
    runner, listener = Runner(DeviceOptions(use_cpu=True), tokenizer), RecordingListener()
    for sampler, scheduler in (("Jump", "Straight"), ("Euler", "Straight"), ("Euler", "Uniform")):
        request = REQUEST.replace(sampler_name=sampler, scheduler=scheduler)
        tables = registries.samplers, registries.schedules
        runner.run(make_plan(request, models, models.find("tiny"), *tables), listener)
    images = [image.tobytes() for _, image in listener.images]
    assert len(images) == len(set(images)) == 3

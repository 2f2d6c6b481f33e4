"""A sampler, a schedule and a task of an extension generate images."""

from __future__ import annotations

import shutil
from pathlib import Path

from modules import builtin
from modules.backend.runner import Runner
from modules.engine.registries import Registries
from modules.extensions import load_extensions
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.base import GenerationRequest
from modules.plan.planner import make_plan
from modules.plan.tables import PlanTables
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

FIELDS = {"prompt": "a cat", "width": 64, "height": 64, "steps": 3, "seed": 7, "cfg_scale": 1}


def test_a_sampler_a_schedule_and_a_task_of_an_extension_generate_images(
    tokenizer: ClipTokenizer, tmp_path: Path
):
    shutil.copytree(ROOT / "tests" / "extension_example", tmp_path / "extensions" / "loud")
    registries = Registries(serves_page=False)
    builtin.register(registries)
    registries = load_extensions(registries, tmp_path / "extensions")
    write_checkpoint(tmp_path / "tiny.safetensors")
    models = ModelIndex({"Checkpoint": [tmp_path]}, ROOT / "configs", tmp_path / "cache")
    runner, listener = Runner(DeviceOptions(use_cpu=True), tokenizer), RecordingListener()
    tables = PlanTables(
        registries.samplers, registries.schedules, registries.upscalers, registries.tasks
    )
    settings = registries.settings_class()

    def generate(task: str, **fields: object) -> bytes:
        request_class: type[GenerationRequest] = registries.tasks.get(task).request
        request = request_class(**{**FIELDS, **fields})
        plan = make_plan(request, models, models.find_checkpoint("tiny"), settings, tables)
        runner.run(plan, listener, listener.cancel)
        return listener.images[-1][1].tobytes()

    jumped = generate("txt2img", sampler_name="Jump", scheduler="Straight")
    straight = generate("txt2img", sampler_name="Euler", scheduler="Straight")
    uniform = generate("txt2img", sampler_name="Euler", scheduler="Uniform")
    assert len({jumped, straight, uniform}) == 3
    poster = generate("poster", sampler_name="Euler", scheduler="Uniform", slogan="Louder")
    assert poster == uniform

"""A sampler, a schedule and a task of an extension generate images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from modules import builtin
from modules.backend.device import choose_device
from modules.backend.runner import Runner
from modules.backend.upscale.upscalers import Upscalers
from modules.core.paths import Paths
from modules.engine.extensions.sources import find_extensions
from modules.engine.registries import Registries
from modules.extensions.loader import load_extensions
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.base import GenerationRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.checkpoints.finder import CheckpointFinder
from modules.plan.plan import Plan
from modules.plan.planner import Planner, make_plan
from modules.plan.step_extensions import ExtensionFailed
from modules.plan.upscaling import PlannedUpscaler
from modules.prompt.styles import Styles
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
    registries = load_extensions(registries, find_extensions(Paths(ROOT, tmp_path)))
    write_checkpoint(tmp_path / "tiny.safetensors")
    models = ModelIndex({"Checkpoint": [tmp_path]}, ROOT / "configs", tmp_path / "cache")
    runner, listener = Runner(DeviceOptions(use_cpu=True), tokenizer), RecordingListener()
    tables = registries.plan_tables()
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


FAILING_STEP = """
from modules.plan.step_extensions import StepExtensionRow
def make(context):
    from modules.backend.denoise.step_extensions import StepExtension
    class Bad(StepExtension):
        def after(self, denoised, sigma):
            {}
    return Bad()
def enlarge(image, scale):
    return image.rotate(90).resize((image.width * 2, image.height * 2))
def run(x, sigmas, noise, settings):
    yield x, sigmas[0]
    raise KeyError("x")
def register(webui):
    from modules.sampling.samplers import Sampler
    from modules.models.upscaling.upscalers import Upscaler, UpscalerFunction
    webui.samplers.add(Sampler("Bad sampler", run))
    webui.upscalers.add(Upscaler("Turn", UpscalerFunction(enlarge)))
    webui.upscalers.add(Upscaler("Bad upscaler", UpscalerFunction(lambda image, scale: None)))
    applies = lambda request, settings: request.sampler_name != "Bad sampler"
    webui.step_extensions.add(StepExtensionRow("Bad step", make, applies))
"""


class Program:
    """The tables of a data folder with extensions, a planner and a runner on a tiny checkpoint."""

    def __init__(self, folder: Path, tokenizer: ClipTokenizer) -> None:
        self.registries = Registries(serves_page=False)
        builtin.register(self.registries)
        paths = Paths(ROOT, folder)
        self.registries = load_extensions(self.registries, find_extensions(paths))
        write_checkpoint(folder / "tiny.safetensors")
        models = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
        finder = CheckpointFinder(models, folder, folder)
        self._planner = Planner(
            finder,
            Styles(paths.styles_file),
            self.registries.plan_tables(),
            tokenizer,
            paths.wildcards,
        )
        self._runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def generate(self, options: dict[str, object], **fields: object) -> tuple[Plan, bytes]:
        """Return the plan of a request and the pixels of its last image."""
        settings = self.registries.settings_class().replace(**options)
        request = Txt2ImgRequest(**{**FIELDS, "cfg_scale": 3, **fields})
        plan, listener = self._planner.plan(request, settings), RecordingListener()
        self._runner.run(plan, listener, listener.cancel)
        return plan, listener.images[-1][1].tobytes()


def test_a_step_extension_changes_the_picture_where_it_counts_and_nowhere_else(
    tokenizer: ClipTokenizer, tmp_path: Path
):
    example = ROOT / "docs" / "extensions" / "latent_contrast"
    shutil.copytree(example, tmp_path / "extensions" / "latent_contrast")
    program = Program(tmp_path, tokenizer)
    assert program.registries.extension_errors == []

    plan, plain = program.generate({"latent_contrast_from": 0.5})
    assert (plan.step_extensions, plan.settings.model_dump()["latent_contrast_from"]) == ((), 0.0)
    plan, strong = program.generate({"latent_contrast": 0.3})
    assert [row.name for row in plan.step_extensions] == ["Latent contrast"]
    assert plan.settings.model_dump()["latent_contrast"] == 0.3
    _, late = program.generate({"latent_contrast": 0.3, "latent_contrast_from": 0.5})
    assert len({plain, strong, late}) == 3
    assert program.generate({"latent_contrast": 0.3})[1] == strong

    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
    plan, larger = program.generate({"latent_contrast": 0.3}, **hires)
    assert plan.hires is not None
    assert plan.hires.plan.step_extensions == plan.step_extensions
    assert larger != program.generate({}, **hires)[1]

    _, euler = program.generate({}, sampler_name="Euler")
    assert program.generate({}, sampler_name="Euler damped")[1] == euler
    assert program.generate({"damping": 0.1}, sampler_name="Euler damped")[1] != euler


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero. The log has the details."),
        (r"raise ValueError('first\nsecond')", "first second."),
        ("raise SystemExit", "It tried to end the program."),
        (
            "return denoised[:, :2]",
            "It must return a tensor of the shape [1, 4, 8, 8], not [1, 2, 8, 8].",
        ),
    ],
)
def test_a_step_extension_or_a_sampler_that_fails_is_named(
    tokenizer: ClipTokenizer, tmp_path: Path, line: str, reason: str
):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bad.py").write_text(FAILING_STEP.format(line), encoding="utf-8")
    program = Program(tmp_path, tokenizer)
    with pytest.raises(ExtensionFailed) as raised:
        program.generate({})
    assert str(raised.value) == (
        f"The extension 'bad.py' failed in 'Bad step'. {reason} "
        "Disable it in the Extensions tab, or change its options."
    )
    with pytest.raises(ExtensionFailed, match=r"'bad\.py' failed in 'Bad sampler'\. KeyError: 'x'"):
        program.generate({}, sampler_name="Bad sampler")
    problems = program.registries.extensions[0].problems
    assert problems[0].sentence in str(raised.value)
    assert len(problems) == 2


def test_an_upscaler_of_an_extension_enlarges_images(tmp_path: Path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bad.py").write_text(FAILING_STEP.format("pass"), encoding="utf-8")
    registries = Registries(serves_page=False)
    builtin.register(registries)
    table = load_extensions(registries, find_extensions(Paths(ROOT, tmp_path))).upscalers
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 8, 16))
    upscalers = Upscalers(choose_device(DeviceOptions(use_cpu=True)))
    turned = upscalers.upscale(image, PlannedUpscaler(table.get("Turn")), 2)
    assert turned.size == (32, 32)
    assert (turned.getpixel((4, 28)), turned.getpixel((4, 4))) == ((255, 255, 255), (0, 0, 0))
    with pytest.raises(ExtensionFailed, match="It must return an image, not a NoneType"):
        upscalers.upscale(image, PlannedUpscaler(table.get("Bad upscaler")), 2)

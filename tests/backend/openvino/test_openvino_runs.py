"""OpenVINO in the place of PyTorch: the same pictures, what falls back, and what the infotext says of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from modules.backend.acceleration import Acceleration
from modules.backend.device import BF16, FP32, Device
from modules.backend.loaded_models import LoadedModels
from modules.backend.plan_run import run_plan
from modules.core.errors import Cancelled
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.params.events import CancelToken, Event, Output, Progress
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.checkpoints.finder import CheckpointFinder
from modules.plan.planner import Planner
from modules.plan.tables import BUILTIN_TABLES
from modules.prompt.styles import Styles
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_sdxl import write_sdxl
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

pytest.importorskip(
    "openvino", reason="OpenVINO is not installed; requirements-openvino.txt has its version"
)

CPU = torch.device("cpu")
EXACT = Device(CPU, "CPU", (FP32,), large_precisions=(FP32,))
HALF = Device(CPU, "CPU", (FP32,), large_precisions=(BF16, FP32))
# Not a multiple of 64: then the UNet crops what it enlarges.
REQUEST = Txt2ImgRequest(
    prompt="a red circle on a blue background",
    sd_model_checkpoint="demo/demo.safetensors",
    width=136,
    height=72,
    steps=3,
    cfg_scale=5,
    seed=1,
)
Run = Callable[..., tuple[Output, RecordingListener]]


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory, tokenizer: ClipTokenizer) -> Planner:
    data = tmp_path_factory.mktemp("openvino")
    write_sdxl(data / "models" / "Stable-diffusion" / "tiny-xl.safetensors")
    paths = Paths(ROOT, data)
    finder = CheckpointFinder(ModelIndex.from_paths(paths), data, data)
    return Planner(finder, Styles(paths.styles_file), BUILTIN_TABLES, tokenizer, paths.wildcards)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def exact(cache: Path, tokenizer: ClipTokenizer) -> LoadedModels:
    return LoadedModels(EXACT, tokenizer, cache)


@pytest.fixture
def run(planner: Planner, exact: LoadedModels) -> Run:
    def run(
        changes: Mapping[str, object] = MappingProxyType({}),
        models: LoadedModels = exact,
        accelerator: str = "OpenVINO",
        **options: object,
    ) -> tuple[Output, RecordingListener]:
        settings = validate(Settings, {"accelerator": accelerator, **options})
        listener, outputs = RecordingListener(), []

        def receive(event: Event) -> None:
            listener(event)
            outputs.extend([event] if isinstance(event, Output) else [])

        with torch.inference_mode():
            plan = planner.plan(REQUEST.replace(**changes), settings)
            run_plan(models, plan, receive, listener.cancel)
        return outputs[-1], listener

    return run


def psnr(one: Output, other: Output) -> float:
    a, b = (np.asarray(output.data, dtype=float) for output in (one, other))
    error = ((a - b) ** 2).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def refusals(listener: RecordingListener) -> list[str]:
    return [note for note in listener.notes if "instead of OpenVINO" in note]


@pytest.mark.parametrize(
    "checkpoint",
    ["demo/demo.safetensors", "demo/demo-inpainting.safetensors", "tiny-xl.safetensors"],
)
def test_a_picture_in_32_bits_is_that_of_pytorch(checkpoint: str, run: Run):
    """The UNet with four channels, with nine, and SDXL's, which is told sizes."""
    changes = {"sd_model_checkpoint": checkpoint}
    expected, _ = run(changes, accelerator="PyTorch")
    image, listener = run(changes)
    assert refusals(listener) == []
    assert (image.accelerator, image.precision, expected.accelerator) == ("OpenVINO", "", "")
    assert psnr(image, expected) > 55
    converting, compiling = "Converting the UNet for OpenVINO", "Compiling the UNet for OpenVINO"
    phases = listener.phases
    assert phases.index(converting) < phases.index(compiling) < phases.index("Sampling")


def test_a_lora_counts_and_leaves_no_trace(run: Run):
    with_lora = {"prompt": "a meadow under a blue sky <lora:demo-snow:1>"}
    without = {"prompt": "a meadow under a blue sky"}
    before, _ = run(without)
    expected, _ = run(with_lora, accelerator="PyTorch")
    image, listener = run(with_lora)
    again, _ = run(without)
    assert "Compiling the UNet for OpenVINO" in listener.phases
    assert "Converting the UNet for OpenVINO" not in listener.phases
    assert psnr(image, expected) > 55 > 30 > psnr(before, expected)
    assert again.data.tobytes() == before.data.tobytes()


def test_half_precision_stays_near_and_is_stated(run: Run, tokenizer: ClipTokenizer, cache: Path):
    """Also that the next size and number of prompts need no conversion, and damage to a stored graph a new one."""
    expected, _ = run(accelerator="PyTorch")
    models = LoadedModels(HALF, tokenizer, cache)
    image, _ = run(models=models)
    assert (image.accelerator, image.precision) == ("OpenVINO", "bf16")
    torch_half, _ = run(models=models, accelerator="PyTorch", precision="Half")
    assert psnr(image, expected) > min(35, psnr(torch_half, expected) - 6)
    changes = {"width": 64, "cfg_scale": 1, "batch_size": 1}
    _, listener = run(changes, models)
    assert listener.phases.count("Compiling the UNet for OpenVINO") == 1
    assert "Converting the UNet for OpenVINO" not in listener.phases
    for graph in (cache / "openvino").iterdir():
        graph.write_bytes(graph.read_bytes()[:1000])
    _, listener = run(models=models)
    assert "Converting the UNet for OpenVINO" in listener.phases


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tiling": True}, "Tiling changes how the UNet pads"),
        ({"deep_cache_interval": 2}, "DeepCache skips layers"),
        ({"hypertile_enable_unet": True}, "Hypertile changes the UNet"),
        ({"token_merging_ratio": 0.5}, "token merging changes the UNet"),
        ({"openvino_device": "NPU"}, "it finds no NPU here, only CPU"),
    ],
)
def test_what_a_graph_cannot_do_is_computed_by_pytorch_with_a_word(
    options: dict[str, object], reason: str, run: Run
):
    options = {"deep_cache_interval": 1} | options
    changes = {"width": 64, "height": 64, "steps": 2}
    expected, _ = run(changes, accelerator="PyTorch", **options)
    image, listener = run(changes, **options)
    assert refusals(listener)[0] == f"PyTorch computed the UNet instead of OpenVINO: {reason}."
    assert len(set(refusals(listener))) == 1
    assert image.accelerator == ""
    assert image.data.tobytes() == expected.data.tobytes()


def test_calls_with_further_inputs_and_changed_layers_are_those_of_pytorch(
    planner: Planner, exact: LoadedModels
):
    """As a ControlNet and a hook of an extension make them."""
    plan = planner.plan(REQUEST, Settings(accelerator="OpenVINO"))
    listener = RecordingListener()
    acceleration = Acceleration(listener)
    with torch.inference_mode():
        model = exact.acquire(plan.model)
        unet = model.components.unet
        inputs = torch.randn(2, 4, 9, 17), torch.tensor(7.0), torch.randn(2, 77, 256)
        sample, timestep, hidden = (
            inputs[0],
            inputs[1],
            inputs[2][..., : unet.config["cross_attention_dim"]],
        )
        middle = {"mid_block_additional_residual": torch.tensor(0.5)}
        expected = unet(sample, timestep, hidden, return_dict=False, **middle)[0]
        with acceleration.use(model, plan):
            given = unet(
                sample, timestep, encoder_hidden_states=hidden, return_dict=False, **middle
            )
        assert torch.equal(given[0], expected)
        assert acceleration.name == ""
        assert "further inputs" in refusals(listener)[0]
        handle = unet.mid_block.register_forward_hook(lambda *_: None)
        with acceleration.use(model, plan):
            assert "forward" not in vars(unet)
        handle.remove()
    assert "changes the layers" in refusals(listener)[1]


def test_an_interrupted_run_leaves_the_unet_as_it_was(planner: Planner, exact: LoadedModels):
    plan = planner.plan(REQUEST, Settings(accelerator="OpenVINO"))
    cancel, steps = CancelToken(), []

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 1:
            steps.append(event)
            cancel.interrupt()

    with torch.inference_mode(), pytest.raises(Cancelled):
        run_plan(exact, plan, interrupt, cancel)
    assert len(steps) == 1
    assert "forward" not in vars(exact.acquire(plan.model).components.unet)

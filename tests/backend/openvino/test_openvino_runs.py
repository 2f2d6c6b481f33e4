"""OpenVINO in the place of PyTorch: the same pictures, what falls back, and what the infotext says of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from modules.backend.device import BF16, FP32, Device
from modules.backend.loaded_models import LoadedModels
from modules.backend.plan_run import run_plan
from modules.models.index import ModelIndex
from modules.params.events import CancelToken, Event, Note, Output, Phase
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import ROOT

pytest.importorskip(
    "openvino", reason="OpenVINO is not installed; requirements-openvino.txt has its version"
)

CPU = torch.device("cpu")
EXACT = Device(CPU, "CPU", (FP32,), large_precisions=(FP32,))
HALF = Device(CPU, "CPU", (FP32,), large_precisions=(BF16, FP32))
# Not a multiple of 64: then the UNet crops what it enlarges.
REQUEST = Txt2ImgRequest(
    prompt="a red circle on a blue background", width=136, height=72, steps=4, cfg_scale=5, seed=1
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ModelIndex:
    folders = {
        "Checkpoint": [ROOT / "models" / "Stable-diffusion" / "demo"],
        "LORA": [ROOT / "models" / "Lora"],
    }
    return ModelIndex(folders, ROOT / "configs", tmp_path_factory.mktemp("openvino"))


class Server:
    """A device with its loaded models, which lasts for several jobs."""

    def __init__(self, device: Device, tokenizer: ClipTokenizer, cache: Path) -> None:
        self.models = LoadedModels(device, tokenizer, cache)

    def run(self, plan: Plan) -> tuple[Output, list[str], list[str]]:
        events: list[Event] = []
        with torch.inference_mode():
            run_plan(self.models, plan, events.append, CancelToken())
        (image,) = (
            event for event in events if isinstance(event, Output) and event.kind == "image"
        )
        phases = [event.text for event in events if isinstance(event, Phase)]
        return image, [event.text for event in events if isinstance(event, Note)], phases


def plan_of(
    index: ModelIndex, checkpoint: str = "demo", request=REQUEST, **options: object
) -> Plan:
    settings = validate(Settings, {"accelerator": "OpenVINO", **options})
    return make_plan(request, index, index.find_checkpoint(checkpoint), settings)


def psnr(one: Output, other: Output) -> float:
    a, b = (np.asarray(output.data, dtype=float) for output in (one, other))
    error = ((a - b) ** 2).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@pytest.mark.parametrize("checkpoint", ["demo", "demo-inpainting", "demo-v2"])
def test_a_picture_in_32_bits_is_that_of_pytorch(
    checkpoint: str, index: ModelIndex, tokenizer: ClipTokenizer, tmp_path: Path
):
    server = Server(EXACT, tokenizer, tmp_path)
    torch_image, *_ = server.run(plan_of(index, checkpoint, accelerator="PyTorch"))
    image, notes, phases = server.run(plan_of(index, checkpoint))
    assert not [note for note in notes if "OpenVINO" in note]
    assert (image.accelerator, image.precision, torch_image.accelerator) == ("OpenVINO", "", "")
    assert psnr(image, torch_image) > 55
    assert "Converting the UNet for OpenVINO" in phases
    assert phases.index("Compiling the UNet for OpenVINO") < phases.index("Sampling")

"""The option "Precision": in how many bits a model computes, and what an infotext says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modules.backend.components import Precision
from modules.backend.device import BF16, FP16, FP32, Device
from modules.backend.loaded_models import LoadedModels
from modules.backend.plan_run import run_plan
from modules.models.index import ModelIndex
from modules.params.events import CancelToken, Event, Note, Output
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import ROOT

CPU = torch.device("cpu")
GPU = Device(CPU, "GPU", (FP16, BF16, FP32))
PROCESSOR = Device(CPU, "CPU", (FP32,), large_precisions=(BF16, FP32))
OLD_PROCESSOR = Device(CPU, "CPU", (FP32,), large_precisions=(FP32,))
REQUEST = Txt2ImgRequest(
    prompt="a red circle on a blue background", width=64, height=64, steps=4, cfg_scale=5, seed=1
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ModelIndex:
    folder = ROOT / "models" / "Stable-diffusion" / "demo"
    return ModelIndex(
        {"Checkpoint": [folder]}, ROOT / "configs", tmp_path_factory.mktemp("precision")
    )


def plan_of(index: ModelIndex, **options: object) -> Plan:
    return make_plan(REQUEST, index, index.find_checkpoint("demo"), validate(Settings, options))


def run(device: Device, tokenizer: ClipTokenizer, plan: Plan) -> tuple[Output, list[str]]:
    events: list[Event] = []
    with torch.inference_mode():
        run_plan(LoadedModels(device, tokenizer), plan, events.append, CancelToken())
    (image,) = (event for event in events if isinstance(event, Output))
    return image, [event.text for event in events if isinstance(event, Note)]


@pytest.mark.parametrize(
    ("device", "option", "expected"),
    [
        (GPU, "Automatic", FP16),
        (GPU, "Half", FP16),
        (GPU, "Full", FP32),
        (PROCESSOR, "Automatic", FP32),
        (PROCESSOR, "Half", BF16),
        (OLD_PROCESSOR, "Half", FP32),
    ],
)
def test_the_option_chooses_among_the_precisions_of_the_device(
    device: Device, option: str, expected: Precision, tokenizer: ClipTokenizer, index: ModelIndex
):
    model = LoadedModels(device, tokenizer).acquire(plan_of(index, precision=option).model)
    assert model.components.unet.dtype == expected.unet
    assert model.components.vae.dtype == torch.float32


def test_half_precision_makes_nearly_the_same_picture_and_says_so(
    tokenizer: ClipTokenizer, index: ModelIndex
):
    full, _ = run(PROCESSOR, tokenizer, plan_of(index))
    half, notes = run(PROCESSOR, tokenizer, plan_of(index, precision="Half"))
    again, _ = run(PROCESSOR, tokenizer, plan_of(index, precision="Half"))
    assert (full.precision, half.precision) == ("", "bf16")
    assert not any("32 bits" in note for note in notes)
    assert half.data.tobytes() == again.data.tobytes() != full.data.tobytes()
    difference = np.asarray(half.data, dtype=float) - np.asarray(full.data, dtype=float)
    assert np.sqrt((difference**2).mean()) < 8  # of 255


def test_a_processor_without_16_bits_says_so_and_makes_the_full_picture(
    tokenizer: ClipTokenizer, index: ModelIndex
):
    image, notes = run(OLD_PROCESSOR, tokenizer, plan_of(index, precision="Half"))
    assert image.precision == "fp32"
    assert "CPU has no 16-bit arithmetic here: the picture is computed in 32 bits." in notes


@pytest.mark.parametrize(
    ("dtype", "option"), [("bf16", "Half"), ("fp16", "Half"), ("fp32", "Full")]
)
def test_the_dtype_of_an_infotext_is_read_as_the_option(dtype: str, option: str):
    assert validate(Settings, {"precision": dtype}).precision == option

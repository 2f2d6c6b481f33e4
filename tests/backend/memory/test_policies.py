"""Models on devices that are too small for them: which policy is chosen, where weights lie, and that images stay.

There is no second device here: "cpu:0" stands for one. A tensor that is moved to it is copied, and says it is on the CPU.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from modules.backend.components import Components
from modules.backend.device import FP32, Device
from modules.backend.loaded_models import LoadedModels
from modules.backend.memory.offload import networks_of
from modules.backend.memory.policies import (
    POLICIES,
    MemoryPolicy,
    ModelBytes,
    choose_policy,
    measure,
)
from modules.backend.plan_run import run_plan
from modules.core.errors import OutOfMemory
from modules.models.index import ModelIndex
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.models.weight_counts import count_weights
from modules.params.image import ImageField
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_modules, write_checkpoint
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

GPU = torch.device("cpu", 0)
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)
ALL, IDLE, BLOCKS = POLICIES


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ModelIndex:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder / "tiny.safetensors")
    return ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")


def spec_of(index: ModelIndex, **options: Any) -> ModelSpec:
    return make_model_spec(index, index.find_checkpoint("tiny"), Settings(**options))


def plan_of(index: ModelIndex, request: GenerationRequest = SMALL, **options: Any) -> Plan:
    return make_plan(request, index, index.find_checkpoint("tiny"), Settings(**options))


def size_of(index: ModelIndex) -> ModelBytes:
    spec = spec_of(index)
    return measure(spec, count_weights(spec), FP32)


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_weights_are_counted_from_the_header(index: ModelIndex):
    counts = count_weights(spec_of(index))
    unet, vae, text_encoder = tiny_modules()
    assert counts.unet == parameters_of(unet)
    assert counts.vae == parameters_of(vae)
    assert counts.text_encoders == (parameters_of(text_encoder),)
    blocks = [block for block in unet.modules() if "ResnetBlock" in type(block).__name__]
    blocks += [block for block in unet.modules() if type(block).__name__ == "Transformer2DModel"]
    assert counts.unet_block == max(map(parameters_of, blocks))


def test_8_bit_weights_count_a_byte_each(index: ModelIndex):
    spec = spec_of(index, fp8_storage="Enable")
    counts = count_weights(spec)
    size = measure(spec, counts, FP32)
    assert (size.unet, size.text_encoders) == (counts.unet, counts.text_encoders)
    assert size.vae == 4 * counts.vae


def test_automatic_takes_the_first_policy_for_which_there_is_room(index: ModelIndex):
    spec, size = spec_of(index), ModelBytes(5000, 500, 300, (200, 1400), 800)
    rooms = [row.weight_bytes(size) + size.working for row in POLICIES]
    assert rooms == [7700, 5800, 2200]
    assert [choose_policy(spec, size, room) for room in rooms] == list(POLICIES)
    assert choose_policy(spec, size, rooms[0], lowest=1) is IDLE
    # What is needed besides weights is a guess, so it refuses nothing.
    assert choose_policy(spec, size, BLOCKS.weight_bytes(size)) is BLOCKS


def test_a_device_without_memory_of_its_own_keeps_all(index: ModelIndex):
    spec = spec_of(index, memory_policy="UNet in blocks")
    assert choose_policy(spec, size_of(index), None) is ALL


def test_a_model_that_does_not_fit_is_refused_with_the_policy_that_would(index: ModelIndex):
    size = ModelBytes(int(5.1e9), int(0.5e9), int(0.3e9), (int(0.2e9), int(1.4e9)), int(0.8e9))
    with pytest.raises(OutOfMemory) as caught:
        choose_policy(spec_of(index, memory_policy=ALL.name), size, int(6e9))
    assert str(caught.value) == (
        "tiny.safetensors needs 7.0 GB of the device with 'All on the device', and 6.0 GB are free."
        " Choose 'Idle parts off the device' in the Models settings (start with --medvram)."
    )
    with pytest.raises(OutOfMemory, match="8 bits"):
        choose_policy(spec_of(index), size, int(1e9))
    with pytest.raises(OutOfMemory, match=r"Work on the CPU"):
        choose_policy(spec_of(index, fp8_storage="Enable"), size, int(1e9))


def test_medvram_sdxl_leaves_other_models_to_automatic(index: ModelIndex):
    assert spec_of(index, memory_policy="Idle parts off the device for SDXL").memory_policy == (
        "Automatic"
    )


class Weights:
    """Follows which weights were sent to the device, and how many are there whenever a layer computes."""

    def __init__(self, components: Components, monkeypatch: pytest.MonkeyPatch) -> None:
        self.peak_bytes = 0
        self.absent: list[str] = []  # layers that computed without theirs
        self._there: set[int] = set()  # addresses
        self._networks = networks_of(components)
        to = torch.Tensor.to

        def record(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            moved = to(tensor, *args, **kwargs)
            target = args[0] if args else kwargs.get("device")
            if isinstance(target, torch.device):
                change = self._there.add if target == GPU else self._there.discard
                change(moved.data_ptr())
            return moved

        monkeypatch.setattr(torch.Tensor, "to", record)
        for network in self._networks:
            for name, layer in network.named_modules():
                if list(layer.parameters(recurse=False)):
                    layer.register_forward_pre_hook(partial(self._compute, name))

    def _compute(self, name: str, layer: nn.Module, _: Any) -> None:
        if not all(weight.data_ptr() in self._there for weight in layer.parameters(recurse=False)):
            self.absent.append(name)
        weights = [weight for network in self._networks for weight in network.parameters()]
        there = [weight for weight in weights if weight.data_ptr() in self._there]
        present = sum(weight.numel() * weight.element_size() for weight in there)
        self.peak_bytes = max(self.peak_bytes, present)


def small_device(free: int) -> Device:
    return Device(GPU, "Small device", (FP32,), free_bytes=lambda: free)


def image_of(models: LoadedModels, plan: Plan) -> np.ndarray:
    listener = RecordingListener(wants_previews=True)
    with torch.inference_mode():
        run_plan(models, plan, listener, listener.cancel)
    ((_, image),) = listener.images
    assert listener.notes == []
    return np.asarray(image)


IMG2IMG = Img2ImgRequest(
    init_image=ImageField.from_pil(Image.new("RGB", (64, 64), "grey")),
    **SMALL.model_dump(include=set(Img2ImgRequest.model_fields) & set(Txt2ImgRequest.model_fields)),
)


@pytest.mark.parametrize("request_", [SMALL, IMG2IMG], ids=["txt2img", "img2img"])
@pytest.mark.parametrize("policy", [IDLE, BLOCKS], ids=lambda row: row.flag)
def test_weights_come_for_their_turn_and_the_image_stays_the_same(
    index: ModelIndex,
    tokenizer: ClipTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    policy: MemoryPolicy,
    request_: GenerationRequest,
):
    expected = image_of(LoadedModels(small_device(10**9), tokenizer), plan_of(index, request_))
    size = size_of(index)
    models = LoadedModels(small_device(policy.weight_bytes(size)), tokenizer)
    plan = plan_of(index, request_, memory_policy=policy.name)
    weights = Weights(models.acquire(plan.model).components, monkeypatch)
    image = image_of(models, plan)
    assert np.array_equal(image, expected)
    assert weights.absent == []
    # Of the UNet in blocks, its first and last layers stay while it computes.
    assert weights.peak_bytes <= policy.weight_bytes(size) + 0.05 * size.unet
    assert weights.peak_bytes < ALL.weight_bytes(size)


def test_several_images_and_a_change_of_policy(index: ModelIndex, tokenizer: ClipTokenizer):
    models = LoadedModels(small_device(10**9), tokenizer)
    images = [
        image_of(models, plan_of(index, memory_policy=name))
        for name in (ALL.name, BLOCKS.name, IDLE.name, ALL.name)
    ]
    assert all(np.array_equal(image, images[0]) for image in images)


def test_a_lack_of_memory_lowers_the_policy_and_the_batch_runs_again(
    index: ModelIndex, tokenizer: ClipTokenizer
):
    models = LoadedModels(small_device(10**9), tokenizer)
    plan = plan_of(index)
    expected = image_of(models, plan)
    unet = models.acquire(plan.model).components.unet
    unet.register_forward_pre_hook(run_out_of_memory)
    listener = RecordingListener()
    with torch.inference_mode():
        run_plan(models, plan, listener, listener.cancel)
    ((_, image),) = listener.images
    assert listener.notes == [
        "tiny.safetensors ran out of memory and runs again with 'Idle parts off the device', which"
        " takes longer."
    ]
    assert np.array_equal(np.asarray(image), expected)


def run_out_of_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_with_a_policy_that_was_asked_for_a_lack_of_memory_is_an_error_that_names_the_next(
    index: ModelIndex, tokenizer: ClipTokenizer
):
    models = LoadedModels(small_device(10**9), tokenizer)
    plan = plan_of(index, memory_policy=IDLE.name)
    models.acquire(plan.model).components.unet.register_forward_pre_hook(run_out_of_memory)
    listener = RecordingListener()
    with pytest.raises(OutOfMemory, match="or choose 'UNet in blocks' in the Models settings"):
        run_plan(models, plan, listener, listener.cancel)


def test_a_second_model_leaves_when_the_first_would_not_be_all_there(
    index: ModelIndex, tokenizer: ClipTokenizer
):
    """With room for one and a half models, two that may stay loaded take turns."""
    size = ALL.weight_bytes(size_of(index)) + size_of(index).working
    held: list[weakref.ref[Any]] = []
    free = lambda: int(1.5 * size) - size * sum(ref() is not None for ref in held)  # noqa: E731
    models = LoadedModels(Device(GPU, "Small device", (FP32,), free_bytes=free), tokenizer)
    models.set_limit(2)
    first = models.acquire(spec_of(index))
    held.append(weakref.ref(first.components.unet))
    del first
    second = models.acquire(spec_of(index, sd_use_ema=True))
    assert held[0]() is None
    assert not hasattr(second.components.unet, "_hf_hook")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda row: row.name)
def test_weights_in_8_bits_give_nearly_the_same_image(
    index: ModelIndex, tokenizer: ClipTokenizer, policy: MemoryPolicy
):
    models = LoadedModels(small_device(10**9), tokenizer)
    exact = image_of(models, plan_of(index, memory_policy=policy.name)).astype(float)
    plan = plan_of(index, memory_policy=policy.name, fp8_storage="Enable")
    assert plan.settings.fp8_storage == "Enable"
    image = image_of(models, plan).astype(float)
    components = models.acquire(plan.model).components
    stored = {weight.dtype for weight in components.unet.parameters()}
    assert stored == {torch.float8_e4m3fn, torch.float32}
    convolution = components.unet.down_blocks[0].resnets[0].conv1.weight
    assert convolution.dtype == torch.float8_e4m3fn
    assert not np.array_equal(image, exact)
    assert 10 * np.log10(255**2 / np.square(image - exact).mean()) > 20

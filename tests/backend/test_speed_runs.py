"""Whole jobs with what makes a device quicker: images decoded beside the next batch, compiled blocks, attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modules.backend.denoise.compiled_blocks import CompiledBlocks, count_graphs
from modules.backend.runner import Runner
from modules.backend.vae import PendingImage
from modules.core.errors import Cancelled, NotFinite
from modules.models.index import ModelIndex
from modules.models.networks.network_kinds import LORA
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.networks.loras import TO_Q, lora_parts, write_lora
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7, n_iter=3)


class Beside:
    """A stand-in for a second stream: an image is decoded a step after the last one that was waited for."""

    def __init__(self) -> None:
        self.started = 0
        self.looks = 0

    def run(self, start: Callable[[], PendingImage]) -> PendingImage:
        self.started += 1
        image = start()

        def is_ready() -> bool:
            self.looks += 1
            return self.looks > 1

        return PendingImage(is_ready, image.result)


def plan_of(folder: Path, request: Txt2ImgRequest = SMALL, **options: Any) -> Plan:
    folders = {"Checkpoint": [folder], LORA: [folder / "lora"]}
    index = ModelIndex(folders, ROOT / "configs", folder / "cache")
    return make_plan(request, index, index.find_checkpoint("tiny"), Settings(**options))


@pytest.fixture
def runner(tokenizer: ClipTokenizer, tmp_path: Path) -> Runner:
    write_checkpoint(tmp_path / "tiny.safetensors")
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


@pytest.fixture
def beside(runner: Runner) -> Beside:
    runner.models.overlap = beside = Beside()
    return beside


def images_of(listener: RecordingListener) -> list[tuple[int, bytes]]:
    return [(index, image.tobytes()) for index, image in listener.images]


def test_images_that_are_decoded_beside_the_next_batch_are_the_same(runner: Runner, tmp_path: Path):
    plan, expected, found = plan_of(tmp_path), RecordingListener(), RecordingListener()
    runner.run(plan, expected)
    runner.models.overlap = beside = Beside()
    steps_at_first_image: list[int] = []

    def receive(event: Any) -> None:
        found(event)
        if found.images and not steps_at_first_image:
            steps_at_first_image.append(len(found.progress))

    runner.run(plan, receive)
    assert images_of(found) == images_of(expected)
    assert beside.started == 3
    assert steps_at_first_image == [4], (
        "the first image comes with the last step of the second batch"
    )


def test_an_interrupted_job_keeps_what_was_being_decoded(
    runner: Runner, beside: Beside, tmp_path: Path
):
    listener = RecordingListener(stop_after=3)
    with pytest.raises(Cancelled):
        runner.run(plan_of(tmp_path), listener, listener.cancel)
    assert [index for index, _ in listener.images] == [0]


def test_the_vaes_overflow_is_told_when_the_image_is_there(
    runner: Runner, beside: Beside, tmp_path: Path
):
    weights = tiny_weights()
    last = "first_stage_model.decoder.conv_out.weight"
    weights[last] = weights[last].sign() * 3e38  # each is a number, and their sums are not
    write_checkpoint(tmp_path / "tiny.safetensors", weights=weights)
    with pytest.raises(NotFinite, match="VAE"):
        runner.run(plan_of(tmp_path, SMALL.replace(n_iter=1)))
    assert beside.started == 1


def test_a_job_of_two_checkpoints_decodes_at_once(runner: Runner, beside: Beside, tmp_path: Path):
    write_checkpoint(tmp_path / "other.safetensors", seed=1)
    request = SMALL.replace(n_iter=2, refiner_checkpoint="other", refiner_switch_at=0.5, steps=4)
    listener = RecordingListener()
    runner.run(plan_of(tmp_path, request), listener)
    assert beside.started == 0
    assert len(listener.images) == 2


@pytest.fixture
def traced(runner: Runner, tmp_path: Path) -> CompiledBlocks:
    """Return the blocks of the loaded checkpoint; their graphs are traced and run as they are, without a compiler."""
    torch._dynamo.reset()
    model = runner.models.acquire(plan_of(tmp_path).model)
    model.compiled = compiled = CompiledBlocks(backend="eager")
    return compiled


def test_a_job_compiles_once_and_says_so_and_a_lora_compiles_nothing(
    runner: Runner, traced: CompiledBlocks, tmp_path: Path
):
    query = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    weights = runner.models.acquire(plan_of(tmp_path).model).components.unet.state_dict()
    write_lora(tmp_path / "lora", "style", lora_parts(TO_Q, weights[query]))
    first, second = RecordingListener(), RecordingListener()
    request = SMALL.replace(n_iter=1)
    runner.run(plan_of(tmp_path, request, compile_unet=True), first)
    assert first.phases[2:5] == [
        "Sampling",
        "Compiling the network, once for this model",
        "Sampling",
    ]
    assert [note for note in first.notes if note.startswith("The network was compiled in ")]
    graphs = count_graphs()
    changed = request.replace(prompt="a cat <lora:style:1>", width=128)
    runner.run(plan_of(tmp_path, changed, compile_unet=True), second)
    assert count_graphs() == graphs
    assert second.notes == []
    assert "Compiling the network, once for this model" not in second.phases


def test_what_does_not_go_together_with_compiling_is_told_once(
    runner: Runner, traced: CompiledBlocks, tmp_path: Path
):
    listener, graphs = RecordingListener(), count_graphs()
    options = {"compile_unet": True, "hypertile_enable_unet": True, "token_merging_ratio": 0.5}
    runner.run(plan_of(tmp_path, SMALL.replace(n_iter=2), **options), listener)
    reason = "Hypertile and token merging changes the blocks of the network"
    assert listener.notes == [f"The network is not compiled, since {reason}."]
    assert count_graphs() == graphs


def test_a_failing_compiler_costs_no_picture(
    runner: Runner, traced: CompiledBlocks, tmp_path: Path
):
    expected, found, again = (RecordingListener() for _ in range(3))
    request = SMALL.replace(n_iter=1)
    runner.run(plan_of(tmp_path, request), expected)

    def fail(*_: object) -> Any:
        raise RuntimeError("no kernel")

    model = runner.models.acquire(plan_of(tmp_path).model)
    model.compiled = CompiledBlocks(backend=fail)
    runner.run(plan_of(tmp_path, request, compile_unet=True), found)
    assert images_of(found) == images_of(expected)
    runner.run(plan_of(tmp_path, request, compile_unet=True), again)
    note = "The network is not compiled, since the compiler failed, as the log says."
    assert (found.notes, again.notes) == ([note], [note])


def test_attention_that_is_not_there_is_told_and_the_picture_is_made(
    runner: Runner, tmp_path: Path
):
    expected, found = RecordingListener(), RecordingListener()
    runner.run(plan_of(tmp_path, SMALL.replace(n_iter=1)), expected)
    option = {"cross_attention_optimization": "cuDNN"}
    runner.run(plan_of(tmp_path, SMALL.replace(n_iter=1), **option), found)
    assert images_of(found) == images_of(expected)
    (note,) = found.notes
    assert note.startswith("PyTorch's own attention is used instead of cuDNN: ")


def test_prompts_are_encoded_anew_where_the_option_says_so(runner: Runner, tmp_path: Path):
    model = runner.models.acquire(plan_of(tmp_path).model)
    calls: list[object] = []
    encoder = model.components.text_encoders[0].network
    encoder.register_forward_pre_hook(lambda *_: calls.append(None))
    for persistent in (True, True, False, False):
        runner.run(plan_of(tmp_path, SMALL, persistent_cond_cache=persistent))
    assert len(calls) == 2 * 3, "prompt and negative prompt, of the first job and the last two"

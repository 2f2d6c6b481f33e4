from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.device import FP16, FP32
from modules.backend.runner import Runner
from modules.core.errors import BadFile, Cancelled
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.plan.work import LoadModel
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)
CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


def plan_of(folder: Path, request: Txt2ImgRequest, name: str = "tiny") -> Plan:
    manager = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
    return make_plan(request, manager, manager.find_checkpoint(name))


@pytest.fixture
def runner(tokenizer: ClipTokenizer) -> Runner:
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


def scaled(factor: float) -> Mapping[str, Any]:
    """Return weights whose first convolution overflows half precision."""
    weights: dict[str, Tensor] = tiny_weights()
    weights[CONV_IN] = weights[CONV_IN] * factor
    return weights


def test_a_plan_gives_all_its_images(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    listener = RecordingListener()
    runner.run(plan_of(tmp_path, SMALL.replace(n_iter=2, batch_size=2)), listener)
    assert [index for index, _ in listener.images] == [0, 1, 2, 3]
    assert listener.phases[0] == "Loading tiny.safetensors"
    assert listener.notes == []


def test_a_loaded_checkpoint_is_not_read_again(runner: Runner, tmp_path: Path):
    path = write_checkpoint(tmp_path / "tiny.safetensors")
    plan = plan_of(tmp_path, SMALL)
    runner.run(LoadModel(plan.model))
    path.rename(tmp_path / "elsewhere")
    listener = RecordingListener()
    runner.run(plan, listener)
    assert len(listener.images) == 1


def test_a_changed_yaml_is_read_again(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    first, second = RecordingListener(), RecordingListener()
    runner.run(plan_of(tmp_path, SMALL), first)
    write_checkpoint(tmp_path / "tiny.safetensors", changes={"parameterization": "v"})
    runner.run(plan_of(tmp_path, SMALL), second)
    assert first.images[0][1].tobytes() != second.images[0][1].tobytes()


def test_an_overflowing_batch_runs_again_one_precision_higher(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors", weights=scaled(1e6))
    runner.models.device = replace(runner.device, precisions=(FP16, FP32))
    first, second = RecordingListener(), RecordingListener()
    runner.run(plan_of(tmp_path, SMALL), first)
    runner.run(plan_of(tmp_path, SMALL), second)
    assert len(first.images) == 1
    assert len(first.notes) == 1
    assert "tiny.safetensors" in first.notes[0]
    assert "float32" in first.notes[0]
    assert second.notes == [], "the needed precision is remembered"
    assert first.images[0][1].tobytes() == second.images[0][1].tobytes()


def test_the_image_after_a_retry_equals_that_of_full_precision(
    runner: Runner, tmp_path: Path, tokenizer: ClipTokenizer
):
    write_checkpoint(tmp_path / "tiny.safetensors", weights=scaled(1e6))
    full, retried = RecordingListener(), RecordingListener()
    runner.run(plan_of(tmp_path, SMALL), full)
    runner.models.device = replace(runner.device, precisions=(FP16, FP32))
    runner.run(plan_of(tmp_path, SMALL), retried)
    assert full.images[0][1].tobytes() == retried.images[0][1].tobytes()


def test_another_checkpoint_starts_at_the_first_precision(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "overflowing.safetensors", weights=scaled(1e6))
    write_checkpoint(tmp_path / "normal.safetensors")
    runner.models.device = replace(runner.device, precisions=(FP16, FP32))
    overflowing, normal = RecordingListener(), RecordingListener()
    runner.run(plan_of(tmp_path, SMALL, "overflowing"), overflowing)
    runner.run(plan_of(tmp_path, SMALL, "normal"), normal)
    assert (len(overflowing.notes), len(normal.notes)) == (1, 0)


@pytest.mark.parametrize("key", [CONV_IN, "first_stage_model.decoder.conv_out.weight"])
def test_an_overflow_at_the_highest_precision_is_an_error(runner: Runner, tmp_path: Path, key: str):
    weights = tiny_weights()
    weights[key] = torch.full_like(weights[key], torch.nan)
    write_checkpoint(tmp_path / "tiny.safetensors", weights=weights)
    listener = RecordingListener()
    with pytest.raises(BadFile, match=r"'tiny\.safetensors' is damaged: .* invalid numbers"):
        runner.run(plan_of(tmp_path, SMALL), listener)
    assert listener.images == []


def test_a_broken_vae_is_not_retried(runner: Runner, tmp_path: Path):
    """It computes in single precision from the start, and earlier images of the batch are already handed out."""
    weights = tiny_weights()
    key = "first_stage_model.decoder.conv_out.weight"
    weights[key] = torch.full_like(weights[key], torch.nan)
    write_checkpoint(tmp_path / "tiny.safetensors", weights=weights)
    runner.models.device = replace(runner.device, precisions=(FP16, FP32))
    listener = RecordingListener()
    with pytest.raises(BadFile, match="its AutoencoderKL has invalid numbers"):
        runner.run(plan_of(tmp_path, SMALL), listener)
    assert listener.notes == []


def test_an_interrupt_before_the_first_step_gives_no_image(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    listener = RecordingListener(stop_after=0)
    with pytest.raises(Cancelled):
        runner.run(plan_of(tmp_path, SMALL), listener, listener.cancel)
    assert listener.progress == []


def test_an_interrupt_preserves_finished_batches(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    listener = RecordingListener(stop_after=3)
    with pytest.raises(Cancelled):
        runner.run(plan_of(tmp_path, SMALL.replace(n_iter=3)), listener, listener.cancel)
    assert [index for index, _ in listener.images] == [0]


def test_a_skip_drops_one_batch_within_a_step(runner: Runner, tmp_path: Path):
    write_checkpoint(tmp_path / "tiny.safetensors")
    listener = RecordingListener(skips=2)
    runner.run(
        plan_of(tmp_path, SMALL.replace(steps=5, n_iter=2, seed=7)), listener, listener.cancel
    )
    assert [index for index, _ in listener.images] == [1]
    assert len(listener.progress) == 2 + 5
    assert "Batch 1 of 2 was skipped." in listener.notes


def test_a_job_with_a_file_that_was_cut_short_after_loading_is_done_and_says_so(
    runner: Runner, tmp_path: Path
):
    path = write_checkpoint(tmp_path / "tiny.safetensors")
    plan, first, second = plan_of(tmp_path, SMALL), RecordingListener(), RecordingListener()
    runner.run(plan, first)
    os.truncate(path, 100)
    runner.run(plan, second)
    assert second.images[0][1].tobytes() == first.images[0][1].tobytes()
    assert first.notes == []
    assert "and has 100 bytes now. The loaded copy is used" in second.notes[0]
    runner.models.clear()
    with pytest.raises(BadFile, match="incomplete"):
        runner.run(plan, RecordingListener())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "key",
    [
        CONV_IN,
        "first_stage_model.decoder.conv_out.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ],
)
def test_invalid_numbers_in_any_network_are_answered_as_a_bad_file(
    runner: Runner, tmp_path: Path, key: str, value: float
):
    weights = tiny_weights()
    weights[key] = torch.full_like(weights[key], value)
    write_checkpoint(tmp_path / "tiny.safetensors", weights=weights)
    listener = RecordingListener()
    with pytest.raises(BadFile, match=r"'tiny\.safetensors' is damaged") as caught:
        runner.run(plan_of(tmp_path, SMALL), listener)
    assert caught.value.status_code == 422
    write_checkpoint(tmp_path / "good.safetensors")
    runner.run(plan_of(tmp_path, SMALL, "good"), listener)
    assert len(listener.images) == 1

"""How much memory is in use, measured in a process that has done nothing else.

The heap of one that ran other tests has holes: they serve even large tensors, so that nothing is returned to the
system with these, and threads that earlier tests left take and return memory at any moment. One process serves all
tests of this file, for it takes seconds to import what they need.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from modules.backend.loading.buffers import TensorSpec, allocate_buffers
from modules.backend.merging.merge import merge_checkpoints
from modules.backend.runner import Runner
from modules.core.errors import OutOfMemory
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.merging.merging import Folder
from tests.backend.process_memory import resident_bytes
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

MIB = 1 << 20
BIG = TensorSpec(torch.Size((4, MIB)), torch.float32)  # 16 MiB
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def measure_buffers() -> list[int]:
    """Return the bytes that eight tensors take, those that the last one takes, and those that stay after it."""
    start, sizes = resident_bytes(), []
    tensors = allocate_buffers([BIG] * 8)
    for tensor in tensors:
        tensor.fill_(1)
    sizes.append(resident_bytes() - start)
    del tensors[:-1], tensor
    gc.collect()
    sizes.append(resident_bytes() - start)
    del tensors
    gc.collect()
    sizes.append(resident_bytes() - start)
    return sizes


def test_the_memory_is_returned_with_the_last_buffer(fresh_process: ProcessPoolExecutor):
    eight, one, none = fresh_process.submit(measure_buffers).result()
    assert eight > 120 * MIB
    assert one > 120 * MIB  # it keeps the storage of all alive
    assert none < 16 * MIB


def measure_merge(data: Path) -> int:
    """Return the most bytes that a merge of two checkpoints takes above those in use before it."""
    folder, peak = Folder(data), 0
    folder.merge("small", "small", save_metadata=False, custom_name="x")  # what is loaded once
    plan = folder.plan("a", "b", save_metadata=False)
    before = resident_bytes()

    def watch(event: object) -> None:
        nonlocal peak
        peak = max(peak, resident_bytes())

    merge_checkpoints(None, plan, watch, folder.cancel)
    return peak - before


def test_a_merge_holds_a_part_of_one_tensor(fresh_process: ProcessPoolExecutor, tmp_path: Path):
    folder = Folder(tmp_path)
    write_checkpoint(folder.checkpoints / "small.safetensors")
    weights = {**tiny_weights(), "model.diffusion_model.large": torch.zeros(16_000_000)}  # 64 MB
    for name in "ab":
        write_checkpoint(folder.checkpoints / f"{name}.safetensors", weights=weights)
    peak = fresh_process.submit(measure_merge, tmp_path).result()
    assert peak < 32_000_000  # A, B and the result have 64 MB each


def plan_of(folder: Path, request: Txt2ImgRequest) -> Plan:
    index = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
    return make_plan(request, index, index.find_checkpoint("tiny"))


def run_out_of_memory(folder: Path) -> tuple[str, int]:
    """Return the error of a batch that exceeds the process's limit, and the number of images of the next job."""
    vocabulary = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    runner = Runner(DeviceOptions(use_cpu=True), ClipTokenizer(vocabulary))
    runner.run(plan_of(folder, SMALL), RecordingListener())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, limits[1]))
    error, listener = "", RecordingListener()
    try:
        too_large = SMALL.replace(width=2048, height=2048, batch_size=8)
        runner.run(plan_of(folder, too_large), RecordingListener())
    except OutOfMemory as caught:
        error = str(caught)
    finally:
        runner.run(plan_of(folder, SMALL), listener)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return error, len(listener.images)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_out_of_memory_is_a_sentence_and_the_next_job_runs(
    fresh_process: ProcessPoolExecutor, tmp_path: Path
):
    write_checkpoint(tmp_path / "tiny.safetensors")
    error, image_count = fresh_process.submit(run_out_of_memory, tmp_path).result()
    assert "too little memory for a batch of 8 at 2048x2048" in error
    assert image_count == 1

"""The real executor with the real backend on the CPU and a tiny random checkpoint."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from modules.backend.loaded_models import LoadedModels
from modules.core.errors import Cancelled
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.executors import DeviceInfo
from modules.engine.executors.local import LocalExecutor
from modules.models.model_spec import make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken, Event, Progress, Sink
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.work import LoadModel, Work
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.conftest import builtin_registries

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)
PATIENCE_S = 120


@pytest.fixture
def engine(tmp_path: Path, tokenizer: ClipTokenizer) -> Iterator[Engine]:
    write_checkpoint(tmp_path / "models" / "Stable-diffusion" / "tiny.safetensors")
    paths = Paths(tmp_path, tmp_path)
    engine = Engine(
        paths,
        LocalExecutor(DeviceOptions(use_cpu=True), tokenizer),
        tokenizer,
        builtin_registries(),
    )
    yield engine
    engine.stop()


def test_a_request_produces_an_image(engine: Engine):
    engine.start()
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    status = job.status()
    assert (status.state, status.error) == ("done", "")
    with Image.open(status.images[0].path) as image:
        assert image.size == (64, 64)
    assert engine.device_status.device.startswith("CPU")


def test_a_checkpoint_that_cannot_be_loaded_fails_only_its_job(engine: Engine):
    engine.start()
    folder = engine.paths.checkpoint_folders[0]
    write_checkpoint(
        folder / "other.safetensors", changes={"unet_config.params.model_channels": 64}
    )
    engine.models.refresh()
    bad = engine.submit(SMALL.replace(sd_model_checkpoint="other"))
    assert bad.wait(PATIENCE_S)
    assert bad.status().state == "failed"
    assert "The .yaml belongs to another model" in bad.status().error
    good = engine.submit(SMALL.replace(sd_model_checkpoint="tiny"))
    assert good.wait(PATIENCE_S)
    assert good.status().state == "done"


def test_a_deleted_yaml_is_named_in_the_error(engine: Engine):
    engine.start()
    engine.models.refresh()
    (engine.paths.checkpoint_folders[0] / "tiny.yaml").unlink()
    job = engine.submit(SMALL.replace(sd_model_checkpoint="tiny"))
    assert job.wait(PATIENCE_S)
    assert job.status().state == "failed"
    assert "tiny.yaml" in job.status().error
    assert "Internal error" not in job.status().error


def unets() -> list[object]:
    return [item for item in gc.get_objects() if type(item).__name__ == "UNet2DConditionModel"]


def test_an_ended_job_does_not_keep_the_model_alive(engine: Engine):
    """A job stays in memory with its error; the error's traceback must not keep the weights alive."""
    earlier = unets()
    engine.start()
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    executor = engine.executor
    cancel = CancelToken()

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.interrupt()

    future = executor.submit(job.plan, interrupt, cancel)
    assert isinstance(future.exception(PATIENCE_S), Cancelled)
    new = [weakref.ref(unet) for unet in unets() if id(unet) not in map(id, earlier)]
    assert len(new) == 1
    write_checkpoint(engine.paths.checkpoint_folders[0] / "next.safetensors", seed=1)
    engine.models.refresh()
    checkpoint = engine.models.find_checkpoint("next")
    executor.submit(LoadModel(make_model_spec(engine.models, checkpoint, engine.settings))).result(
        PATIENCE_S
    )
    gc.collect()
    assert new[0]() is None
    assert isinstance(future.exception(), Cancelled)


def test_the_device_is_opened_in_the_background(tokenizer: ClipTokenizer):
    ready = threading.Event()
    infos: list[DeviceInfo | None] = []

    def on_ready(info: DeviceInfo | None, failure: str) -> None:
        infos.append(info)
        ready.set()

    executor = LocalExecutor(DeviceOptions(use_cpu=True), tokenizer)
    executor.start(on_ready)
    assert ready.wait(PATIENCE_S)
    assert infos[0] is not None
    assert infos[0].warning == ""
    assert executor.stop(10)


def test_an_executor_that_was_never_started_stops_at_once(tokenizer: ClipTokenizer):
    assert LocalExecutor(DeviceOptions(), tokenizer).stop(10)


@dataclass(frozen=True)
class Raise(Work[None]):
    """Work that raises."""

    error: BaseException


def raise_error(models: LoadedModels, work: Raise, sink: Sink, cancel: CancelToken) -> None:
    raise work.error


@pytest.mark.parametrize(
    "error", [ValueError("\ud83d"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
def test_no_error_ends_the_thread_of_the_device(tokenizer: ClipTokenizer, error: BaseException):
    executor = LocalExecutor(DeviceOptions(use_cpu=True), tokenizer, handlers={Raise: raise_error})

    def on_ready(info: DeviceInfo | None, failure: str) -> None:
        raise ZeroDivisionError

    executor.start(on_ready)
    for _ in range(2):
        failure = executor.submit(Raise(error)).exception(PATIENCE_S)
        assert str(failure).startswith(f"Internal error: {type(error).__name__}")
    assert executor.stop(10)


def test_the_device_is_the_one_worker(engine: Engine):
    executor = engine.executor
    assert [worker.state for worker in executor.workers()] == ["starting"]
    engine.start()
    job = engine.submit(SMALL)
    seen = []

    def receive(event: Event) -> None:
        seen.extend(executor.workers())

    assert job.wait(PATIENCE_S)
    executor.submit(job.plan, receive, None, job.id).result(PATIENCE_S)
    assert {(worker.state, worker.job_id, worker.checkpoint) for worker in seen} == {
        ("busy", job.id, "tiny.safetensors")
    }
    assert {"Sampling", "Decoding"} <= {worker.activity for worker in seen}
    (rested,) = executor.workers()
    assert (rested.state, rested.activity, rested.job_id) == ("idle", "", "")
    assert rested.device.startswith("CPU")
    assert rested.memory_used is not None and rested.memory_total is not None
    assert 0 < rested.memory_used < rested.memory_total

"""A real Ray on this machine with workers on the CPU: the pictures of one worker, whatever becomes of another."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from modules.core.errors import Cancelled, UserError
from modules.engine.executors import DeviceInfo, Executor
from modules.engine.executors.cluster.ray_executor import RayExecutor, RayOptions
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken, Event, Note, Output, Preview, Progress
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.plan.work import LoadModel
from tests.conftest import ROOT, write_listed_checkpoint

pytestmark = [  # Ray and its workers take a minute of a processor to start; test_cluster_parts has the rest
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]
PATIENCE_S = 300
DEMO = ROOT / "models" / "Stable-diffusion" / "demo"


class Workers:
    """An executor, and what it makes."""

    def __init__(self, executor: Executor, index: ModelIndex) -> None:
        self.executor = executor
        self.index = index

    def plan(self, checkpoint: str = "demo", **fields: Any) -> Plan:
        values = {
            "prompt": "a red circle",
            "width": 256,
            "height": 256,
            "steps": 4,
            "seed": 7,
        } | fields
        request = Txt2ImgRequest(**values)
        return make_plan(request, self.index, self.index.find_checkpoint(checkpoint))

    def run(
        self, plan: Plan, on_event: Callable[[Event], None], cancel: CancelToken | None = None
    ) -> list[Event]:
        events: list[Event] = []

        def receive(event: Event) -> None:
            events.append(event)
            on_event(event)

        self.executor.submit(plan, receive, cancel, "the job").result(PATIENCE_S)
        return events

    def wait_for(self, *states: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while any(worker.state not in states for worker in self.executor.workers()):
            assert time.monotonic() < deadline, self.executor.workers()
            time.sleep(0.1)


def digests(events: list[Event]) -> list[tuple[int, str]]:
    return [
        (event.index, hashlib.sha256(event.data.tobytes()).hexdigest())
        for event in events
        if isinstance(event, Output)
    ]


def ignore(event: Event) -> None:
    pass


def start_workers(data: Path, *devices: str) -> Workers:
    write_listed_checkpoint(data / "broken.safetensors")
    index = ModelIndex({"Checkpoint": [DEMO, data]}, ROOT / "configs", data / "cache")
    options = RayOptions(devices, cpus_per_worker=1)
    executor = RayExecutor(options, DeviceOptions(), ROOT, data / "cache")
    ready: list[tuple[DeviceInfo | None, str]] = []
    is_ready = threading.Event()

    def on_ready(info: DeviceInfo | None, failure: str) -> None:
        ready.append((info, failure))
        if info is not None:  # Ray may fail on a busy machine, and is started again
            is_ready.set()

    executor.start(on_ready)
    assert is_ready.wait(PATIENCE_S), ready
    return Workers(executor, index)


def worker_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "DeviceWorker" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    started = start_workers(tmp_path_factory.mktemp("data"), "cpu", "cpu", "cuda:77")
    started.wait_for("idle", "refused")
    started.executor.submit(LoadModel(started.plan().model)).result(PATIENCE_S)
    yield started
    before = psutil.Process().children(recursive=True)
    started.executor.stop(10)
    _, alive = psutil.wait_procs(before, timeout=30)
    assert not alive


@pytest.fixture(scope="module")
def expected(workers: Workers) -> list[tuple[int, str]]:
    """The images of a batch count of eight, made by one worker one by one."""
    plan, single = workers.plan(n_iter=8), []
    for number, image in enumerate(plan.images):
        ((_, digest),) = digests(workers.run(workers.plan(seed=image.seed), ignore))
        single.append((number, digest))
    return single


def test_a_device_that_does_not_exist_is_named_and_the_others_work(workers: Workers):
    refused = [one for one in workers.executor.workers() if one.state == "refused"]
    assert [one.name for one in refused] == ["cuda:77"]
    assert refused[0].reason.startswith("There is no device cuda:77 on ")
    assert workers.executor.slots == 2


def test_eight_images_survive_a_killed_worker(workers: Workers, expected: list[tuple[int, str]]):
    events = workers.run(workers.plan(n_iter=8), ignore)
    assert digests(events) == expected
    assert [event for event in events if isinstance(event, Progress)][-1].fraction == 1.0
    killed: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, Output) and not killed:
            victim = worker_processes()[0]
            killed.append(victim.pid)
            victim.kill()

    events = workers.run(workers.plan(n_iter=8), kill)
    assert digests(events) == expected
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert note.startswith("A worker was lost (its process ended")
    workers.wait_for("idle", "refused")
    assert len(worker_processes()) == 2


def test_previews_come_and_an_interrupt_is_heeded(workers: Workers):
    cancel = CancelToken()
    cancel.watch()
    seen: list[Event] = []

    def receive(event: Event) -> None:
        cancel.watch()
        seen.append(event)
        if isinstance(event, Preview):
            cancel.interrupt()

    with pytest.raises(Cancelled, match="The job was interrupted"):
        workers.run(workers.plan(steps=150, n_iter=2), receive, cancel)
    (preview, *_) = [event for event in seen if isinstance(event, Preview)]
    assert preview.image.width >= 16


def test_an_error_keeps_its_class_and_its_sentence(workers: Workers):
    with pytest.raises(UserError, match="Get the complete file"):
        workers.run(workers.plan("broken"), ignore)
    assert digests(workers.run(workers.plan(), ignore))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_workers_makes_the_same_bytes(
    tmp_path: Path, count: int, expected: list[tuple[int, str]]
):
    others = start_workers(tmp_path, *["cpu"] * count)
    others.wait_for("idle")
    others.executor.submit(LoadModel(others.plan().model)).result(PATIENCE_S)
    assert digests(others.run(others.plan(n_iter=8), ignore)) == expected
    others.executor.stop(10)

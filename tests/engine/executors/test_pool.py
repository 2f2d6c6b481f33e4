"""The pool with workers that sleep: how work is spread, and what is left of it when a worker ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modules.core.errors import Cancelled, StorageError, WebUIError
from modules.engine.executors import DeviceInfo
from modules.engine.executors.pool import WorkerPool
from modules.engine.executors.pool_worker import PoolTimes
from modules.engine.executors.worker_link import WorkerLost
from modules.models.index import ModelIndex
from modules.params.events import CancelToken, Event, Note, Output, Phase, Preview, Progress
from modules.params.image import ImageField
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.plan.work import DescribeImage, LoadModel, UnloadModels
from tests.conftest import ROOT, write_listed_checkpoint
from tests.engine.executors.sleeping_link import SleepingLink, draw

PATIENCE_S = 30
QUICK = PoolTimes(steal_after_s=0.2, restart_after_s=0.05)


class Log:
    """A sink that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.arrived = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self.arrived:
            self.events.append(event)
            self.arrived.notify_all()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def images(self) -> list[tuple[int, Any]]:
        return [(event.index, event.data.getpixel((0, 0))) for event in self.of(Output)]

    def wait(self, is_there: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(is_there, PATIENCE_S)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ModelIndex:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in "ab":
        write_listed_checkpoint(folder / f"{name}.safetensors", name)
    return ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")


def plan_of(index: ModelIndex, checkpoint: str = "a", **fields: Any) -> Plan:
    values = {"prompt": "a cat", "steps": 4, "seed": 100, "width": 64, "height": 64, **fields}
    return make_plan(Txt2ImgRequest(**values), index, index.find_checkpoint(checkpoint))


def expected(plan: Plan) -> list[tuple[int, Any]]:
    return [(image.index, draw(image.seed).getpixel((0, 0))) for image in plan.images]


@pytest.fixture
def start(index: ModelIndex) -> Iterator[Callable[..., WorkerPool]]:
    """Starts pools whose workers hold checkpoint a."""
    pools: list[WorkerPool] = []

    def start(*links: SleepingLink, times: PoolTimes = QUICK, loads: bool = True) -> WorkerPool:
        pool = WorkerPool(links, times)
        pools.append(pool)
        pool.start(lambda info, failure: None)
        wait_until(lambda: all(one.state != "starting" for one in pool.workers()))
        if loads:
            pool.submit(LoadModel(plan_of(index).model)).result(PATIENCE_S)
            for link in links:
                link.done.clear()
        return pool

    yield start
    for pool in pools:
        assert pool.stop(PATIENCE_S)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_workers_makes_the_same_images_in_the_same_order(start, index, count):
    links = [SleepingLink(str(number), 0.001 * (number + 1)) for number in range(count)]
    pool, log = start(*links), Log()
    plan = plan_of(index, n_iter=8, batch_size=2)
    assert pool.slots == count
    pool.submit(plan, log).result(PATIENCE_S)
    assert log.images() == expected(plan)
    assert sorted(batch for link in links for batch in link.done) == list(range(8))
    assert all(link.done for link in links)
    assert log.of(Progress)[-1].fraction == 1.0
    steps = [event.step for event in log.of(Progress)]
    assert steps == sorted(steps)


def test_the_batch_of_a_killed_worker_goes_to_another_and_the_worker_returns(start, index):
    first, second = SleepingLink("first", 0.01), SleepingLink("second", 0.01)
    pool, log = start(first, second), Log()
    plan = plan_of(index, n_iter=8)
    future = pool.submit(plan, log)
    log.wait(lambda: len(log.of(Output)) >= 2)
    wait_until(lambda: pool.workers()[0].state == "busy")
    first.kill()
    future.result(PATIENCE_S)
    assert log.images() == expected(plan)
    (note,) = log.of(Note)
    assert "A worker was lost (it was killed); another one makes batch " in note.text
    wait_until(lambda: first.starts == 2)
    wait_until(lambda: {one.state for one in pool.workers()} == {"idle"})


def test_a_batch_that_two_workers_die_of_fails_the_job_and_keeps_the_rest(start, index):
    first, second = SleepingLink("first", 0.01), SleepingLink("second", 0.01)
    pool, log = start(first, second), Log()
    future = pool.submit(plan_of(index, n_iter=3, steps=100), log)
    log.wait(lambda: len(log.of(Output)) == 2)  # the last one runs alone
    kill_the_busy_one(pool, first, second)
    log.wait(lambda: len(log.of(Note)) == 1)
    seen = len(log.of(Progress))
    log.wait(lambda: len(log.of(Progress)) > seen)
    kill_the_busy_one(pool, first, second)
    with pytest.raises(WebUIError, match="Two workers ended while they made batch 3 of 3"):
        future.result(PATIENCE_S)
    assert [number for number, _ in log.images()] == [0, 1]


def kill_the_busy_one(pool: WorkerPool, *links: SleepingLink) -> None:
    def busy() -> list[str]:
        return [one.name for one in pool.workers() if one.state == "busy"]

    wait_until(
        lambda: len(busy()) == 1
    )  # the other one says a moment after its last image that it is idle
    next(link for link in links if link.name in busy()).kill()


def test_jobs_wait_while_every_worker_is_lost(start, index):
    link = SleepingLink("only", 0.005)
    pool, log = start(link), Log()
    plan = plan_of(index, n_iter=3)
    link.start_error = WorkerLost("the cluster does not answer")
    future = pool.submit(plan, log)
    log.wait(lambda: len(log.of(Output)) == 1)
    link.kill()
    log.wait(lambda: Phase("Waiting for a worker") in log.events)
    wait_until(lambda: "does not answer" in pool.workers()[0].reason)
    assert pool.workers()[0].state == "lost"
    assert not future.done()
    link.start_error = None
    future.result(PATIENCE_S)
    assert log.images() == expected(plan)


def test_an_interrupted_job_ends_even_without_a_worker(start, index):
    link = SleepingLink("only", 0.005)
    pool, log, cancel = start(link), Log(), CancelToken()
    link.start_error = WorkerLost("the cluster does not answer")
    future = pool.submit(plan_of(index, n_iter=3), log, cancel)
    log.wait(lambda: bool(log.of(Progress)))
    link.kill()
    log.wait(lambda: Phase("Waiting for a worker") in log.events)
    cancel.interrupt()
    assert isinstance(future.exception(PATIENCE_S), Cancelled)


def test_a_worker_that_holds_the_checkpoint_comes_first(start, index):
    first, second = SleepingLink("first"), SleepingLink("second")
    pool = start(first, second, times=PoolTimes(steal_after_s=60), loads=False)
    a, b = plan_of(index, "a", n_iter=4), plan_of(index, "b", n_iter=4)
    first.gate.clear()
    second.gate.clear()
    futures = [pool.submit(a, Log()), pool.submit(b, Log())]
    wait_until(lambda: all(one.state == "busy" for one in pool.workers()))
    assert sorted(one.checkpoint for one in pool.workers()) == ["a.safetensors", "b.safetensors"]
    held = {one.name: one.checkpoint for one in pool.workers()}
    first.gate.set()
    second.gate.set()
    for future in (*futures, *(pool.submit(plan, Log()) for plan in (b, a, a, b))):
        future.result(PATIENCE_S)
    assert {one.name: one.checkpoint for one in pool.workers()} == held


def test_work_is_stolen_after_the_limit(start, index):
    first, second = SleepingLink("first", 0.02), SleepingLink("second", 0.02)
    pool, log = start(first, second, loads=False), Log()
    pool.submit(plan_of(index, n_iter=1), Log()).result(PATIENCE_S)
    holder = next(link for link in (first, second) if link.done)
    other = second if holder is first else first
    holder.gate.clear()
    waiting = pool.submit(plan_of(index, n_iter=1), Log())
    pool.submit(plan_of(index, n_iter=1, seed=5), log).result(PATIENCE_S)
    assert other.done == [0]
    holder.gate.set()
    waiting.result(PATIENCE_S)


def test_skip_and_previews_are_for_the_first_running_batch(start, index):
    first, second = SleepingLink("first"), SleepingLink("second")
    pool, log, cancel = start(first, second), Log(), CancelToken()
    first.gate.clear()
    second.gate.clear()
    future = pool.submit(plan_of(index, n_iter=3), log, cancel)
    assert first.running.wait(PATIENCE_S)
    assert second.running.wait(PATIENCE_S)
    cancel.watch()
    cancel.skip_batch()
    log.wait(lambda: bool(log.of(Note)))
    wait_until(lambda: not cancel.is_batch_skipped())
    first.gate.set()
    second.gate.set()
    future.result(PATIENCE_S)
    assert [note.text for note in log.of(Note)] == ["Batch 1 of 3 was skipped."]
    assert [number for number, _ in log.images()] == [1, 2]
    shown = [event.image.getpixel((0, 0))[0] for event in log.of(Preview)]
    assert shown and shown == sorted(shown)


def test_stopping_after_the_image_lets_the_running_ones_end(start, index):
    first, second = SleepingLink("first"), SleepingLink("second")
    pool, log, cancel = start(first, second), Log(), CancelToken()
    first.gate.clear()
    second.gate.clear()
    future = pool.submit(plan_of(index, n_iter=6), log, cancel)
    assert first.running.wait(PATIENCE_S)
    assert second.running.wait(PATIENCE_S)
    cancel.stop_after_batch()
    first.gate.set()
    second.gate.set()
    assert isinstance(future.exception(PATIENCE_S), Cancelled)
    assert [number for number, _ in log.images()] == [0, 1]


def test_an_interrupt_reaches_every_worker(start, index):
    pool, log, cancel = (
        start(SleepingLink("1", 0.05), SleepingLink("2", 0.05)),
        Log(),
        CancelToken(),
    )
    future = pool.submit(plan_of(index, n_iter=6, steps=100), log, cancel)
    log.wait(lambda: bool(log.of(Progress)))
    cancel.interrupt()
    assert isinstance(future.exception(PATIENCE_S), Cancelled)
    wait_until(lambda: all(one.state == "idle" for one in pool.workers()))


def test_a_full_disk_ends_the_job(start, index):
    pool = start(SleepingLink("1"), SleepingLink("2"))

    def receive(event: Event) -> None:
        if isinstance(event, Output):
            raise StorageError("The disk is full.")

    error = pool.submit(plan_of(index, n_iter=6), receive).exception(PATIENCE_S)
    assert isinstance(error, StorageError)
    pool.submit(plan_of(index)).result(PATIENCE_S)


def test_a_checkpoint_is_loaded_by_every_worker_and_by_one_that_comes_later(start, index):
    first, second = SleepingLink("first"), SleepingLink("second")
    pool, later = start(first, second, loads=False), SleepingLink("later")
    pool.submit(LoadModel(plan_of(index).model)).result(PATIENCE_S)
    pool.add(later)
    wait_until(lambda: later.done == ["LoadModel"])
    wait_until(lambda: all(one.state == "idle" for one in pool.workers()))
    assert {one.checkpoint for one in pool.workers()} == {"a.safetensors"}
    pool.submit(UnloadModels()).result(PATIENCE_S)
    assert first.done == second.done == ["LoadModel", "UnloadModels"]
    assert {one.checkpoint for one in pool.workers()} == {""}


def test_a_worker_whose_machine_is_gone_is_forgotten(start, index):
    first, second = SleepingLink("first", 0.01), SleepingLink("second", 0.01)
    pool, log = start(first, second), Log()
    plan = plan_of(index, n_iter=6)
    future = pool.submit(plan, log)
    log.wait(lambda: len(log.of(Output)) >= 1)
    pool.retire({"first"})
    first.kill()
    future.result(PATIENCE_S)
    assert log.images() == expected(plan)
    wait_until(lambda: [one.name for one in pool.workers()] == ["second"])
    assert pool.slots == 1
    assert (first.starts, first.stops) == (1, 1)


def test_what_works_is_used_and_the_rest_is_named():
    good, bad = (
        SleepingLink("good"),
        SleepingLink("bad", start_error=WebUIError("There is no GPU 7.")),
    )
    infos: list[tuple[DeviceInfo | None, str]] = []
    pool = WorkerPool([bad, good], QUICK)
    pool.start(lambda info, failure: infos.append((info, failure)))
    wait_until(lambda: {one.state for one in pool.workers()} == {"idle", "refused"} and bool(infos))
    ((info, _),) = infos
    assert info is not None
    assert info.label == "2 workers: Device of good"
    assert next(one for one in pool.workers() if one.name == "bad").reason == "There is no GPU 7."
    assert pool.slots == 1
    assert pool.stop(PATIENCE_S)


def test_without_any_worker_jobs_fail_with_the_reason(index, tmp_path: Path):
    infos: list[tuple[DeviceInfo | None, str]] = []
    pool = WorkerPool([SleepingLink("bad", start_error=WebUIError("There is no GPU 7."))], QUICK)
    early = pool.submit(plan_of(index))
    pool.start(lambda info, failure: infos.append((info, failure)))
    with pytest.raises(WebUIError, match="There is no GPU 7"):
        early.result(PATIENCE_S)
    with pytest.raises(WebUIError, match="There is no GPU 7"):
        pool.submit(plan_of(index)).result(PATIENCE_S)
    wait_until(lambda: infos == [(None, "There is no GPU 7.")])
    assert pool.stop(PATIENCE_S)


def test_work_that_a_failing_worker_was_just_handed_goes_to_another(start, index):
    bad, good = SleepingLink("bad"), SleepingLink("good")
    is_asked, is_handed = threading.Event(), threading.Event()

    def fail() -> None:
        is_asked.set()
        assert is_handed.wait(PATIENCE_S)
        raise WebUIError("The worker bad failed: no memory.")

    bad.on_check = fail
    pool, log, plan = start(bad, good, loads=False), Log(), plan_of(index, n_iter=2)
    assert is_asked.wait(PATIENCE_S)
    future = pool.submit(plan, log)
    assert pool.workers()[0].state == "busy"
    is_handed.set()
    future.result(PATIENCE_S)
    assert log.images() == expected(plan)
    assert pool.workers()[0].state == "refused"
    assert pool.workers()[0].reason == "The worker bad failed: no memory."


def test_work_with_the_servers_files_fails_where_all_workers_run_elsewhere(index):
    pool = WorkerPool([SleepingLink("far", is_on_server=False)], QUICK)
    work = DescribeImage(Path("blip"), ImageField.from_pil(draw(0)))
    early = pool.submit(work)  # before it is known where they run
    pool.start(lambda info, failure: None)
    with pytest.raises(WebUIError, match="needs a worker on the server's machine"):
        early.result(PATIENCE_S)
    with pytest.raises(WebUIError, match="needs a worker on the server's machine"):
        pool.submit(work).result(PATIENCE_S)
    pool.submit(plan_of(index)).result(PATIENCE_S)
    assert pool.stop(PATIENCE_S)


def test_a_job_that_is_cancelled_before_its_start_ends(index):
    pool = WorkerPool([SleepingLink("1")], QUICK)
    future = pool.submit(plan_of(index))
    assert future.cancel()
    pool.start(lambda info, failure: None)
    pool.submit(plan_of(index)).result(PATIENCE_S)
    assert pool.stop(PATIENCE_S)

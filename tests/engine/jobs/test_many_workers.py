"""The queue on a pool of workers that sleep: many slots, and what happens to one job among several."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from modules.core.errors import UserError
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.executors.pool import PoolTimes, WorkerPool
from modules.engine.executors.worker_link import WorkerLost
from modules.engine.jobs.job import Job
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import builtin_registries
from tests.engine.executors.sleeping_link import SleepingLink

PATIENCE_S = 60
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)
AXES = {"x_type": "Seed", "x_values": "1-3", "y_type": "CFG Scale", "y_values": "1-3"}


@pytest.fixture
def start(
    paths: Paths, tokenizer: ClipTokenizer
) -> Iterator[Callable[[Sequence[SleepingLink]], Engine]]:
    """Starts servers with workers on one data folder, one after another."""
    engines: list[Engine] = []

    def started(links: Sequence[SleepingLink]) -> Engine:
        pool = WorkerPool(links, PoolTimes(restart_after_s=0.05))
        engine = Engine(paths, pool, tokenizer, builtin_registries())
        engine.start()
        engines.append(engine)
        return engine

    yield started
    for engine in engines:
        engine.stop()


def make_links(count: int) -> list[SleepingLink]:
    return [SleepingLink(f"worker {number}") for number in range(count)]


def hold(links: Sequence[SleepingLink]) -> None:
    for link in links:
        link.running.clear()
        link.gate.clear()


def release(links: Sequence[SleepingLink]) -> None:
    for link in links:
        link.gate.set()


def submit_held(engine: Engine, links: Sequence[SleepingLink], count: int) -> list[Job]:
    """Return jobs of which as many run, and are held, as there are workers."""
    hold(links)
    jobs = [engine.submit(SMALL.replace(seed=number)) for number in range(count)]
    for link in links:
        assert link.running.wait(PATIENCE_S)
    return jobs


def ends(jobs: Sequence[Job]) -> list[str]:
    assert all(job.wait(PATIENCE_S) for job in jobs)
    return [job.status().state for job in jobs]


def test_sources_take_turns_at_many_workers(start):
    engine = start(make_links(16))
    begun: list[str] = []
    engine.queue.pause()
    jobs = [
        engine.submit(SMALL.replace(steps=1), source)
        for source in ("page", "api", "bot")
        for _ in range(40)
    ]
    for job in jobs:
        source = engine.queue.record(job.id).queue_position.source
        job.add_done_callback(lambda source=source: begun.append(source))
    engine.queue.resume()
    assert ends(jobs) == ["done"] * 120
    for count in (30, 60, 90):
        turns = Counter(begun[:count])
        assert max(turns.values()) - min(turns[source] for source in ("page", "api", "bot")) <= 16


def test_one_of_several_running_jobs_is_interrupted_or_skipped(start):
    links = make_links(3)
    engine = start(links)
    jobs = submit_held(engine, links, 5)
    assert {job.status().state for job in jobs[:3]} == {"running"}
    assert engine.running_job() is jobs[0]
    assert [engine.queue.jobs_ahead_of(job.id) for job in jobs] == [None, None, None, 0, 1]
    workers = engine.executor.workers()
    assert {worker.job_id for worker in workers} == {job.id for job in jobs[:3]}
    engine.interrupt(jobs[1].id)
    jobs[2].skip()
    assert jobs[1].wait(PATIENCE_S)
    assert jobs[0].status().state == "running"
    release(links)
    assert ends(jobs) == ["done", "cancelled", "done", "done", "done"]
    assert [len(job.status().images) for job in jobs] == [1, 0, 0, 1, 1]
    retried = engine.queue.retry(jobs[1].id)
    assert ends([retried]) == ["done"]


def test_the_cells_of_a_plot_spread_over_the_workers_and_its_files_are_the_same(start):
    made: list[list[bytes]] = []
    for count in (1, 3):
        links = make_links(count)
        engine = start(links)
        group = engine.run_script("X/Y/Z plot", SMALL, AXES)
        assert group.wait(PATIENCE_S)
        status = group.status()
        assert (status.state, status.error) == ("done", "")
        assert all(0 in link.done for link in links)
        made.append([image.path.read_bytes() for image in status.images])
        engine.stop()
    assert (len(made[0]), made[0]) == (10, made[1])


def test_a_stop_keeps_waiting_jobs_and_ends_all_running_ones(start):
    links = make_links(3)
    engine = start(links)
    jobs = submit_held(engine, links, 6)
    engine.stop()
    assert ends(jobs) == ["cancelled"] * 6
    engine = start(make_links(2))
    states = Counter(engine.queue.status(job.id).state for job in jobs[:3])
    assert states == {"cancelled": 3}
    assert ends([engine.queue.job(job.id) for job in jobs[3:]]) == ["done"] * 3


def test_a_kill_leaves_all_running_jobs_failed_in_words(start):
    links = make_links(3)
    engine = start(links)
    jobs = submit_held(engine, links, 4)
    engine.queue.store.close()
    release(links)
    engine = start(make_links(3))
    for job in jobs[:3]:
        status = engine.queue.status(job.id)
        assert (status.state, status.error) == (
            "failed",
            "The server was stopped while it ran; 0 pictures were finished.",
        )
    assert ends([engine.queue.job(jobs[3].id)]) == ["done"]


def test_jobs_of_the_last_run_and_new_ones_wait_for_a_cluster_that_does_not_answer(start):
    engine = start(make_links(1))
    engine.queue.pause()
    old = engine.submit(SMALL)
    engine.stop()
    link = SleepingLink("late", start_error=WorkerLost("nobody answers"))
    engine = start([link])
    while engine.device_status.phase != "failed":
        time.sleep(0.01)
    assert engine.device_status.text == "nobody answers."
    jobs = [engine.queue.job(old.id), engine.submit(SMALL)]
    assert engine.queue.waiting_phase(old.id) == "Waiting for the device"
    assert [job.status().state for job in jobs] == ["queued", "queued"]
    link.start_error = None
    assert ends(jobs) == ["done", "done"]
    assert engine.device_status.phase != "failed"


def test_hundreds_of_waiting_jobs_go_on_or_are_cancelled_after_a_restart(start):
    engine = start(make_links(1))
    engine.queue.pause()
    ids = [engine.submit(SMALL.replace(steps=1), f"source {n % 2}").id for n in range(230)]
    order = [record.id for record in engine.queue.store.active_jobs(230)]
    engine.stop()
    engine = start(make_links(4))  # plans the first ones alone
    last = engine.queue.job(order[-1])
    engine.queue.move(last.id, "front")
    assert len(engine.jobs()) < 230
    first = [engine.queue.job(job_id) for job_id in order[:100]]
    assert ends([last, *first]) == ["done"] * 101
    engine.queue.pause()
    engine.queue.cancel_all()
    ends(engine.queue.running_jobs())
    states = Counter(engine.queue.status(job_id).state for job_id in ids)
    assert states["done"] + states["cancelled"] == 230
    assert states["cancelled"] > 0
    assert engine.queue.store.active_jobs(9) == []
    engine.queue.resume()


def test_hundreds_of_jobs_that_fail_at_once_all_end(start):
    engine = start([SleepingLink("broken", start_error=UserError("There is no such device."))])
    engine.queue.pause()
    jobs = [engine.submit(SMALL) for _ in range(400)]
    engine.queue.resume()
    assert set(ends(jobs)) == {"failed"}
    assert jobs[-1].status().error == "There is no such device."

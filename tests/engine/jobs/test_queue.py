from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from PIL import Image

from modules.core.errors import Cancelled, NotFound, UserError
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.engine.jobs.queue import JobQueue
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7)
PICTURE = ImageField.from_pil(Image.linear_gradient("L").resize((64, 64)))


def finish(job: Job) -> Job:
    assert job.wait(PATIENCE_S)
    return job


def named(word: str) -> Txt2ImgRequest:
    return SMALL.replace(prompt=word)


@pytest.fixture
def busy(engine: Engine, executor: FakeExecutor) -> Engine:
    """An engine whose device stands still in a job named `running`."""
    executor.hold_at(2)
    engine.submit(named("running"), "api")
    assert executor.held.wait(PATIENCE_S)
    return engine


@pytest.fixture
def start(
    paths: Paths, tokenizer: ClipTokenizer
) -> Iterator[Callable[[], tuple[Engine, FakeExecutor]]]:
    """Starts a server on the same data folder; the last one is stopped at the end."""
    engines: list[Engine] = []

    def started() -> tuple[Engine, FakeExecutor]:
        executor = FakeExecutor()
        engine = Engine(paths, executor, tokenizer)
        engine.start()
        executor.wait_until_idle()
        engines.append(engine)
        return engine, executor

    yield started
    engines[-1].stop()


def stop_while_held(engine: Engine, executor: FakeExecutor) -> None:
    executor.release_at_stop()
    engine.stop()


# Order


def test_the_page_takes_its_turn_among_the_jobs_of_a_script(busy: Engine, executor: FakeExecutor):
    jobs = [busy.submit(named(f"script {number}"), "api") for number in range(3)]
    jobs += [busy.submit(named(f"page {number}"), "page") for number in range(2)]
    executor.release()
    for job in jobs:
        finish(job)
    assert executor.seen == ["running", "page 0", "script 0", "page 1", "script 1", "script 2"]


def test_a_waiting_job_can_be_moved_until_it_begins(busy: Engine, executor: FakeExecutor):
    one, two, three = (busy.submit(named(word)) for word in ("one", "two", "three"))
    busy.queue.move(three.id, "front")
    busy.queue.move(one.id, "down")
    assert [busy.queue.jobs_ahead_of(job.id) for job in (three, two, one)] == [0, 1, 2]
    assert [row.id for row in busy.queue.store.active_jobs(9)][1:] == [three.id, two.id, one.id]
    executor.release()
    finish(one)
    assert executor.seen == ["running", "three", "two", "one"]
    assert busy.queue.jobs_ahead_of(one.id) is None


def test_a_job_that_nobody_knows_cannot_be_moved(engine: Engine):
    with pytest.raises(NotFound, match="no longer known"):
        engine.queue.move("nobody", "up")


def test_a_paused_queue_begins_nothing_until_it_is_resumed(engine: Engine, executor: FakeExecutor):
    engine.queue.pause()
    job = engine.submit(SMALL)
    executor.wait_until_idle()
    assert (engine.queue.is_paused, job.status().state, executor.seen) == (True, "queued", [])
    engine.queue.resume()
    assert finish(job).status().state == "done"


def test_a_checkpoint_is_loaded_once_no_job_waits(busy: Engine, executor: FakeExecutor):
    last = busy.submit(named("last"))
    busy.select_checkpoint("second")
    busy.select_checkpoint("first")
    busy.select_checkpoint("second")
    assert busy.device_status.phase == "loading"
    executor.release()
    finish(last)
    executor.wait_until_idle()
    assert executor.loaded == ["first.safetensors", "sub/second.safetensors"]
    assert (busy.device_status.phase, busy.device_status.checkpoint) == (
        "ready",
        "sub/second.safetensors",
    )


# Ends


def test_all_jobs_are_cancelled_at_once(busy: Engine, executor: FakeExecutor):
    waiting = [busy.submit(SMALL) for _ in range(3)]
    running = busy.running_job()
    assert running is not None
    busy.queue.cancel_all()
    assert [job.status().state for job in waiting] == ["cancelled"] * 3
    executor.release()
    assert finish(running).status().state == "cancelled"
    executor.wait_until_idle()
    assert executor.seen == ["running"]
    assert busy.queue.store.active_jobs(9) == []


def test_a_job_can_finish_the_picture_it_is_at(engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    job = engine.submit(SMALL.replace(n_iter=3, batch_size=2))
    assert executor.held.wait(PATIENCE_S)
    engine.queue.cancel(job.id, after_picture=True)
    executor.release()
    status = finish(job).status()
    assert (status.state, status.error) == (
        "cancelled",
        "Interrupted: 2 of 6 pictures were finished.",
    )


def test_finishing_the_last_picture_is_finishing_the_job(busy: Engine, executor: FakeExecutor):
    job = busy.running_job()
    assert job is not None
    busy.queue.cancel(job.id, after_picture=True)
    executor.release()
    assert finish(job).status().state == "done"


def test_a_waiting_job_has_no_picture_to_finish(busy: Engine):
    job = busy.submit(SMALL)
    busy.queue.cancel(job.id, after_picture=True)
    assert job.status().state == "cancelled"


def test_a_retried_job_makes_the_same_pictures(engine: Engine, executor: FakeExecutor):
    executor.failures = [ValueError("a bug")]
    failed = finish(
        engine.submit(
            SMALL.replace(seed=-1, override_settings={"CLIP_stop_at_last_layers": 2}), "page"
        )
    )
    engine.select_checkpoint("second")
    again = finish(engine.queue.retry(failed.id))
    assert (again.status().state, again.id == failed.id) == ("done", False)
    assert again.plan.request == failed.plan.request.replace(
        sd_model_checkpoint="first.safetensors"
    )
    assert again.plan.settings == failed.plan.settings
    assert again.plan.checkpoint.name == "first.safetensors"
    assert engine.queue.store.record(again.id).queue_position.source == "page"


def test_a_waiting_job_is_not_retried(busy: Engine):
    with pytest.raises(UserError, match="This job is queued"):
        busy.queue.retry(busy.submit(SMALL).id)


def test_a_fault_after_the_pictures_does_not_stop_the_queue(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    def fail(job: Job) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(engine, "on_images_complete", fail)
    first, second = (finish(engine.submit(SMALL)).status() for _ in range(2))
    assert (first.state, second.state) == ("done", "done")
    assert "the log has the details" in first.notes[0]


# Threads

STATE = {
    "_line", "_jobs", "_ended", "_current", "_restored", "_is_open", "_is_busy", "_is_paused", "_is_stopping", "_load",
}  # fmt: skip


class WatchedQueue(JobQueue):
    """A queue that records each use of its state by a thread that does not hold its lock."""

    unguarded: ClassVar[list[str]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in STATE:
            self._check(name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in STATE:
            self._check(name)
        super().__setattr__(name, value)

    def _check(self, name: str) -> None:
        caller = sys._getframe(2).f_code.co_name
        if caller != "__init__" and not self._lock._is_owned():
            self.unguarded.append(f"{name} in {caller}")


def test_the_state_of_the_queue_is_used_under_its_lock_alone(
    start, paths: Paths, tokenizer: ClipTokenizer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("modules.engine.engine.JobQueue", WatchedQueue)
    monkeypatch.setattr(WatchedQueue, "unguarded", [])
    engine, executor = start()
    executor.hold_at(2)
    running, moved, cancelled = (engine.submit(named(word)) for word in ("one", "two", "three"))
    assert executor.held.wait(PATIENCE_S)
    queue = engine.queue
    queue.move(cancelled.id, "front")
    queue.cancel(cancelled.id)
    queue.pause()
    assert (queue.is_paused, queue.running_job(), queue.ahead_of(moved.id)) == (True, running, 0)
    engine.select_checkpoint("second")
    executor.release()
    finish(running)
    queue.resume()
    assert queue.live_status(queue.row(finish(moved).id)).state == "done"
    finish(queue.retry(moved.id))
    executor.wait_until_idle()
    queue.pause()
    engine.submit(named("left"))
    stop_while_held(engine, executor)
    with pytest.raises(Cancelled):
        queue.refuse_if_stopping()
    without_device = FakeExecutor(facts=None)
    engine = Engine(paths, without_device, tokenizer)
    engine.start()
    without_device.wait_until_idle()
    engine.stop()
    assert WatchedQueue.unguarded == []
    start()


# Pictures that jobs are given


@pytest.fixture
def depth(engine: Engine) -> DepthRequest:
    write_listed_depth(engine.paths.checkpoint_folders[0] / "depth.safetensors")
    engine.models.refresh()
    return DepthRequest(
        init_image=PICTURE, width=64, height=64, steps=4, sd_model_checkpoint="depth"
    )


def test_pictures_of_waiting_jobs_lie_on_the_disk_alone(
    busy: Engine, executor: FakeExecutor, depth: DepthRequest
):
    jobs = [busy.submit(depth) for _ in range(20)]
    assert {job.plan.request.init_image for job in jobs} == {None}
    assert len(list((busy.paths.queue / "pictures").iterdir())) == 1
    executor.hold_at_next(3)
    for _ in range(2):  # the rest of the first job, then the next one
        assert executor.held.wait(PATIENCE_S)
        executor.hold_at_next(3)
    running = busy.running_job()
    assert running is not None and running.plan.request.init_image == PICTURE
    busy.queue.cancel_all()
    executor.release()


def test_a_waiting_job_whose_picture_is_gone_fails_alone(
    busy: Engine, executor: FakeExecutor, depth: DepthRequest
):
    lost, other = busy.submit(depth), busy.submit(SMALL)
    for path in (busy.paths.queue / "pictures").iterdir():
        path.unlink()
    executor.release()
    assert (
        finish(lost).status().error
        == "A picture of this job is no longer kept. Send the job again."
    )
    assert finish(other).status().state == "done"


# Restarts


def test_waiting_jobs_go_on_after_a_restart_with_the_options_of_their_submission(
    start, paths: Paths
):
    engine, executor = start()
    executor.hold_at(2)
    running = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    engine.change_settings({"CLIP_stop_at_last_layers": 2})
    waiting = [
        engine.submit(named(word), source) for word, source in (("one", "api"), ("two", "page"))
    ]
    engine.change_settings({"CLIP_stop_at_last_layers": 1, "sd_model_checkpoint": "second"})
    stop_while_held(engine, executor)
    assert [job.status().state for job in (running, *waiting)] == ["cancelled"] * 3
    assert waiting[0].status().error == "The server was stopped; the job waits for its next start."

    engine, executor = start()
    again = [finish(engine.job(job.id)) for job in waiting]
    assert [job.status().state for job in again] == ["done", "done"]
    assert executor.seen == ["two", "one"]
    assert {job.plan.checkpoint.name for job in again} == {"first.safetensors"}
    assert {job.plan.settings.CLIP_stop_at_last_layers for job in again} == {2}
    assert engine.queue.status(running.id).error == "Interrupted: 0 of 1 pictures were finished."


def test_waiting_jobs_wait_for_resume_if_the_option_says_so(start):
    engine, _ = start()
    engine.change_settings({"queue_after_restart": "paused"})
    engine.queue.pause()
    job = engine.submit(SMALL)
    engine.stop()
    engine, _ = start()
    assert (engine.queue.is_paused, engine.job(job.id).status().state) == (True, "queued")
    engine.queue.resume()
    assert finish(engine.job(job.id)).status().state == "done"
    engine.stop()
    assert not start()[0].queue.is_paused, "nothing waited"


def test_a_waiting_job_that_can_no_longer_be_done_has_failed_after_a_restart(start, paths: Paths):
    engine, _ = start()
    engine.queue.pause()
    jobs = [engine.submit(SMALL.replace(sd_model_checkpoint=name)) for name in ("second", "first")]
    engine.stop()
    (paths.checkpoint_folders[0] / "sub" / "second.safetensors").unlink()
    engine, _ = start()
    assert engine.queue.status(jobs[0].id).state == "failed"
    assert (
        "There is no checkpoint named 'sub/second.safetensors'"
        in engine.queue.status(jobs[0].id).error
    )
    assert finish(engine.job(jobs[1].id)).status().state == "done"


def test_waiting_jobs_are_known_before_the_device_is(start, paths: Paths, tokenizer: ClipTokenizer):
    engine, _ = start()
    engine.queue.pause()
    job = engine.submit(SMALL)
    engine.stop()
    broken = FakeExecutor(facts=None)
    engine = Engine(paths, broken, tokenizer)
    engine.queue.restore(resume=True)
    assert engine.job(job.id).status().state == "queued"
    engine.start()
    broken.wait_until_idle()
    assert "could not be opened" in engine.queue.status(job.id).error
    engine.stop()
    engine, _ = start()
    assert finish(engine.job(job.id)).status().state == "done"


def test_an_ended_job_is_known_after_a_restart(start):
    engine, _ = start()
    before = finish(engine.submit(SMALL.replace(n_iter=2))).status()
    engine.stop()
    engine, _ = start()
    after = engine.queue.status(before.id)
    assert (after.state, after.images, after.progress.fraction) == ("done", before.images, 1.0)
    assert finish(engine.queue.retry(before.id)).status().images[1].seed == 8

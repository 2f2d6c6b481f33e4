from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import Cancelled, NotFound, UserError
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import builtin_registries, write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7)
INPUT_IMAGE = ImageField.from_pil(Image.linear_gradient("L").resize((64, 64)))


def finish(job: Job) -> Job:
    assert job.wait(PATIENCE_S)
    return job


def with_prompt(prompt: str) -> Txt2ImgRequest:
    return SMALL.replace(prompt=prompt)


@pytest.fixture
def busy(engine: Engine, executor: FakeExecutor) -> Engine:
    """An engine whose device is blocked in a job with the prompt `running`."""
    executor.hold_at(2)
    engine.submit(with_prompt("running"), "api")
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
        engine = Engine(paths, executor, tokenizer, builtin_registries())
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


def test_jobs_of_the_page_alternate_with_the_jobs_of_a_script(busy: Engine, executor: FakeExecutor):
    jobs = [busy.submit(with_prompt(f"script {number}"), "api") for number in range(3)]
    jobs += [busy.submit(with_prompt(f"page {number}"), "page") for number in range(2)]
    executor.release()
    for job in jobs:
        finish(job)
    assert executor.seen == ["running", "page 0", "script 0", "page 1", "script 1", "script 2"]


def test_a_queued_job_can_be_moved_until_it_starts(busy: Engine, executor: FakeExecutor):
    one, two, three = (busy.submit(with_prompt(word)) for word in ("one", "two", "three"))
    busy.queue.move(three.id, "front")
    busy.queue.move(one.id, "down")
    assert [busy.queue.jobs_ahead_of(job.id) for job in (three, two, one)] == [0, 1, 2]
    assert [record.id for record in busy.queue.store.active_jobs(9)][1:] == [
        three.id,
        two.id,
        one.id,
    ]
    executor.release()
    finish(one)
    assert executor.seen == ["running", "three", "two", "one"]
    assert busy.queue.jobs_ahead_of(one.id) is None


def test_an_unknown_job_cannot_be_moved(engine: Engine):
    with pytest.raises(NotFound, match="no longer known"):
        engine.queue.move("nobody", "up")


def test_a_paused_queue_starts_no_job_until_it_is_resumed(engine: Engine, executor: FakeExecutor):
    engine.queue.pause()
    job = engine.submit(SMALL)
    executor.wait_until_idle()
    assert (engine.queue.is_paused, job.status().state, executor.seen) == (True, "queued", [])
    engine.queue.resume()
    assert finish(job).status().state == "done"


def test_a_checkpoint_is_loaded_once_no_job_is_queued(busy: Engine, executor: FakeExecutor):
    last = busy.submit(with_prompt("last"))
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


# Cancelling and retrying


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


def test_a_job_can_be_cancelled_after_the_running_batch(engine: Engine, executor: FakeExecutor):
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


def test_a_job_cancelled_after_its_last_image_is_done(busy: Engine, executor: FakeExecutor):
    job = busy.running_job()
    assert job is not None
    busy.queue.cancel(job.id, after_picture=True)
    executor.release()
    assert finish(job).status().state == "done"


def test_a_queued_job_is_cancelled_at_once(busy: Engine):
    job = busy.submit(SMALL)
    busy.queue.cancel(job.id, after_picture=True)
    assert job.status().state == "cancelled"


def test_a_retried_job_makes_the_same_images(engine: Engine, executor: FakeExecutor):
    executor.failures = [ValueError("a bug")]
    failed = finish(
        engine.submit(
            SMALL.replace(seed=-1, override_settings={"CLIP_stop_at_last_layers": 2}), "page"
        )
    )
    engine.select_checkpoint("second")
    retried = finish(engine.queue.retry(failed.id))
    assert (retried.status().state, retried.id == failed.id) == ("done", False)
    assert retried.plan.request == failed.plan.request.replace(
        sd_model_checkpoint="first.safetensors"
    )
    assert retried.plan.settings == failed.plan.settings
    assert retried.plan.checkpoint.name == "first.safetensors"
    assert engine.queue.store.record(retried.id).queue_position.source == "page"


def test_a_queued_job_cannot_be_retried(busy: Engine):
    with pytest.raises(UserError, match="This job is queued"):
        busy.queue.retry(busy.submit(SMALL).id)


def test_an_error_after_the_images_does_not_stop_the_queue(engine: Engine):
    def fail(*_: object) -> None:
        raise ValueError("a bug")

    engine.image_saver.save_grid = fail
    first, second = (finish(engine.submit(SMALL)).status() for _ in range(2))
    assert (first.state, second.state) == ("done", "done")
    assert "the log has the details" in first.notes[0]


# Threads

QUEUE_STATE = {"_waiting", "_jobs", "_ended_ids", "_restored_jobs", "_restored"}
QUEUE_STATE |= {"_is_paused", "_is_stopping"}
DISPATCHER_STATE = {"_running", "_is_open", "_is_loading", "_pending_load"}


def watch_state(guarded: Any, state: set[str], unguarded: list[str]) -> None:
    """Have an object note each use of its state by a thread that does not hold its lock."""
    base = type(guarded)

    def check(name: str) -> None:
        if name in state and not object.__getattribute__(guarded, "_lock")._is_owned():
            unguarded.append(f"{name} in {sys._getframe(2).f_code.co_name}")

    class Watched(base):
        def __getattribute__(self, name: str) -> Any:
            check(name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            check(name)
            super().__setattr__(name, value)

    guarded.__class__ = Watched


def test_the_state_of_the_queue_is_only_used_under_its_lock(paths: Paths, tokenizer: ClipTokenizer):
    unguarded: list[str] = []

    def start(executor: FakeExecutor) -> Engine:
        engine = Engine(paths, executor, tokenizer, builtin_registries())
        watch_state(engine.queue, QUEUE_STATE, unguarded)
        watch_state(engine.queue._dispatcher, DISPATCHER_STATE, unguarded)
        engine.start()
        executor.wait_until_idle()
        return engine

    executor = FakeExecutor()
    engine = start(executor)
    executor.hold_at(2)
    running, moved, cancelled = (
        engine.submit(with_prompt(word)) for word in ("one", "two", "three")
    )
    assert executor.held.wait(PATIENCE_S)
    queue = engine.queue
    queue.move(cancelled.id, "front")
    queue.cancel(cancelled.id)
    queue.pause()
    assert (queue.is_paused, queue.running_job(), queue.jobs_ahead_of(moved.id)) == (
        True,
        running,
        0,
    )
    engine.select_checkpoint("second")
    executor.release()
    finish(running)
    queue.resume()
    assert queue.current_status(queue.record(finish(moved).id)).state == "done"
    finish(queue.retry(moved.id))
    executor.wait_until_idle()
    queue.pause()
    engine.submit(with_prompt("left"))
    stop_while_held(engine, executor)
    with pytest.raises(Cancelled):
        queue.raise_if_stopping()
    start(FakeExecutor(device_info=None)).stop()
    assert unguarded == []
    start(FakeExecutor()).stop()


# Several slots


@pytest.fixture
def three(paths: Paths, tokenizer: ClipTokenizer) -> Iterator[tuple[Engine, FakeExecutor]]:
    """A started engine whose executor runs three jobs at once."""
    executor = FakeExecutor(slots=3)
    engine = Engine(paths, executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    yield engine, executor
    executor.release()
    engine.stop()


def submit_while_held(engine: Engine, executor: FakeExecutor, *prompts: str) -> list[Job]:
    """Return the jobs of some prompts; the first three run and are held."""
    executor.hold_at(2)
    jobs = [engine.submit(with_prompt(prompt)) for prompt in prompts]
    executor.wait_until_held(3)
    return jobs


def test_as_many_jobs_run_at_once_as_the_executor_has_slots(three):
    engine, executor = three
    jobs = submit_while_held(engine, executor, "a", "b", "c", "d", "e")
    assert [job.status().state for job in jobs] == ["running"] * 3 + ["queued"] * 2
    assert engine.queue.running_jobs() == jobs[:3]
    assert engine.running_job() is jobs[0]
    assert [engine.queue.waiting_phase(job.id) for job in jobs[3:]] == [
        "Waiting: 1 job comes first",
        "Waiting: 2 jobs come first",
    ]
    executor.release()
    assert [finish(job).status().state for job in jobs] == ["done"] * 5
    executor.wait_until_idle()
    assert executor.seen[3:] in (["d", "e"], ["e", "d"])  # two of them may start at the same moment
    assert engine.queue.running_jobs() == []


def test_a_cancelled_job_frees_its_slot_alone(three):
    engine, executor = three
    jobs = submit_while_held(engine, executor, "a", "b", "c", "d")
    engine.queue.cancel(jobs[1].id)
    executor.release()
    states = [finish(job).status().state for job in jobs]
    assert states == ["done", "cancelled", "done", "done"]


def test_a_failing_job_leaves_the_others_running(three):
    engine, executor = three
    executor.failures = [ValueError("a bug")]
    jobs = [engine.submit(with_prompt(prompt)) for prompt in ("a", "b", "c", "d")]
    states = [finish(job).status().state for job in jobs]
    assert sorted(states) == ["done", "done", "done", "failed"]


def test_a_paused_queue_lets_all_running_jobs_finish(three):
    engine, executor = three
    jobs = submit_while_held(engine, executor, "a", "b", "c", "d")
    engine.queue.pause()
    executor.release()
    assert [finish(job).status().state for job in jobs[:3]] == ["done"] * 3
    executor.wait_until_idle()
    assert jobs[3].status().state == "queued"
    engine.queue.resume()
    assert finish(jobs[3]).status().state == "done"


def test_stopping_ends_all_running_jobs_and_suspends_the_rest(three):
    engine, executor = three
    jobs = submit_while_held(engine, executor, "a", "b", "c", "d")
    stop_while_held(engine, executor)
    assert [job.status().state for job in jobs] == ["cancelled"] * 4
    assert [job.status().error for job in jobs] == [
        *["Interrupted: 0 of 1 pictures were finished."] * 3,
        "The server was stopped; the job waits for its next start.",
    ]


def test_a_checkpoint_is_loaded_only_when_no_slot_is_in_use(three):
    engine, executor = three
    jobs = submit_while_held(engine, executor, "a", "b", "c")
    engine.select_checkpoint("second")
    engine.queue.cancel(jobs[0].id)
    executor.hold_at_next(3)
    finish(jobs[0])
    executor.wait_until_held(2)
    assert executor.loaded == ["first.safetensors"]
    executor.release()
    executor.wait_until_idle()
    assert executor.loaded == ["first.safetensors", "sub/second.safetensors"]


# Input images


@pytest.fixture
def depth(engine: Engine) -> DepthRequest:
    write_listed_depth(engine.paths.checkpoint_folders[0] / "depth.safetensors")
    engine.models.refresh()
    return DepthRequest(
        init_image=INPUT_IMAGE, width=64, height=64, steps=4, sd_model_checkpoint="depth"
    )


def test_input_images_of_queued_jobs_are_kept_on_disk_only(
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
    assert running is not None and running.plan.request.init_image == INPUT_IMAGE
    busy.queue.cancel_all()
    executor.release()


def test_a_queued_job_whose_input_image_is_missing_fails_alone(
    busy: Engine, executor: FakeExecutor, depth: DepthRequest
):
    lost, other = busy.submit(depth), busy.submit(SMALL)
    for path in (busy.paths.queue / "pictures").iterdir():
        path.unlink()
    executor.release()
    assert (
        finish(lost).status().error
        == "A picture of this job is no longer stored. Send the job again."
    )
    assert finish(other).status().state == "done"


# Restarts


def test_queued_jobs_run_after_a_restart_with_the_settings_of_their_submission(start, paths: Paths):
    engine, executor = start()
    executor.hold_at(2)
    running = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    engine.change_settings({"CLIP_stop_at_last_layers": 2})
    waiting = [
        engine.submit(with_prompt(word), source)
        for word, source in (("one", "api"), ("two", "page"))
    ]
    engine.change_settings({"CLIP_stop_at_last_layers": 1, "sd_model_checkpoint": "second"})
    stop_while_held(engine, executor)
    assert [job.status().state for job in (running, *waiting)] == ["cancelled"] * 3
    assert waiting[0].status().error == "The server was stopped; the job waits for its next start."

    engine, executor = start()
    resumed = [finish(engine.job(job.id)) for job in waiting]
    assert [job.status().state for job in resumed] == ["done", "done"]
    assert executor.seen == ["two", "one"]
    assert {job.plan.checkpoint.name for job in resumed} == {"first.safetensors"}
    assert {job.plan.settings.CLIP_stop_at_last_layers for job in resumed} == {2}
    assert engine.queue.status(running.id).error == "Interrupted: 0 of 1 pictures were finished."


def test_the_queue_is_paused_after_a_restart_if_the_setting_says_so(start):
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
    assert not start()[0].queue.is_paused, "no job was queued"


def test_a_queued_job_that_can_no_longer_run_has_failed_after_a_restart(start, paths: Paths):
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


def test_queued_jobs_are_listed_before_the_device_is_open(
    start, paths: Paths, tokenizer: ClipTokenizer
):
    engine, _ = start()
    engine.queue.pause()
    job = engine.submit(SMALL)
    engine.stop()
    broken = FakeExecutor(device_info=None)
    engine = Engine(paths, broken, tokenizer, builtin_registries())
    engine.queue.restore(resume=True)
    assert engine.job(job.id).status().state == "queued"
    engine.start()
    broken.wait_until_idle()
    assert "could not be opened" in engine.queue.status(job.id).error
    engine.stop()
    engine, _ = start()
    assert finish(engine.job(job.id)).status().state == "done"


def test_an_ended_job_is_found_after_a_restart(start):
    engine, _ = start()
    before = finish(engine.submit(SMALL.replace(n_iter=2))).status()
    engine.stop()
    engine, _ = start()
    after = engine.queue.status(before.id)
    assert (after.state, after.images, after.progress.fraction) == ("done", before.images, 1.0)
    assert finish(engine.queue.retry(before.id)).status().images[1].seed == 8

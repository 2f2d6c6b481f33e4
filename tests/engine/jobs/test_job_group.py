from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.engine.jobs.job_status import JobStatus
from modules.images.filename import Destination
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.protocol import Cell, CellResult, Script, ScriptResult, ScriptRun
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

CAT = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=5)


class Words(BaseModel, frozen=True, extra="forbid"):
    """One image for each word."""

    words: tuple[str, ...] = ()
    folder: str = ""
    at_once: bool = False


def run_words(request: GenerationRequest, args: Words) -> ScriptRun:
    results: list[CellResult] = []
    cells = [make_cell(request, word, args.folder) for word in args.words]
    for batch in [cells] if args.at_once else [[cell] for cell in cells]:
        results += yield batch
    return ScriptResult(notes=(f"Ends: {' '.join(result.state for result in results)}.",))


def make_cell(request: GenerationRequest, word: str, folder: str) -> Cell:
    def make_request() -> GenerationRequest:
        if word == "bad":
            raise UserError("The word is bad.")
        return request.replace(prompt=word)

    return Cell(word, make_request, Destination(folder, word) if folder else None)


def run_broken(request: GenerationRequest, args: BaseModel) -> ScriptRun:
    yield [Cell("one", lambda: request)]
    raise ZeroDivisionError


def run_refused(request: GenerationRequest, args: BaseModel) -> ScriptRun:
    (result,) = yield [Cell("one", lambda: request)]
    raise UserError(f"{result.state} is not enough.")


WORDS = Script("Words", run_words, Words, cell_count=lambda args: len(args.words), noun="word")


@pytest.fixture
def engines(start_engine: Callable[..., Any]) -> Callable[..., Any]:
    return partial(start_engine, prepare=add_scripts)


def add_scripts(engine: Engine) -> None:
    for script in (WORDS, Script("Broken", run_broken), Script("Refused", run_refused)):
        engine.registries.scripts.add(script)


@pytest.fixture
def scripted(engine: Engine) -> Engine:
    add_scripts(engine)
    return engine


def start(engine: Engine, *words: str, request: GenerationRequest = CAT, **args: Any) -> JobGroup:
    return engine.run_script("Words", request, {"words": words, **args}, "page")


def wait_for(group: JobGroup) -> JobStatus:
    assert group.wait(PATIENCE_S)
    return group.status()


def kill(engine: Engine) -> None:
    """Leave the job store as a killed server does: nothing is written any more."""
    engine.queue.store.close()


def prompts(status: JobStatus) -> list[str]:
    return [image.infotext.partition("\n")[0] for image in status.images]


def saved_files(engine: Engine) -> list[str]:
    return sorted(path.name for path in engine.paths.outputs.rglob("[!g]*.png"))  # without grids


def test_each_cell_becomes_a_job_and_a_failed_cell_is_a_note(scripted: Engine):
    status = wait_for(start(scripted, "ant", "bad", "cat"))
    assert (status.state, prompts(status)) == ("done", ["ant", "cat"])
    assert status.notes == ("bad: The word is bad.", "Ends: done failed done.")
    assert [image.index for image in status.images] == [0, 1]
    assert status.progress.fraction == 1
    assert [record.request_fields["prompt"] for record in scripted.queue.store.ended_jobs(9)] == [
        "cat",
        "ant",
    ]


def test_a_failed_job_is_a_note_and_the_rest_goes_on(scripted: Engine, executor: FakeExecutor):
    executor.failures.append(UserError("Too large."))
    status = wait_for(start(scripted, "ant", "cat"))
    assert (status.state, prompts(status)) == ("done", ["cat"])
    assert status.notes == ("ant: Too large.", "Ends: failed done.")


def test_a_group_without_any_image_has_failed(scripted: Engine):
    assert wait_for(start(scripted, "bad")).state == "failed"


def test_a_script_that_gives_up_fails_with_its_sentence(scripted: Engine):
    status = wait_for(scripted.run_script("Refused", CAT, {}))
    assert (status.state, status.error) == ("failed", "done is not enough.")
    assert len(status.images) == 1


def test_a_script_with_a_bug_fails_with_a_sentence_and_keeps_its_images(scripted: Engine):
    status = wait_for(scripted.run_script("Broken", CAT, {}))
    assert status.error == "The script 'Broken' failed; the log has the details."
    assert len(status.images) == 1


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [("Wards", {}, "Did you mean 'Words'"), ("Words", {"word": 1}, "There is no field 'word'")],
)
def test_an_unknown_script_or_argument_is_refused(
    scripted: Engine, name: str, args: dict, message: str
):
    with pytest.raises((NotFound, UserError), match=message):
        scripted.run_script(name, CAT, args)


def test_cells_that_are_yielded_together_are_queued_together(
    scripted: Engine, executor: FakeExecutor
):
    executor.hold_at(1)
    group = start(scripted, "ant", "bee", "cat", at_once=True)
    assert executor.held.wait(PATIENCE_S)
    while len(scripted.queue.store.active_jobs(9)) < 3:
        assert not group.wait(0.01)
    executor.release()
    assert prompts(wait_for(group)) == ["ant", "bee", "cat"]


def test_cells_that_are_yielded_together_run_together(engines: Callable[..., Any]):
    engine, executor = engines(slots=3)
    executor.hold_at(2)
    group = start(engine, "ant", "bad", "bee", "cat", at_once=True)
    executor.wait_until_held(3)
    status = group.status()
    assert status.phase == "ant, 1 of 4 words (3 run at once): Sampling"
    executor.release()
    status = wait_for(group)
    assert prompts(status) == ["ant", "bee", "cat"]
    assert status.notes == ("bad: The word is bad.", "Ends: done failed done done.")


def test_input_images_of_cells_that_are_yielded_together_stay_on_disk(
    scripted: Engine, executor: FakeExecutor
):
    request = Img2ImgRequest(steps=2, width=64, height=64).replace(
        init_image=png(Image.new("RGB", (64, 64), "red"))
    )
    executor.hold_at(1)
    group = start(scripted, "ant", "bee", "cat", request=request, at_once=True)
    while len(scripted.queue.store.active_jobs(9)) < 3:
        assert not group.wait(0.01)
    assert executor.held.wait(PATIENCE_S)
    waiting = [job for job in scripted.jobs() if job.status().state == "queued"]
    assert [getattr(job.request, "init_image", "") for job in waiting] == [None] * 2
    executor.release()
    assert len(wait_for(group).images) == 3


def test_a_group_is_found_and_followed_like_a_job(scripted: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    group = start(scripted, "ant", "bee", "cat")
    assert executor.held.wait(PATIENCE_S)
    status = scripted.job(group.id).status()
    assert (status.state, status.image_count) == ("running", 3)
    assert status.phase == "ant, 1 of 3 words: Sampling"
    assert 0 < status.progress.fraction < 0.34
    executor.release()
    wait_for(group)
    assert group.request.prompt == "cat"


def test_a_waiting_cell_says_what_it_waits_for(scripted: Engine):
    scripted.queue.pause()
    group = start(scripted, "ant")
    while not scripted.queue.store.active_jobs(9):
        assert not group.wait(0.01)
    assert group.status().phase == "ant, 1 of 1 words: Waiting: the queue is paused"


def test_a_cancelled_group_omits_the_rest_and_keeps_its_images(
    scripted: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    group = start(scripted, "ant", "bee", "cat")
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    scripted.interrupt(group.id)
    executor.release()
    status = wait_for(group)
    assert (status.state, status.error) == ("cancelled", "Interrupted: 1 of 3 words were finished.")
    assert (prompts(status), executor.seen) == (["ant"], ["ant", "bee"])


def test_a_skip_continues_with_the_next_cell(scripted: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    group = start(scripted, "ant", "cat")
    assert executor.held.wait(PATIENCE_S)
    group.skip()
    executor.release()
    status = wait_for(group)
    assert (status.state, prompts(status)) == ("done", ["cat"])
    assert status.notes == ("Ends: cancelled done.",)


def test_the_end_of_a_group_is_reported_once(scripted: Engine):
    ends: list[str] = []
    group = start(scripted, "ant")
    group.add_done_callback(lambda: ends.append("early"))
    wait_for(group)
    group.add_done_callback(lambda: ends.append("late"))
    assert sorted(ends) == ["early", "late"]


def test_an_ended_group_is_read_from_the_store_after_a_restart(engines: Callable[..., Any]):
    engine, _ = engines()
    group = start(engine, "ant", "bad", "cat")
    before = wait_for(group)
    engine.stop()
    after = engines()[0].status(group.id)
    assert (after.state, after.notes) == ("done", before.notes)
    assert [(image.index, image.path) for image in after.images] == [
        (image.index, image.path) for image in before.images
    ]


@pytest.mark.parametrize("end", [kill, Engine.stop], ids=["killed", "stopped"])
def test_a_group_goes_on_at_the_right_cell_after_a_restart(
    engines: Callable[..., Any], end: Callable[[Engine], None]
):
    engine, executor = engines()
    executor.hold_at(2)
    group = start(engine, "ant", "bad", "bee", "cat", folder="zoo")
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    assert executor.seen == ["ant", "bee"]
    executor.release_at_stop()
    end(engine)
    group.interrupt()
    engine.stop()
    assert saved_files(engine) == ["ant.png"]

    engine, executor = engines()
    group = engine.job(group.id)
    assert isinstance(group, JobGroup)
    status = wait_for(group)
    assert executor.seen == ["bee", "cat"]
    assert (status.state, prompts(status)) == ("done", ["ant", "bee", "cat"])
    assert status.notes == ("bad: The word is bad.", "Ends: done failed done done.")
    assert [image.index for image in status.images] == [0, 1, 2]
    assert saved_files(engine) == ["ant.png", "bee.png", "cat.png"]


def test_the_finished_images_of_an_interrupted_cell_are_not_made_again(engines: Callable[..., Any]):
    engine, executor = engines()
    executor.hold_at(1)
    group = start(engine, "ant", "cat", request=CAT.replace(n_iter=3), folder="zoo")
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(1)
    assert executor.held.wait(PATIENCE_S)
    executor.release_at_stop()
    kill(engine)
    group.interrupt()
    engine.stop()
    assert saved_files(engine) == ["ant.png"]

    engine, executor = engines()
    status = wait_for(engine.job(group.id))
    assert [image.seed for image in status.images] == [5, 6, 7, 5, 6, 7]
    assert prompts(status) == ["ant"] * 3 + ["cat"] * 3
    assert saved_files(engine) == [
        "ant-1.png", "ant-2.png", "ant.png", "cat-1.png", "cat-2.png", "cat.png",
    ]  # fmt: skip
    first, *_ = status.images
    with Image.open(first.path) as image:
        assert image.info["parameters"].startswith("ant\n")


def test_only_missing_images_are_made_when_a_second_restart_comes_before_the_next_image(
    engines: Callable[..., Any],
):
    engine, executor = engines()
    executor.hold_at(1)
    group = start(engine, "ant", request=CAT.replace(n_iter=3), folder="zoo")
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(1)
    assert executor.held.wait(PATIENCE_S)
    executor.release_at_stop()
    engine.stop()
    for is_running in (False, True):
        engine, executor = engines(queue_after_restart="paused")
        executor.release_at_stop()
        if is_running:
            executor.hold_at(1)
            engine.queue.resume()
            assert executor.held.wait(PATIENCE_S)
        engine.stop()
    engine, _ = engines()
    status = wait_for(engine.job(group.id))
    assert [image.seed for image in status.images] == [5, 6, 7]
    assert saved_files(engine) == ["ant-1.png", "ant-2.png", "ant.png"]


def die_after_the_file(engine: Engine, save: Callable[..., Any], *args: Any) -> Any:
    saved = save(*args)
    if saved.index == 1:
        kill(engine)
        raise RuntimeError
    return saved


def die_before_the_file(engine: Engine, save: Callable[..., Any], *args: Any) -> Any:
    plan, index, image, announce, *others = args

    def announce_and_die(record: Any) -> None:
        announce(record)
        if index == 1:
            kill(engine)
            raise RuntimeError

    return save(plan, index, image, announce_and_die, *others)


@pytest.mark.parametrize("die", [die_after_the_file, die_before_the_file])
def test_an_image_is_neither_saved_twice_nor_lost_when_the_server_dies_while_it_is_saved(
    engines: Callable[..., Any], die: Callable[..., Any]
):
    engine, _ = engines()
    engine.image_saver.save = partial(die, engine, engine.image_saver.save)
    group = start(engine, "ant", request=CAT.replace(n_iter=3), folder="zoo")
    wait_for(group)
    engine.stop()
    engine, _ = engines()
    status = wait_for(engine.job(group.id))
    assert [image.seed for image in status.images] == [5, 6, 7]
    assert saved_files(engine) == ["ant-1.png", "ant-2.png", "ant.png"]


def test_waiting_cells_are_submitted_again_under_their_ids(engines: Callable[..., Any]):
    engine, _ = engines()
    engine.queue.pause()
    group = start(engine, "ant", "bee", at_once=True, folder="zoo")
    while len(engine.queue.store.active_jobs(9)) < 2:
        assert not group.wait(0.01)
    before = [record.id for record in engine.queue.store.active_jobs(9)]
    engine.stop()
    engine, _ = engines()
    wait_for(engine.job(group.id))
    assert [record.id for record in reversed(engine.queue.store.ended_jobs(9))] == before
    assert saved_files(engine) == ["ant.png", "bee.png"]


def test_a_group_waits_in_a_paused_queue_after_a_restart(engines: Callable[..., Any]):
    engine, _ = engines()
    engine.queue.pause()
    group = start(engine, "ant")
    engine.stop()
    engine, executor = engines(queue_after_restart="paused")
    group = engine.job(group.id)
    executor.wait_until_idle()
    assert engine.queue.is_paused
    assert group.status().state == "running"
    engine.queue.resume()
    assert prompts(wait_for(group)) == ["ant"]


def test_a_cancelled_group_stays_cancelled_after_a_restart(engines: Callable[..., Any]):
    engine, executor = engines()
    executor.hold_at(2)
    group = start(engine, "ant", "bee")
    assert executor.held.wait(PATIENCE_S)
    group.interrupt()
    executor.release()
    before = wait_for(group)
    engine.stop()
    engine, executor = engines()
    executor.wait_until_idle()
    status = engine.status(group.id)
    assert (status.state, status.error) == ("cancelled", before.error)
    assert executor.seen == []


def test_a_group_keeps_its_options_and_images_over_a_restart(engines: Callable[..., Any]):
    mask = Image.new("L", (64, 64), 255)
    request = Img2ImgRequest(init_image=None, mask=None, steps=2, width=64, height=64).replace(
        init_image=png(Image.new("RGB", (64, 64), "red")), mask=png(mask)
    )
    engine, _ = engines()
    engine.change_settings({"eta_ancestral": 0.5})
    engine.queue.pause()
    group = start(engine, "ant", request=request.replace(sampler_name="Euler a"))
    engine.stop()
    engine, _ = engines(eta_ancestral=1.0)
    status = wait_for(engine.job(group.id))
    assert "Eta: 0.5" in status.images[0].infotext
    assert "Mask blur: 4" in status.images[0].infotext
    assert list((engine.paths.queue / "pictures").iterdir()) == []


def test_a_group_of_an_unknown_script_fails_with_a_sentence(engines: Callable[..., Any]):
    engine, _ = engines()
    engine.queue.pause()
    group = start(engine, "ant")
    engine.stop()
    engine, _ = engines(prepare=lambda engine: None)
    status = engine.status(group.id)
    assert status.state == "failed"
    assert status.error.startswith("There is no script named 'Words'.")


def test_without_a_device_a_group_waits_for_the_next_start(engines: Callable[..., Any]):
    engine, _ = engines()
    engine.queue.pause()
    group = start(engine, "ant")
    engine.stop()
    engine, _ = engines(has_device=False)
    status = engine.status(group.id)
    assert (status.state, status.phase) == ("queued", "Waiting")
    engine.stop()
    assert engine.job(group.id).status().error == (
        "The server was stopped; this goes on at its next start."
    )
    engine, _ = engines()
    assert prompts(wait_for(engine.job(group.id))) == ["ant"]


def test_a_group_that_waits_for_the_device_can_be_cancelled(engines: Callable[..., Any]):
    engine, _ = engines()
    engine.queue.pause()
    group = start(engine, "ant")
    engine.stop()
    engine, _ = engines(has_device=False)
    engine.interrupt(group.id)
    assert wait_for(engine.job(group.id)).error == "Interrupted: 0 of 1 words were finished."
    engine.stop()
    engine, executor = engines()
    assert (engine.status(group.id).state, executor.seen) == ("cancelled", [])


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()

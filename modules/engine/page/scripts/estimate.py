"""How many pictures a script makes, and how long that takes by the time that the latest jobs took."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job_record import JobRecord
from modules.engine.page.requests import make_page_request
from modules.engine.page.scripts.runs import find_page_script
from modules.params.requests.base import GenerationRequest, require_generation
from modules.params.requests.job_request import JobRequest
from modules.params.requests.txt2img import Txt2ImgRequest, hires_size
from modules.scripts.protocol import Cell, Script

# Above so many pictures the page asks before it starts.
ASKS_ABOVE = 200
_MAX_JOBS = 20  # whose time counts
_MAX_SAMPLES = 64  # cells whose steps and size are looked at
# A picture is decoded and saved, too: as long as so many steps.
_STEPS_BESIDE = 2


def estimate_script(
    engine: Engine,
    task: str,
    values: Mapping[str, Any],
    script_name: str,
    script_args: Mapping[str, Any],
) -> dict[str, Any]:
    """Return an estimate for the page.

    Returns:
        `count` of pictures, `seconds` or None without earlier jobs to estimate from, `text` for the page, and `question`, "" where none has to
        be asked.

    Raises:
        WebUIError: the script would refuse to start.
    """
    request = require_generation(make_page_request(engine, task, values))
    script = find_page_script(engine, script_name, task)
    prepared, args = engine.groups.prepare(script, request, script_args, engine.settings)
    first = _first_cells(script, prepared, args)
    sizes = _sample(first)
    # What depends on the request, such as the parts of a prompt, is only known from the cells themselves.
    cells = max(script.cell_count(args), len(first))
    images = statistics.fmean(cell.n_iter * cell.batch_size for cell in sizes or [request])
    is_shown = not first or any(cell.is_shown for cell in first)
    count = round(cells * images) if is_shown else request.n_iter  # tiles are no pictures
    per_step = _seconds_per_pixel_step(engine, request) if sizes else None
    seconds = None if per_step is None else per_step * cells * statistics.fmean(map(_work, sizes))
    pictures = f"{count} {'picture' if count == 1 else 'pictures'}"
    text = pictures if seconds is None else f"{pictures}, {_format_duration(seconds)}"
    remark = script.remark(args) if script.remark is not None else ""
    text = f"{text}: {remark}" if remark else text
    question = f"The {script.name} makes {text}. Start it?" if count > ASKS_ABOVE else ""
    return {"count": count, "seconds": seconds, "text": text, "question": question}


def _first_cells(script: Script, request: JobRequest, args: BaseModel) -> Sequence[Cell]:
    """Return the cells that a script runs first; those that go on with their results are like them."""
    generator = script.run(request, args)
    try:
        return next(generator)
    except (StopIteration, WebUIError):
        return []
    finally:
        generator.close()


def _sample(cells: Sequence[Cell]) -> list[GenerationRequest]:
    """Return the requests of some cells, as far as they generate images."""
    step = -(-len(cells) // _MAX_SAMPLES) or 1
    sampled: list[GenerationRequest] = []
    for cell in cells[::step]:
        sampled += _made_request(cell.make_request)
    return sampled


def _made_request(make_request: Callable[[], JobRequest]) -> list[GenerationRequest]:
    try:
        request = make_request()
    except WebUIError:  # this cell will fail
        return []
    return [request] if isinstance(request, GenerationRequest) else []


def _work(request: GenerationRequest) -> float:
    """Return steps times pixels of all images of a request."""
    work = float(request.width * request.height * (request.steps + _STEPS_BESIDE))
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        size = hires_size(request)
        steps = request.hr_second_pass_steps or request.steps
        work += size.width * size.height * (steps + _STEPS_BESIDE)
    return work * request.n_iter * request.batch_size


def _seconds_per_pixel_step(engine: Engine, request: GenerationRequest) -> float | None:
    """Return the time of the latest jobs, of those with the same checkpoint and task if there are any."""
    checkpoint = engine.find_checkpoint(request.sd_model_checkpoint).name
    jobs = [job for job in engine.queue.store.ended_jobs(_MAX_JOBS) if job.state == "done"]
    alike = [
        job
        for job in jobs
        if job.stored_request.task == request.task
        and job.request_fields.get("sd_model_checkpoint") == checkpoint
    ]
    rates = [rate for job in alike or jobs if (rate := _rate(job)) is not None]
    return statistics.median(rates) if rates else None


def _rate(job: JobRecord) -> float | None:
    fields = job.request_fields
    if job.started is None or job.ended is None or not job.images:
        return None
    steps = fields.get("steps", 0) + _STEPS_BESIDE
    pixels = sum(image.size[0] * image.size[1] for image in job.images)
    return (job.ended - job.started) / (steps * pixels) if pixels else None


def _format_duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * unit:
            return f"about {round(seconds / unit)} {name}"
    return f"about {max(1, round(seconds))} s"

"""Recorded runs that the Diffusion process tab asks for: started, followed like jobs, and turned into documents."""

from __future__ import annotations

from collections.abc import Mapping

from modules.core.errors import Cancelled, NotFound, UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_group import JobGroup
from modules.engine.process.documents import describe_reverse
from modules.engine.reproduce import rerun_image
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import Recording
from modules.plan.plan import require_plan
from modules.scripts.compare_samplers import COMPARE_SAMPLERS

_LOST = "The server was restarted before the steps were shown."
_AGAIN = "Show the process again."


class ProcessRuns:
    """The recorded runs of one engine.

    Args:
        engine: Runs them, and keeps their documents.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._documents: dict[str, str] = {}  # id of a run -> id of its document

    def start(self, request: Txt2ImgRequest, other_sampler: str = "") -> str:
        """Start recorded jobs that differ only by their sampler, and return the id to follow.

        Raises:
            WebUIError: the request names no usable checkpoint.
        """
        args = {"other_sampler": other_sampler}
        return self._engine.run_script(COMPARE_SAMPLERS.name, request, args, "page").id

    def start_again(self, job_id: str, index: int) -> str:
        """Start a recorded job for one image of a job, and return the id to follow.

        Raises:
            NotFound: the job is unknown, or an input image of it is no longer stored.
        """
        return rerun_image(self._engine.queue, job_id, index).id

    def document(self, run_id: str) -> str:
        """Return the id of the document of a run that has ended.

        Raises:
            WebUIError: it failed or was interrupted, nothing was recorded, or it is forgotten.
        """
        if run_id not in self._documents:
            jobs = self._recorded_jobs(run_id)
            plans = {name: require_plan(job.plan) for name, job in jobs.items()}
            document = describe_reverse(plans, _take_recordings(jobs), self._engine.schedules)
            self._documents[run_id] = self._engine.processes.add(document)
        return self._documents[run_id]

    def _recorded_jobs(self, run_id: str) -> Mapping[str, Job]:
        try:
            run = self._engine.job(run_id)
        except NotFound:
            raise NotFound(_LOST, _AGAIN) from None
        if not isinstance(run, JobGroup):
            plan = require_plan(run.plan)
            if not plan.record:
                raise NotFound(_LOST, _AGAIN)
            return {plan.sampler.name: run}
        if run.errors or not run.recorded_jobs:
            status = run.status()
            kind = Cancelled if status.state == "cancelled" else UserError
            raise kind(next(iter(run.errors), status.error) or "Nothing was recorded.")
        return run.recorded_jobs


def _take_recordings(jobs: Mapping[str, Job]) -> dict[str, Recording]:
    recordings: dict[str, Recording] = {}
    for name, job in jobs.items():
        recording = job.take_recording()
        has_hires = require_plan(job.plan).hires is not None
        if recording is None or (has_hires and recording.hires is None):
            raise WebUIError(job.status().error or "Nothing was recorded.")
        recordings[name] = recording
    return recordings

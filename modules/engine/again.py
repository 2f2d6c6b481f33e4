"""One picture of a job made again, its way written down, to show how it came to be."""

from __future__ import annotations

from modules.engine.frozen import thaw
from modules.engine.job import Job
from modules.engine.queue import JobQueue


def make_again(queue: JobQueue, job_id: str, index: int) -> Job:
    """Return a new, recorded job for one picture of a job that may be long past.

    Args:
        queue: Knows the job and takes the new one.
        job_id: The job's name.
        index: The picture's place among the job's, from 0.

    Raises:
        NotFound: the job is not known, or a picture that it repainted is no longer kept.
    """
    row = queue.store.row(job_id)
    request, settings = thaw(row.frozen, queue.store.picture)
    step = 0 if request.subseed_strength else 1
    seeds = {"seed": request.seed + step * index, "subseed": request.subseed + index}
    alone = request.replace(n_iter=1, batch_size=1, **seeds)
    return queue.submit(alone, settings, row.place.source, recorded=True)

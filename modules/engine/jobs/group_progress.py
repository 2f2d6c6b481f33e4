"""What a running group shows of its current cells: phase, progress and preview. Several may run at once."""

from __future__ import annotations

from collections.abc import Sequence

from modules.engine.jobs.cell_run import CellRun
from modules.engine.jobs.queue import JobQueue
from modules.params.events import Progress

# Each cell counts as this many steps, so that the bar moves smoothly, however many steps the cell's job has.
_STEPS_PER_CELL = 100


def phase_text(runs: Sequence[CellRun], count: int, noun: str, queue: JobQueue) -> str:
    """Return the phase of a running group: that of the first cell that has not ended, with its name.

    Args:
        runs: The current cells, in order.
        count: How many cells the group has.
        noun: What the script calls a cell.
        queue: Knows what a waiting cell waits for.
    """
    current = next((run for run in runs if not run.has_ended()), None)
    if current is None:
        return "Waiting"
    phase = "Reading"
    if current.job is not None:
        status = current.job.status()
        phase = queue.waiting_phase(status.id) if status.state == "queued" else status.phase
    if not current.cell.name:
        return phase
    number = current.position + 1
    running = sum(run.job is not None and run.job.status().state == "running" for run in runs)
    at_once = f" ({running} run at once)" if running > 1 else ""
    return f"{current.cell.name}, {number} of {max(count, number)} {noun}s{at_once}: {phase}"


def overall_progress(runs: Sequence[CellRun], ended_count: int, count: int) -> Progress:
    """Return the progress of a group; that of its only job, if it has no other.

    Args:
        runs: The current cells, in order.
        ended_count: How many cells before them have ended.
        count: How many cells the group has.
    """
    statuses = [run.job.status() for run in runs if run.job is not None]
    if runs and statuses and not runs[0].cell.name:
        return statuses[0].progress
    fraction = ended_count + sum(status.progress.fraction for status in statuses)
    return Progress(round(fraction * _STEPS_PER_CELL), count * _STEPS_PER_CELL)


def current_preview(runs: Sequence[CellRun]) -> tuple[int, bytes]:
    """Return the number and the preview of the first running cell that has one; 0 and b"" if there is none."""
    for run in runs:
        number = 0 if run.job is None or run.has_ended() else run.job.status().preview_number
        if run.job is not None and number:
            return run.position * 10**6 + number, run.job.preview()
    return 0, b""

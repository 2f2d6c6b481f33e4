"""Which checkpoint can do which task; the reasons are sentences for the user."""

from __future__ import annotations

from modules.core.errors import UserError
from modules.core.registry import Registry
from modules.models.checkpoint import Checkpoint
from modules.models.families import Family
from modules.models.files.header import read_header
from modules.models.index import ModelIndex
from modules.models.ldm.depth import DEPTH_CLASS_TOKEN
from modules.params.requests.tasks import TASKS, Task

_MAX_SUGGESTIONS = 5


def incompatibility(
    task_name: str,
    models: ModelIndex,
    checkpoint: Checkpoint,
    has_depth_map: bool = False,
    tasks: Registry[Task] = TASKS,
) -> UserError | None:
    """Return why a checkpoint cannot do a task and what to do about it; None when it can.

    Args:
        task_name: Name of the task.
        models: Lists the checkpoint, and others to suggest.
        checkpoint: One without an error.
        has_depth_map: Whether the request brings its own depth map.
        tasks: All tasks.

    Raises:
        BadFile: the checkpoint cannot be read any more.
        NotFound: it is gone.
    """
    family, task = models.get_family(checkpoint), tasks.get(task_name)
    if family.is_refiner:
        return UserError(
            f"'{checkpoint.name}' is a refiner: it finishes images that another model began.",
            f"Choose it as the refiner, and as the checkpoint one that it can refine:"
            f" {_suggest(task, models, family)}",
        )
    extra_input = family.extra_input
    reason = task.refuses.get(extra_input)
    if reason is not None:
        suggestion = _suggest(task, models)
        if extra_input == "depth":
            hint = f"Use it in the Depth tab, or {suggestion}"
        else:
            hint = suggestion[0].upper() + suggestion[1:]
        return UserError(f"'{checkpoint.name}' {reason}.", hint)
    if "depth" in task.needs and not has_depth_map and not _has_depth_estimator(checkpoint):
        return missing_depth_estimator(checkpoint.name)
    return None


def missing_depth_estimator(name: str) -> UserError:
    """Return the error for a request without a depth map and a checkpoint that cannot estimate one."""
    return UserError(f"'{name}' has no depth estimator.", "Provide a depth map.")


def _has_depth_estimator(checkpoint: Checkpoint) -> bool:
    return DEPTH_CLASS_TOKEN in read_header(checkpoint.path).tensors


def _can_do(task: Task, family: Family) -> bool:
    return not family.is_refiner and family.extra_input not in task.refuses


def _suggest(task: Task, models: ModelIndex, refiner: Family | None = None) -> str:
    """Return what to do to have a checkpoint for a task, one with the latents of a refiner if there is one."""
    families = [(it, models.get_family(it)) for it in models.checkpoints() if not it.error]
    if refiner is not None:
        families.sort(key=lambda row: bool(row[1].extra_input))  # ordinary ones first
    names = [
        f"'{checkpoint.name}'"
        for checkpoint, family in families
        if _can_do(task, family)
        and (refiner is None or family.latent_format == refiner.latent_format)
    ]
    if not names and refiner is not None:
        return "put one, such as sd_xl_base_1.0.safetensors, into models/Stable-diffusion and choose it."
    if not names:
        return f"put one, such as {task.example_checkpoint}, into models/Stable-diffusion and choose it."
    more = " or another" if len(names) > _MAX_SUGGESTIONS else ""
    return f"choose {' or '.join(names[:_MAX_SUGGESTIONS])}{more}."

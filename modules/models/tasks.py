"""Which checkpoint can do which task, told in sentences."""

from __future__ import annotations

from modules.core.errors import UserError
from modules.models.depth_config import DEPTH_CLASS_TOKEN
from modules.models.header import read_header
from modules.models.manager import Checkpoint, ModelManager
from modules.params.request import Task

_MOST_NAMES = 5


def misfit(
    task: Task, models: ModelManager, checkpoint: Checkpoint, has_depth_map: bool = False
) -> UserError | None:
    """Return why a checkpoint cannot do a task and what to do about it; None when it can.

    Args:
        task: What is asked.
        models: Knows the checkpoint, and others to name.
        checkpoint: The chosen one, without fault.
        has_depth_map: Whether the user gives the depth of the picture.

    Raises:
        BadFile: the checkpoint cannot be read any more.
        NotFound: it is gone.
    """
    sees_depth = models.family_of(checkpoint).extra_input == "depth"
    if task == "txt2img" and sees_depth:
        return UserError(
            f"'{checkpoint.name}' repaints a picture by its depth and makes none from words alone.",
            "Use it in the Depth tab, or choose another checkpoint.",
        )
    if task == "depth2img" and not sees_depth:
        return UserError(
            f"'{checkpoint.name}' is no depth checkpoint, and this version repaints pictures with those alone.",
            _advice(models),
        )
    if task == "depth2img" and not has_depth_map and not _estimates(checkpoint):
        return no_estimator(checkpoint.name)
    return None


def no_estimator(name: str) -> UserError:
    """Return the error for a picture without a depth map and a checkpoint that cannot estimate one."""
    return UserError(f"'{name}' carries no depth estimator.", "Give a depth map.")


def _estimates(checkpoint: Checkpoint) -> bool:
    return DEPTH_CLASS_TOKEN in read_header(checkpoint.path).tensors


def _advice(models: ModelManager) -> str:
    names = [
        f"'{found.name}'"
        for found in models.checkpoints()
        if not found.fault and models.family_of(found).extra_input == "depth"
    ]
    if not names:
        return "Put one, such as 512-depth-ema.ckpt, into models/Stable-diffusion and choose it."
    more = " or another" if len(names) > _MOST_NAMES else ""
    return f"Choose {' or '.join(names[:_MOST_NAMES])}{more}."

"""Which checkpoint can do which task; the reasons are sentences for the user."""

from __future__ import annotations

from collections.abc import Mapping

from modules.core.errors import UserError
from modules.models.checkpoint import Checkpoint
from modules.models.files.header import read_header
from modules.models.index import ModelIndex
from modules.models.ldm.depth import DEPTH_CLASS_TOKEN
from modules.params.requests.base import Task

_MAX_SUGGESTIONS = 5
# Why a checkpoint cannot do a task, by the extra input of its family; starts with the checkpoint's name.
_NO_DEPTH = "is not a depth checkpoint, and the Depth tab needs one"
_REASONS: Mapping[Task, Mapping[str, str]] = {
    "txt2img": {"depth": "generates from the depth of an image, not from a prompt alone"},
    "img2img": {
        "depth": "generates from the depth of an image, not from its colours",
        "ip2p": "follows instructions (InstructPix2Pix), which is not supported yet",
    },
    "inpaint": {
        "depth": "generates whole images from their depth and does not support masks",
        "ip2p": "edits whole images (InstructPix2Pix) and does not support masks",
    },
    "depth2img": {"": _NO_DEPTH, "inpaint": _NO_DEPTH, "ip2p": _NO_DEPTH},
}
# A published file that can do the task, for users without one.
_EXAMPLES: Mapping[Task, str] = {
    "txt2img": "v1-5-pruned-emaonly.safetensors",
    "img2img": "v1-5-pruned-emaonly.safetensors",
    "inpaint": "sd-v1-5-inpainting.ckpt",
    "depth2img": "512-depth-ema.ckpt",
}


def incompatibility(
    task: Task, models: ModelIndex, checkpoint: Checkpoint, has_depth_map: bool = False
) -> UserError | None:
    """Return why a checkpoint cannot do a task and what to do about it; None when it can.

    Args:
        task: The task.
        models: Lists the checkpoint, and others to suggest.
        checkpoint: One without an error.
        has_depth_map: Whether the request brings its own depth map.

    Raises:
        BadFile: the checkpoint cannot be read any more.
        NotFound: it is gone.
    """
    extra_input = models.get_family(checkpoint).extra_input
    reason = _REASONS[task].get(extra_input)
    if reason is not None:
        suggestion = _suggest(task, models)
        if extra_input == "depth":
            hint = f"Use it in the Depth tab, or {suggestion}"
        else:
            hint = suggestion[0].upper() + suggestion[1:]
        return UserError(f"'{checkpoint.name}' {reason}.", hint)
    if task == "depth2img" and not has_depth_map and not _has_depth_estimator(checkpoint):
        return missing_depth_estimator(checkpoint.name)
    return None


def missing_depth_estimator(name: str) -> UserError:
    """Return the error for a request without a depth map and a checkpoint that cannot estimate one."""
    return UserError(f"'{name}' has no depth estimator.", "Provide a depth map.")


def _has_depth_estimator(checkpoint: Checkpoint) -> bool:
    return DEPTH_CLASS_TOKEN in read_header(checkpoint.path).tensors


def _suggest(task: Task, models: ModelIndex) -> str:
    names = [
        f"'{checkpoint.name}'"
        for checkpoint in models.checkpoints()
        if not checkpoint.error and models.get_family(checkpoint).extra_input not in _REASONS[task]
    ]
    if not names:
        return f"put one, such as {_EXAMPLES[task]}, into models/Stable-diffusion and choose it."
    more = " or another" if len(names) > _MAX_SUGGESTIONS else ""
    return f"choose {' or '.join(names[:_MAX_SUGGESTIONS])}{more}."

"""Which checkpoint can do which task, told in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from modules.core.errors import UserError
from modules.models.files.header import read_header
from modules.models.ldm.depth import DEPTH_CLASS_TOKEN
from modules.models.manager import Checkpoint, ModelManager
from modules.params.requests.base import Task

_MOST_NAMES = 5
# What is said of a checkpoint that cannot do a task, by what its network sees beside the latents.
_NO_DEPTH = "is no depth checkpoint, and the Depth tab needs one"
_REFUSALS: Mapping[Task, Mapping[str, str]] = {
    "txt2img": {"depth": "repaints a picture by its depth and makes none from words alone"},
    "img2img": {
        "depth": "repaints a picture by its depth, not by its colours",
        "ip2p": "follows instructions (InstructPix2Pix), which is not built yet",
    },
    "inpaint": {
        "depth": "repaints whole pictures by their depth and knows no masks",
        "ip2p": "repaints whole pictures (InstructPix2Pix) and knows no masks",
    },
    "depth2img": {"": _NO_DEPTH, "inpaint": _NO_DEPTH, "ip2p": _NO_DEPTH},
}
# A file that can, for who has none.
_EXAMPLES: Mapping[Task, str] = {
    "txt2img": "v1-5-pruned-emaonly.safetensors",
    "img2img": "v1-5-pruned-emaonly.safetensors",
    "inpaint": "sd-v1-5-inpainting.ckpt",
    "depth2img": "512-depth-ema.ckpt",
}


def incompatibility(
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
    sees = models.get_family(checkpoint).extra_input
    refusal = _REFUSALS[task].get(sees)
    if refusal is not None:
        tab = "Use it in the Depth tab, or " if sees == "depth" else ""
        advice = _advice(task, models)
        return UserError(
            f"'{checkpoint.name}' {refusal}.",
            tab + (advice if tab else advice[0].upper() + advice[1:]),
        )
    if task == "depth2img" and not has_depth_map and not _estimates(checkpoint):
        return missing_depth_estimator(checkpoint.name)
    return None


def missing_depth_estimator(name: str) -> UserError:
    """Return the error for a picture without a depth map and a checkpoint that cannot estimate one."""
    return UserError(f"'{name}' carries no depth estimator.", "Give a depth map.")


def _estimates(checkpoint: Checkpoint) -> bool:
    return DEPTH_CLASS_TOKEN in read_header(checkpoint.path).tensors


def _advice(task: Task, models: ModelManager) -> str:
    names = [
        f"'{found.name}'"
        for found in models.checkpoints()
        if not found.error and models.get_family(found).extra_input not in _REFUSALS[task]
    ]
    if not names:
        return f"put one, such as {_EXAMPLES[task]}, into models/Stable-diffusion and choose it."
    more = " or another" if len(names) > _MOST_NAMES else ""
    return f"choose {' or '.join(names[:_MOST_NAMES])}{more}."

"""FEW_STEP_MODELS: models that were distilled to a few steps, and what suits them. They are recognized by the file's name alone.

Their tensors are those of the model that they were made from, so nothing is changed: a note says what suits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.params.requests.base import GenerationRequest

# These schedules visit the timesteps of the training, the last one first: 4 steps of it are 999, 749, 499 and 249.
_TRAILING = ("SGM Uniform", "Simple")


@dataclass(frozen=True)
class FewStepModel:
    """One row of the table.

    Args:
        name: As its publisher calls it.
        pattern: Finds the word in the file's name, in upper or lower case.
        max_cfg_scale: A larger one burns its images.
        max_steps: More steps than that make nothing better.
        samplers: The usual ones for it; the first is named to the user, none where every sampler does.
    """

    name: str
    pattern: str
    max_cfg_scale: float
    max_steps: int
    samplers: tuple[str, ...] = ()


FEW_STEP_MODELS: tuple[FewStepModel, ...] = (
    FewStepModel("Lightning", "lightning", 2, 8),
    FewStepModel("Hyper-SD", "hyper(?=[-_ ]?sd|vae|[-_ .]|$)", 2, 8),
    FewStepModel("Turbo", "turbo", 2.5, 10),
    FewStepModel("DMD2", "dmd2?", 1.5, 8),
    FewStepModel("LCM", "lcm", 2, 8, samplers=("LCM",)),
)


def few_step_note(
    name: str,
    request: GenerationRequest,
    sampler: str,
    schedule: str,
    models: tuple[FewStepModel, ...] = FEW_STEP_MODELS,
) -> str:
    """Return what suits a model that was distilled to a few steps better than the request; "" otherwise.

    Args:
        name: Of the checkpoint's file.
        request: Steps and CFG scale.
        sampler: Name of its row.
        schedule: Name of the schedule that is used.
        models: The known ones.
    """
    model = next((row for row in models if _is_named(row, name)), None)
    if model is None:
        return ""
    advice: list[str] = []
    if request.cfg_scale > model.max_cfg_scale:
        advice.append(f"a CFG scale of 1 to {model.max_cfg_scale:g}")
    if request.steps > 2 * model.max_steps:
        advice.append(f"at most {model.max_steps} steps")
    if model.samplers and sampler not in model.samplers:
        advice.append(f"the sampler {model.samplers[0]}")
    elif request.steps <= model.max_steps and schedule not in _TRAILING:
        advice.append(f"the schedule type {_TRAILING[0]}")
    if not advice:
        return ""
    *others, last = advice
    listed = f"{', '.join(others)} and {last}" if others else last
    return (
        f"{name} seems to be a {model.name} model: {listed} suit{'' if others else 's'} it better."
    )


def _is_named(model: FewStepModel, name: str) -> bool:
    # A word begins after anything but a letter, or with a capital: "XLTurbo", "8LCM", "lightningDPMSDE".
    start = "(?:(?<![A-Za-z])|(?=[A-Z]))"
    return re.search(rf"{start}(?i:{model.pattern})(?![a-z])", name) is not None

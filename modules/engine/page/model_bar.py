"""What the bar above the tabs shows of the model, and what a change in it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.models.control.layouts import CONTROLNET_UNION
from modules.models.files.scan import ModelFile
from modules.models.kinds import VAE
from modules.plan.effects import clip_skip_has_effect
from modules.plan.units.control_types import fitting_models, types_of

# Labels and prediction types; "" leaves it to the .yaml or to a probe of the network.
PREDICTION_CHOICES = (("Automatic", ""), ("noise (epsilon)", "epsilon"), ("v", "v_prediction"))
_CLIP_SKIP = "CLIP_stop_at_last_layers"


def model_state(engine: Engine) -> dict[str, Any]:
    """Return what the page shows of the model, as JSON.

    Returns:
        `checkpoints` and `vaes` as rows of label and value, the chosen `checkpoint` and `vae`, its `prediction` with its
        choices where there is something to choose, `can_convert`, `native_size` in pixels (0 if it is not known),
        `control_models` that fit it (`title`, `types`, whether it `is_union`, for several types, and `takes_several` pictures),
        `network_family` (of the networks that fit, "" if it is not known), `without_effect` (names of options that do nothing with it) and `refused` (by task, why it cannot do it).
    """
    active = engine.active_checkpoint
    name = chosen_checkpoint(engine)
    prediction = engine.settings.sd_predictions.get(name, "")
    reasons = {task.name: active.incompatibility(task.name) for task in engine.registries.tasks}
    return {
        "checkpoints": [
            (_label(checkpoint.title, checkpoint, checkpoint.error), checkpoint.name)
            for checkpoint in engine.models.checkpoints()
        ],
        "checkpoint": name,
        "vaes": _vae_rows(engine),
        "vae": engine.settings.sd_vae,
        "prediction": prediction,
        "predictions": PREDICTION_CHOICES if prediction or active.is_prediction_unknown() else (),
        "can_convert": active.can_convert(),
        "native_size": active.native_size(),
        "control_models": _control_models(engine),
        "network_family": _network_family(engine),
        "without_effect": () if _clip_skip_counts(engine) else (_CLIP_SKIP,),
        "refused": {task: reason for task, reason in reasons.items() if reason},
    }


def chosen_checkpoint(engine: Engine) -> str:
    """Return the name of the checkpoint that new jobs use; "" if there is none."""
    try:
        return engine.find_checkpoint().name
    except WebUIError:
        return ""


def change_model(engine: Engine, action: str, value: str) -> str:
    """Carry out a change in the bar and return a sentence for the user, "" if there is nothing to say.

    Args:
        engine: Has the models.
        action: A row of `_ACTIONS`.
        value: The new value, where the action has one.

    Raises:
        WebUIError: the value is not valid, or the file cannot be used.
    """
    if action not in _ACTIONS:
        raise UserError(f"There is no action '{action}'.", f"Use one of {', '.join(_ACTIONS)}.")
    return _ACTIONS[action](engine, value)


def _choose_checkpoint(engine: Engine, name: str) -> str:
    engine.select_checkpoint(name)
    return ""


def _choose_prediction(engine: Engine, value: str) -> str:
    engine.set_prediction_type(value)
    return ""


def _refresh(engine: Engine, _: str) -> str:
    engine.models.refresh()
    engine.models.start_hashing()
    return ""


def _convert(engine: Engine, _: str) -> str:
    return f"Written: {engine.convert_checkpoint().name}. The .ckpt file is kept."


_ACTIONS: Mapping[str, Callable[[Engine, str], str]] = {
    "checkpoint": _choose_checkpoint,
    "prediction": _choose_prediction,
    "refresh": _refresh,
    "convert": _convert,
}


def _vae_rows(engine: Engine) -> list[tuple[str, str]]:
    labels = {vae.name: _label(vae.name, vae) for vae in engine.models.files(VAE)}
    return [(labels.get(name, name), name) for name in engine.choices("vaes")]


def _label(title: str, file: ModelFile, error: str = "") -> str:
    """Return what a list shows of a file; of an unusable or misnamed one, why."""
    problem = error or file.name_warning
    return f"⚠ {file.name}: {problem}" if problem else title


def _network_family(engine: Engine) -> str:
    try:
        return engine.models.get_family(engine.find_checkpoint()).network_family
    except WebUIError:
        return ""


def _control_models(engine: Engine) -> list[dict[str, Any]]:
    try:
        fitting = fitting_models(engine.models, engine.find_checkpoint())
    except WebUIError:
        return []
    return [
        {
            "title": model.title,
            "types": types_of(model),
            "is_union": model.layout == CONTROLNET_UNION,
            "takes_several": model.takes_several,
        }
        for model in fitting
    ]


def _clip_skip_counts(engine: Engine) -> bool:
    try:
        return clip_skip_has_effect(engine.find_checkpoint())
    except WebUIError:
        return False

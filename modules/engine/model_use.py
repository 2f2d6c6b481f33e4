"""Which model files are in use, and what must follow when one gets another name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.model_shelf import ModelShelf
from modules.models.checkpoint import Checkpoint
from modules.models.files.scan import ModelFile
from modules.models.model_spec import make_model_spec, resolve_prediction_type


def make_model_shelf(engine: Engine) -> ModelShelf:
    """Return the shelf of an engine's model files."""

    def rename(kind: str, old: str, new: str) -> None:
        _follow_name(engine, kind, old, new)

    return ModelShelf(engine.models, engine.paths, lambda: used_paths(engine), rename)


def used_paths(engine: Engine) -> Iterator[Path]:
    """Yield the files of the chosen and the loaded checkpoint, and those of all jobs that have not ended."""
    with contextlib.suppress(WebUIError):
        checkpoint = engine.find_checkpoint()
        yield checkpoint.path
        yield from make_model_spec(engine.models, checkpoint, engine.settings).paths
    loaded = engine.device_status.checkpoint
    yield from (one.path for one in engine.models.checkpoints() if one.name == loaded)
    for job in engine.jobs():
        if not job.wait(0):
            yield from job.plan.model_paths


def prediction_of(engine: Engine, file: ModelFile) -> str:
    """Return what a checkpoint predicts, "" if it is another file, its .yaml states it, or it is not known yet."""
    if not isinstance(file, Checkpoint) or file.error:
        return ""
    found = resolve_prediction_type(engine.models, file, engine.settings)
    return found if found in ("epsilon", "v_prediction") else ""


def last_use(engine: Engine) -> dict[str, float]:
    """Return by the name of a checkpoint when it made its latest stored picture, in seconds since the epoch."""
    return engine.queue.store.last_use_of_checkpoints()


def _follow_name(engine: Engine, kind: str, old: str, new: str) -> None:
    """Let the settings that name a checkpoint name it as it is called now."""
    predictions = engine.settings.sd_predictions
    if engine.models.kinds.get(kind).has_families and old in predictions:
        renamed = {new if name == old else name: value for name, value in predictions.items()}
        engine.change_settings({"sd_predictions": renamed})

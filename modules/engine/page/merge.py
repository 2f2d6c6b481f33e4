"""What the Checkpoint merger tab shows before a merge: the name and the size of the result, and what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.models.files.header import read_header
from modules.models.merging.layout import ResultLayout
from modules.params.param import validate
from modules.params.requests.merge import MergeRequest
from modules.plan.jobs.merge import (
    MergePlan,
    check_free_space,
    find_result_error,
    resolve_merge,
)


@dataclass(frozen=True)
class MergePreview:
    """What a merge would give.

    Args:
        name: File name of the result, "" if it cannot be made.
        size_bytes: Its size.
        free_bytes: What is free on its disk.
        notes: Sentences for the user.
        error: Why it cannot be made.
    """

    name: str = ""
    size_bytes: int = 0
    free_bytes: int = 0
    notes: tuple[str, ...] = ()
    error: str = ""


def preview_merge(engine: Engine, values: Mapping[str, Any]) -> MergePreview:
    """Return what a merge with the values of the form would give; only headers are read."""
    try:
        request = validate(MergeRequest, values)
        plan = resolve_merge(request, engine.settings, engine.models, engine.registries.recipes)
        layout = plan.lay_out(plan.read_inputs())
        path = plan.choose_path(layout)
        check_free_space(path, layout.size_bytes)
    except WebUIError as error:
        return MergePreview(error=str(error))
    folder = next(parent for parent in path.parents if parent.exists())
    return MergePreview(
        name=path.name,
        size_bytes=layout.size_bytes,
        free_bytes=shutil.disk_usage(folder).free,
        notes=tuple(_find_notes(engine, plan, layout)),
    )


def read_metadata(engine: Engine, names: Iterable[str]) -> str:
    """Return the metadata of checkpoints as JSON, where the later ones win.

    Raises:
        WebUIError: a checkpoint is not there, or cannot be read.
    """
    metadata: dict[str, str] = {}
    for name in names:
        if name:
            metadata |= read_header(engine.find_checkpoint(name).path).metadata
    return json.dumps(metadata, indent=4, ensure_ascii=False)


def _find_notes(engine: Engine, plan: MergePlan, layout: ResultLayout) -> Iterable[str]:
    yield from plan.notes
    pattern = plan.request.discard_weights
    if pattern:
        count = layout.discarded_count
        yield f"The pattern discards {count} of {count + len(layout.tensors)} tensors."
    problem = find_result_error(layout, engine.models)
    if problem:
        yield f"The result {problem}"

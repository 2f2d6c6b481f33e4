"""Merges in a folder of a test: what was asked for, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from modules.backend.merging.merge import merge_checkpoints
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.params.events import CancelToken, Event, Note
from modules.params.requests.merge import MergeRequest
from modules.params.settings import Settings
from modules.plan.jobs.merge import MergePlan, plan_merge
from modules.plan.tables import PlanSources, PlanTables
from tests.conftest import ROOT, builtin_registries

SAVED = "Checkpoint saved to "


@dataclass
class Folder:
    """A data folder with checkpoints.

    Attributes:
        events: Of the last merge.
        cancel: Of the next one.
    """

    data: Path
    events: list[Event] = field(default_factory=list)
    cancel: CancelToken = field(default_factory=CancelToken)

    @property
    def checkpoints(self) -> Path:
        return self.data / "models" / "Stable-diffusion"

    @property
    def names(self) -> list[str]:
        """All files in the folder of checkpoints, hidden ones included."""
        return sorted(path.name for path in self.checkpoints.iterdir())

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    def plan(self, *models: str, **fields: Any) -> MergePlan:
        """Plan a merge of checkpoints, named as A, B and C."""
        index = ModelIndex.from_paths(Paths(ROOT, self.data))
        rows = builtin_registries()
        tables = PlanTables(rows.samplers, rows.schedules, rows.upscalers, rows.tasks)
        names = ("primary_model_name", "secondary_model_name", "tertiary_model_name")
        fields |= dict(zip(names, models, strict=False))
        return plan_merge(MergeRequest(**fields), Settings(), PlanSources(index, tables))

    def merge(self, *models: str, **fields: Any) -> Path:
        """Merge checkpoints and return the path of the result."""
        self.events.clear()
        merge_checkpoints(None, self.plan(*models, **fields), self.events.append, self.cancel)
        return Path(self.notes[-1].removeprefix(SAVED))


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file."""
    if path.suffix == ".ckpt":
        return torch.load(path, weights_only=True)
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def positions(events: Sequence[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]

"""Which checkpoint a request means: the named one, or the default."""

from __future__ import annotations

from pathlib import Path

from modules.core.errors import NotFound
from modules.models.checkpoint import Checkpoint
from modules.models.index import ModelIndex


class CheckpointFinder:
    """Finds checkpoints by name.

    Args:
        models: Lists the checkpoints.
        user_folder: Where users put their own.
        demo_folder: Contains those shipped with the program.
    """

    def __init__(self, models: ModelIndex, user_folder: Path, demo_folder: Path) -> None:
        self.models = models
        self._user_folder = user_folder
        self._demo_folder = demo_folder

    def find(self, name: str) -> Checkpoint:
        """Return the named checkpoint; "" means the default one.

        Raises:
            NotFound: there is no such file, or none at all.
            BadFile: the file cannot be used.
        """
        if name:
            return self.models.find_checkpoint(name)
        usable = [
            checkpoint
            for checkpoint in self.models.checkpoints()
            if not checkpoint.error and checkpoint.path.exists()
        ]
        if not usable:
            raise NotFound(
                "There is no usable checkpoint.",
                f"Put a .safetensors file into {self._user_folder}.",
            )
        return min(usable, key=self._default_sort_key)

    def is_demo(self, checkpoint: Checkpoint) -> bool:
        """Return whether the checkpoint is one of those shipped with the program."""
        return self._demo_folder in checkpoint.path.parents

    def _default_sort_key(self, checkpoint: Checkpoint) -> tuple[bool, bool, str]:
        """Sort the user's checkpoints before the demo, and plain text-to-image models before the rest."""
        family = self.models.get_family(checkpoint)
        needs_extra_input = bool(family.extra_input) or family.is_refiner
        stem = checkpoint.name.rpartition(".")[0].casefold()
        return self.is_demo(checkpoint), needs_extra_input, stem

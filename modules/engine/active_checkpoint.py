"""Which checkpoint new jobs use, and what can be said of it."""

from __future__ import annotations

from collections.abc import Callable

from modules.core.errors import NotFound, WebUIError
from modules.core.paths import Paths
from modules.models.compatibility import incompatibility
from modules.models.manager import Checkpoint, ModelManager
from modules.models.model_spec import make_model_spec, native_size
from modules.params.requests.base import Task
from modules.params.settings import Settings


class ActiveCheckpoint:
    """Finds the chosen checkpoint and answers questions about it; changes nothing.

    Args:
        models: What lies in the models folders.
        paths: Where they lie.
        settings: Returns the options in force.
    """

    def __init__(
        self, models: ModelManager, paths: Paths, settings: Callable[[], Settings]
    ) -> None:
        self._models = models
        self._paths = paths
        self._settings = settings

    def find(self, name: str = "") -> Checkpoint:
        """Return the named checkpoint, or the chosen one.

        Raises:
            NotFound: there is no such file, or none at all.
            BadFile: the file cannot be used.
        """
        wanted = name or self._settings().sd_model_checkpoint
        if wanted:
            return self._models.find(wanted)
        listed = self._models.checkpoints()
        usable = [found for found in listed if not found.error and found.path.exists()]
        if not usable:
            folder = self._paths.checkpoint_folders[0]
            raise NotFound(
                "There is no usable checkpoint.", f"Put a .safetensors file into {folder}."
            )
        return min(usable, key=self._default_sort_key)

    def _default_sort_key(self, checkpoint: Checkpoint) -> tuple[bool, bool, str]:
        """Put the user's own before the demo, and what makes pictures from words alone before the rest."""
        special = bool(self._models.get_family(checkpoint).extra_input)
        stem = checkpoint.name.rpartition(".")[0].casefold()
        return self.is_demo(checkpoint), special, stem

    def is_demo(self, checkpoint: Checkpoint) -> bool:
        """Return whether the checkpoint is one of those that come with the program."""
        demo = self._paths.root / "models" / "Stable-diffusion" / "demo"
        return demo in checkpoint.path.parents

    def is_active_demo(self) -> bool:
        """Return whether new jobs use a demo checkpoint."""
        try:
            return self.is_demo(self.find())
        except WebUIError:
            return False

    def native_size(self) -> int:
        """Return the width and height that the chosen checkpoint was made for; 0 when there is none."""
        try:
            found = self.find()
            plan = make_model_spec(self._models, found, self._settings())
            return native_size(plan, self._models)
        except WebUIError:
            return 0

    def incompatibility(self, task: Task) -> str:
        """Return why the chosen checkpoint cannot do a task, as a sentence; "" when it can, or there is none."""
        try:
            fault = incompatibility(task, self._models, self.find())
        except WebUIError:
            return ""
        return str(fault or "")

    def is_prediction_unknown(self) -> bool:
        """Return whether the chosen checkpoint is of a family whose tensors leave open what it predicts."""
        try:
            return self._models.get_family(self.find()).prediction_unknown
        except WebUIError:
            return False

    def can_convert(self) -> bool:
        """Return whether the chosen checkpoint is a .ckpt that has no .safetensors beside it yet."""
        try:
            path = self.find().path
        except WebUIError:
            return False
        return path.suffix.lower() == ".ckpt" and not path.with_suffix(".safetensors").exists()

"""The checkpoint that new jobs use, and its properties."""

from __future__ import annotations

from collections.abc import Callable

from modules.core.errors import WebUIError
from modules.core.registry import Registry
from modules.models.checkpoint import Checkpoint
from modules.models.compatibility import incompatibility
from modules.models.model_spec import make_model_spec, native_size
from modules.params.requests.tasks import TASKS, Task
from modules.params.settings import Settings
from modules.plan.checkpoints.finder import CheckpointFinder

_DEMO_NOTICE = (
    "Demo model: it draws coloured shapes and simple landscapes. Get a real one in the Models tab, or put a checkpoint "
    "into models/Stable-diffusion and press ↻."
)
# What the demo checkpoints draw well; see their README.
_DEMO_PROMPTS = (
    "a red circle on a blue background",
    "two red hearts on a yellow background",
    "mountains at sunset",
)


class ActiveCheckpoint:
    """Finds the active checkpoint and reports its properties; changes nothing.

    Args:
        checkpoints: Finds checkpoints by name.
        settings: Returns the current settings.
        tasks: All tasks.
    """

    def __init__(
        self,
        checkpoints: CheckpointFinder,
        settings: Callable[[], Settings],
        tasks: Registry[Task] = TASKS,
    ) -> None:
        self._checkpoints = checkpoints
        self._models = checkpoints.models
        self._settings = settings
        self._tasks = tasks

    def find(self, name: str = "") -> Checkpoint:
        """Return the named checkpoint, or the active one.

        Raises:
            NotFound: there is no such file, or none at all.
            BadFile: the file cannot be used.
        """
        return self._checkpoints.find(name or self._settings().sd_model_checkpoint)

    def is_active_demo(self) -> bool:
        """Return whether new jobs use a demo checkpoint."""
        try:
            return self._checkpoints.is_demo(self.find())
        except WebUIError:
            return False

    def demo_notice(self) -> str:
        """Return the page's sentence about demo checkpoints; empty unless one is active."""
        return _DEMO_NOTICE if self.is_active_demo() else ""

    def demo_prompts(self) -> tuple[str, ...]:
        """Return prompts that a demo checkpoint draws well; none unless one is active."""
        return _DEMO_PROMPTS if self.is_active_demo() else ()

    def native_size(self) -> int:
        """Return the native width and height of the active checkpoint; 0 if there is none."""
        try:
            model = make_model_spec(self._models, self.find(), self._settings())
            return native_size(model, self._models)
        except WebUIError:
            return 0

    def incompatibility(self, task: str) -> str:
        """Return why the active checkpoint cannot do a task, as a sentence; "" if it can, or there is none."""
        try:
            reason = incompatibility(task, self._models, self.find(), tasks=self._tasks)
        except WebUIError:
            return ""
        return str(reason or "")

    def is_prediction_unknown(self) -> bool:
        """Return whether the active checkpoint's prediction type cannot be detected from its tensors."""
        try:
            return self._models.get_family(self.find()).prediction_unknown
        except WebUIError:
            return False

    def can_convert(self) -> bool:
        """Return whether the active checkpoint is a .ckpt without a .safetensors of the same name."""
        try:
            path = self.find().path
        except WebUIError:
            return False
        return path.suffix.lower() == ".ckpt" and not path.with_suffix(".safetensors").exists()

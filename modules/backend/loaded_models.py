"""The device and the checkpoints loaded on it, each in the precision that it needs."""

from __future__ import annotations

from pathlib import Path

from modules.backend.components import Precision
from modules.backend.device import Device
from modules.backend.model import LoadedModel
from modules.backend.model_cache import ModelCache
from modules.models.checkpoint import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.prompt.tokens import ClipTokenizer


class LoadedModels:
    """What a handler works with.

    Args:
        device: The open device.
        tokenizer: Splits prompts.
        cache_folder: Keeps what was measured about checkpoints; None keeps nothing for the next start.
    """

    def __init__(
        self, device: Device, tokenizer: ClipTokenizer, cache_folder: Path | None = None
    ) -> None:
        self.device = device
        self._cache = ModelCache(device.torch_device, tokenizer, cache_folder)
        # Index of the precision that each checkpoint needs after an overflow.
        self._precision_indices: dict[Path, int] = {}

    def set_limit(self, count: int) -> None:
        """Set how many checkpoints may be loaded at once from now on."""
        self._cache.limit = count

    def acquire(self, model: ModelSpec) -> LoadedModel:
        """Return a model, loading it if it is not cached.

        Raises:
            WebUIError: the checkpoint cannot be loaded.
        """
        index = self._precision_indices.get(model.checkpoint.path, 0)
        return self._cache.acquire(model, self.device.precisions[index])

    def changed_files(self, model: ModelSpec) -> list[str]:
        """Return a sentence for each file of a loaded model that has changed on the disk."""
        return self._cache.changed_files(model)

    def check_weights(self) -> None:
        """Check the weights of the model that was used last.

        Raises:
            BadFile: one of its files has NaN or infinity for a weight.
        """
        self._cache.check_weights()

    def raise_precision(self, checkpoint: Checkpoint) -> Precision | None:
        """Load a checkpoint in the next higher precision from now on and return it; None if there is none."""
        index = self._precision_indices.get(checkpoint.path, 0) + 1
        if index >= len(self.device.precisions):
            return None
        self._precision_indices[checkpoint.path] = index
        return self.device.precisions[index]

    def clear(self) -> None:
        """Unload every checkpoint."""
        self._cache.clear()

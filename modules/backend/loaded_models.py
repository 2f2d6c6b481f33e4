"""The device and the checkpoints loaded on it, each in the precision that it needs."""

from __future__ import annotations

from pathlib import Path

from modules.backend.components import Precision
from modules.backend.control.preprocess import Preprocessors
from modules.backend.device import FP32, Device
from modules.backend.faces.restorers import FaceRestorers
from modules.backend.memory.policies import POLICIES, MemoryPolicy
from modules.backend.model import LoadedModel
from modules.backend.model_cache import ModelCache
from modules.backend.openvino import graph
from modules.backend.stages.pending_images import make_overlap
from modules.backend.upscale.result_cache import ResultCache
from modules.backend.upscale.upscalers import Upscalers
from modules.models.files.scan import FileStamp
from modules.models.model_spec import ModelSpec
from modules.models.weight_counts import count_weights
from modules.prompt.tokens import ClipTokenizer


class LoadedModels:
    """What a handler works with.

    Args:
        device: The open device.
        tokenizer: Splits prompts.
        cache_folder: Keeps what was measured about checkpoints; None keeps nothing for the next start.

    Attributes:
        upscalers: Enlarge finished images.
        upscaled: What they made last.
        overlap: Decodes concurrently with sampling; None where the device should not.
        face_restorers: Restore the faces in them.
        preprocessors: Make control images.
    """

    def __init__(
        self, device: Device, tokenizer: ClipTokenizer, cache_folder: Path | None = None
    ) -> None:
        self.device = device
        self.upscalers = Upscalers(device)
        self.upscaled = ResultCache()
        self.overlap = make_overlap(device.torch_device)
        self.face_restorers = FaceRestorers(device)
        self.preprocessors = Preprocessors(device.torch_device)
        self._cache = ModelCache(
            device.torch_device,
            tokenizer,
            cache_folder,
            lambda: self.device.free_bytes(),
            next(iter(device.half_precisions), None),
        )
        # Index of the precision that each checkpoint needs after an overflow.
        self._precision_indices: dict[Path, int] = {}
        # Index of the memory policy that each checkpoint needs after a lack of memory.
        self._policy_indices: dict[Path, int] = {}
        self._weight_counts: dict[FileStamp, int] = {}

    def set_limit(self, count: int) -> None:
        """Set how many checkpoints may be loaded at once from now on."""
        self._cache.limit = count

    def acquire(self, model: ModelSpec) -> LoadedModel:
        """Return a model, loading it if it is not cached.

        Raises:
            WebUIError: the checkpoint cannot be loaded.
        """
        path = model.checkpoint.path
        return self._cache.acquire(model, self._precision(model), self._policy_indices.get(path, 0))

    def _precision(self, model: ModelSpec) -> Precision:
        """Return the precision of a model: the device's first one in which it has not overflowed."""
        precisions = self._precisions(model)
        index = self._precision_indices.get(model.checkpoint.path, 0)
        return precisions[min(index, len(precisions) - 1)]

    def _precisions(self, model: ModelSpec) -> tuple[Precision, ...]:
        """Return the precisions of a model on this device."""
        if model.precision == "Full":
            return (FP32,)
        is_half = model.precision == "Half" or self._is_accelerated(model)
        if is_half and self.device.half_precisions:
            return self.device.half_precisions
        if self.device.large_precisions in ((), self.device.precisions):
            return self.device.precisions
        stamp = model.checkpoint.stamp
        if stamp not in self._weight_counts:
            self._weight_counts[stamp] = count_weights(model).total
        return self.device.precisions_for(self._weight_counts[stamp])

    def _is_accelerated(self, model: ModelSpec) -> bool:
        """Return whether OpenVINO computes a model's UNet, which it does in 16 bits where the device can."""
        is_on_cpu = self.device.torch_device.type == "cpu"
        return model.accelerator == "OpenVINO" and is_on_cpu and graph.is_installed()

    def changed_files(self, model: ModelSpec) -> list[str]:
        """Return a sentence for each file of a loaded model that has changed on the disk."""
        return self._cache.changed_files(model)

    def check_weights(self) -> None:
        """Check the weights of the model that was used last.

        Raises:
            BadFile: one of its files has NaN or infinity for a weight.
        """
        self._cache.check_weights()

    def raise_precision(self, model: ModelSpec) -> Precision | None:
        """Load a checkpoint in the next higher precision from now on and return it; None if there is none."""
        path, precisions = model.checkpoint.path, self._precisions(model)
        index = precisions.index(self._precision(model)) + 1
        if index >= len(precisions):
            return None
        self._precision_indices[path] = index
        return precisions[index]

    def precision_note(self, model: ModelSpec) -> str:
        """Return why a model does not compute in 16 bits although the options ask for it; "" if it does."""
        if model.precision != "Half" or self.device.half_precisions:
            return ""
        return f"{self.device.label} has no 16-bit arithmetic here: the picture is computed in 32 bits."

    def next_policy(self) -> MemoryPolicy | None:
        """Return the policy with which the checkpoint that was used last needs less memory; None if there is none."""
        used = self._cache.last_used()
        if used is None or self.device.free_bytes() is None:
            return None
        lower = POLICIES[POLICIES.index(used[1]) + 1 :]
        return lower[0] if lower else None

    def lower_memory(self) -> str:
        """Load the checkpoint that was used last with its next policy from now on; every one leaves memory.

        Returns:
            A note for the user; "" where the options say which policy it has, or there is no lower one.
        """
        used, policy = self._cache.last_used(), self.next_policy()
        self.clear()
        if used is None or policy is None or not used[2]:
            return ""
        path = used[0]
        self._policy_indices[path] = POLICIES.index(policy)
        return f"{path.name} ran out of memory and runs again with '{policy.name}', which takes longer."

    def forget_prompts(self) -> None:
        """Forget the encoded prompts of earlier jobs."""
        self._cache.prompts.clear()

    def clear(self) -> None:
        """Unload every checkpoint, every upscaler and the network of a preprocessor."""
        self.upscalers.clear()
        self.upscaled.clear()
        self.preprocessors.clear()
        self._cache.clear()

"""ControlNetworks: the control models that a checkpoint has used last; they leave memory with it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar, cast

from modules.models.control.control_model import ControlModel
from modules.models.files.scan import FileStamp, ModelFile

N = TypeVar("N")
_LIMIT = 3  # as many units as a request of the page has


class ControlNetworks:
    """A cache of loaded control models of one checkpoint, the most recently used ones.

    Attributes:
        limit: How many may stay loaded.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self.limit = limit
        self._networks: dict[FileStamp, object] = {}  # most recently used last

    def get(self, model: ModelFile, load: Callable[[], N]) -> N:
        """Return the network of a control model, loaded where it is not there; another one may leave for it.

        Args:
            model: The file.
            load: Returns the network; the same class each time for one file.
        """
        network = self._networks.pop(model.stamp, None)
        if network is None:
            while len(self._networks) >= self.limit:
                del self._networks[next(iter(self._networks))]
            network = load()
        self._networks[model.stamp] = network
        return cast("N", network)

    def keep_only(self, models: Collection[ModelFile]) -> None:
        """Let all other control models leave memory."""
        kept = {model.stamp for model in models}
        self._networks = {key: one for key, one in self._networks.items() if key in kept}

    def has(self, model: ControlModel) -> bool:
        """Return whether a control model is loaded."""
        return model.stamp in self._networks

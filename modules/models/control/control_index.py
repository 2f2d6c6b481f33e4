"""ControlIndex: lists the control models, and finds them by the names that requests use."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from modules.core.errors import BadFile, NotFound, WebUIError
from modules.core.registry import did_you_mean
from modules.models.checkpoint import fold_name
from modules.models.control.control_model import (
    ControlFacts,
    ControlFactsCache,
    ControlModel,
    short_hash,
)
from modules.models.control.layouts import detect_layout
from modules.models.files.header import read_header
from modules.models.files.safe_pickle import DAMAGE
from modules.models.files.scan import ModelFile
from modules.models.kinds import CONTROLNET

_HASH = re.compile(r"\s*\[([0-9a-f]{8,64})\]\s*$", re.IGNORECASE)
NO_MODEL = "None"
logger = logging.getLogger(__name__)


class ControlIndex:
    """The control models in the folders of their kind. A file is opened once; the rest comes from a cache.

    Args:
        list_files: Returns the files of a kind by its name, scanned when they are asked for first.
        refresh: Scans the folders of a kind again.
        folders: Returns the folders of a kind, for messages.
        cache_folder: Folder of the disk caches.
    """

    def __init__(
        self,
        list_files: Callable[[str], Sequence[ModelFile]],
        refresh: Callable[[str], None],
        folders: Callable[[str], Sequence[Path]],
        cache_folder: Path,
    ) -> None:
        self._list_files = list_files
        self._refresh = refresh
        self._folders = folders
        self._cache = ControlFactsCache(cache_folder / "control-facts.json")
        self._lock = threading.Lock()
        self._read: tuple[Sequence[ModelFile], tuple[ControlModel, ...]] | None = None

    def all(self) -> tuple[ControlModel, ...]:
        """Return every file of the folders, sorted by name, also those that are no control model."""
        files = self._list_files(CONTROLNET)
        with self._lock:
            if self._read is not None and self._read[0] is files:
                return self._read[1]
            cached = self._cache.read()
            facts = [cached.get(file.stamp) or _read_facts(file) for file in files]
            # One with an error is read again after the next scan: it may have been unreadable only for a while.
            known = {f.stamp: fact for f, fact in zip(files, facts, strict=True) if not fact.error}
            self._cache.write(known)
            models = tuple(
                ControlModel(**vars(file), facts=fact)
                for file, fact in zip(files, facts, strict=True)
            )
            self._read = files, models
            return models

    def models(self) -> tuple[ControlModel, ...]:
        """Return the control models that can be used, sorted by name; of several with one title the first."""
        titles: dict[str, ControlModel] = {}
        for model in self.all():
            if model.layout and not model.facts.error:
                titles.setdefault(model.title, model)
        return tuple(sorted(titles.values(), key=lambda model: fold_name(model.title)))

    def fitting(self, family: str, context_width: int = 0) -> tuple[ControlModel, ...]:
        """Return the control models that fit a checkpoint; see `ControlModel.fits`."""
        return tuple(model for model in self.models() if model.fits(family, context_width))

    def refresh(self) -> None:
        """Scan the folders again."""
        self._refresh(CONTROLNET)

    def find(self, name: str) -> ControlModel:
        """Return the control model of a name, with or without folder, suffix and hash, ignoring case.

        The folders are scanned again where that may help.

        Raises:
            NotFound: there is no such model.
            BadFile: its file cannot be read, or is no control model.
        """
        found = self._look_up(name)
        if found is None or found.with_current_stamp() != found:  # added, replaced or gone
            self.refresh()
            found = self._look_up(name)
        if found is None:
            names = [model.stem for model in self.models()]
            folder = next(iter(self._folders(CONTROLNET)), None)
            place = "" if folder is None else f" Control models are read from {folder}."
            hint = did_you_mean(name, names) if names else ""
            raise NotFound(f"There is no control model named '{name}'.", (hint + place).strip())
        if found.facts.error:
            raise BadFile(found.facts.error)
        if not found.layout:
            raise BadFile(
                f"'{found.name}' is no control model that is known here.", "Choose another one."
            )
        return found

    def _look_up(self, name: str) -> ControlModel | None:
        models = sorted(self.all(), key=lambda model: (not model.layout, bool(model.facts.error)))
        match = _HASH.search(name)
        query = fold_name(_HASH.sub("", name).strip())
        digest = match[1].lower() if match else ""
        for key in (_stem, _file_name, _path_stem, _path):
            found = [model for model in models if fold_name(key(model)) == query]
            if found:
                same = (model for model in found if model.facts.short_hash == digest)
                return next(same, found[0])
        # Renamed, or named by the hash alone.
        digest = digest or query
        return next((model for model in models if model.facts.short_hash == digest), None)


def _stem(model: ControlModel) -> str:
    return model.stem


def _file_name(model: ControlModel) -> str:
    return model.file_name


def _path_stem(model: ControlModel) -> str:
    return model.name.rpartition(".")[0]


def _path(model: ControlModel) -> str:
    return model.name


def _read_facts(file: ModelFile) -> ControlFacts:
    try:
        header = read_header(file.path)
        layout = detect_layout(header)
        if layout is None:
            return ControlFacts()
        outputs, digest = layout.count_outputs(header), short_hash(file.path)
        reason = layout.find_error(header)
        error = f"'{file.file_name}' {reason}" if reason else ""
        return ControlFacts(layout.name, *layout.find_base(header), outputs, digest, error)
    except WebUIError as error:
        return ControlFacts(error=str(error))
    except (OSError, *DAMAGE) as error:  # one odd file never keeps the others from being listed
        logger.exception("'%s' cannot be examined.", file.path)
        return ControlFacts(error=f"'{file.file_name}' cannot be examined: {error!r}.")

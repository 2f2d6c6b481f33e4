"""ModelIndex: lists the model files of every kind, finds them by name, and hashes them."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from modules.core.errors import BadFile, NotFound, UserError, WebUIError
from modules.core.paths import Paths
from modules.core.registry import Registry, did_you_mean
from modules.models.checkpoint import Checkpoint, fold_name, match_checkpoint
from modules.models.control.control_index import ControlIndex
from modules.models.families import Family, make_family_registry
from modules.models.file_cache import HeaderFacts, HeaderFactsCache, tables_digest
from modules.models.files.header import Header, read_header
from modules.models.files.safe_pickle import DAMAGE
from modules.models.files.scan import FileStamp, ModelFile, scan_folder
from modules.models.hashing import FileHasher
from modules.models.kinds import (
    CHECKPOINT,
    TEXT_ENCODER,
    Detection,
    ModelKind,
    detect,
    find_checkpoint_error,
    make_kind_registry,
)
from modules.models.ldm.text_encoder_layouts import COND_STAGE_SLOT
from modules.models.ldm.yaml import YamlCache
from modules.models.networks.embeddings import EmbeddingList
from modules.models.networks.network_index import NetworkIndex
from modules.models.prediction_facts import read_prediction_facts
from modules.models.text_encoder_choice import TextEncoderChoice, find_donors
from modules.models.text_encoders import (
    TextEncoderFile,
    detect_text_encoder,
    read_text_encoder_file,
)

logger = logging.getLogger(__name__)


class ModelIndex:
    """Lists model files, finds them by name, and hashes them; checkpoints also by hash, and in the background.

    Checkpoints are read from their headers when they are listed, files of other kinds are not opened.

    Args:
        folders: By the name of a kind its folders, in order of precedence for files with the same name.
        config_folder: Folder with a .yaml for each family.
        cache_folder: Folder of the disk caches, such as hashes.json.
        kinds: The kinds to list; all known ones by default.
        families: The families of checkpoints; all known ones by default.

    Attributes:
        networks: The files that a tag in a prompt can name.
        embeddings: The embeddings that a prompt can name.
        control: The control models that a unit can name.
    """

    def __init__(
        self,
        folders: Mapping[str, Sequence[Path]],
        config_folder: Path,
        cache_folder: Path,
        kinds: Registry[ModelKind] | None = None,
        families: Registry[Family] | None = None,
    ) -> None:
        self.kinds = kinds or make_kind_registry()
        self.families = families or make_family_registry()
        self.cache_folder = cache_folder
        self.yaml_cache = YamlCache()
        self._folders = {name: tuple(paths) for name, paths in folders.items()}
        self._config_folder = config_folder
        self._files: dict[str, tuple[ModelFile, ...]] = {}  # of each kind but checkpoints
        self._text_encoder_files: Sequence[TextEncoderFile] | None = None
        self._text_encoder_choice = TextEncoderChoice(
            self._read_text_encoder_files, {}, self.get_family
        )
        self._hasher = FileHasher(cache_folder / "hashes.json", self._set_sha256)
        self._on_change: Callable[[], None] | None = None
        self._hashing_enabled = False
        self._scan_lock = threading.Lock()
        self._swap_lock = threading.Lock()  # held briefly, never during a scan
        self._checkpoints: tuple[Checkpoint, ...] | None = None
        self._header_facts = HeaderFactsCache(
            cache_folder / "verdicts.json",
            tables_digest(self.kinds, self.families),
            self._are_possible,
        )
        self.networks = NetworkIndex(self.files, self.refresh, self.detect, cache_folder)
        self.embeddings = EmbeddingList(self)
        self.control = ControlIndex(self.files, self.refresh, self.folders, cache_folder)

    @classmethod
    def from_paths(
        cls,
        paths: Paths,
        kinds: Registry[ModelKind] | None = None,
        families: Registry[Family] | None = None,
    ) -> ModelIndex:
        """Return the index of the program's folders."""
        kinds = kinds or make_kind_registry()
        folders = {kind.name: kind.folders(paths) for kind in kinds}
        return cls(folders, paths.configs, paths.cache, kinds, families)

    def refresh(self, kind: str = CHECKPOINT) -> None:
        """Scan the folders of a kind again; for checkpoints those of every kind in use, since they may need the others.

        Of checkpoints, only new and changed files are opened.
        """
        row = self.kinds.get(kind)
        if not row.has_families:
            self._files[row.name] = self._scan(row)
            return
        with self._scan_lock:
            for name in tuple(self._files):
                self._files[name] = self._scan(self.kinds.get(name))
            self._text_encoder_files = None
            files = self._scan(row)
            cached = self._header_facts.read()
            facts = [cached.get(file.stamp) or self._read_header_facts(file) for file in files]
            # A file of unknown kind is read again next time: it may have been unreadable only for a while.
            identified = ((f.stamp, v) for f, v in zip(files, facts, strict=True) if v.kind)
            self._header_facts.write(dict(identified))
            checkpoints = list(map(self._make_checkpoint, files, facts))
            if not all(c.includes_text_encoders or c.error for c in checkpoints):
                donors = find_donors(checkpoints, self.get_family)
                self._text_encoder_choice = dataclasses.replace(
                    self._text_encoder_choice, donors=donors
                )
                checkpoints = list(map(self._check_text_encoders, checkpoints))
            with self._swap_lock:
                self._checkpoints = tuple(checkpoints)
        if self._hashing_enabled:
            self._hash_all()

    def files(self, kind: str) -> Sequence[ModelFile]:
        """Return every file of a kind, sorted by name.

        Raises:
            NotFound: there is no such kind.
        """
        row = self.kinds.get(kind)
        if row.has_families:
            return self.checkpoints()
        files = self._files.get(row.name)
        if files is None:
            files = self._files[row.name] = self._scan(row)
        return files

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return every checkpoint file, sorted by name, including those with an error."""
        if self._checkpoints is None:
            self.refresh()
        return self._checkpoints or ()

    def folders(self, kind: str) -> Sequence[Path]:
        """Return the folders of a kind."""
        return self._folders.get(self.kinds.get(kind).name, ())

    def home_of(self, kind: ModelKind) -> ModelKind:
        """Return the kind whose folders hold files of a kind: itself, or another one."""
        return self.kinds.get(kind.listed_as) if kind.listed_as else kind

    def find(self, kind: str, name: str) -> ModelFile:
        """Return the file of a kind by its name, with or without its folder, ignoring case.

        Raises:
            NotFound: there is no such file or kind, or it is gone.
            UserError: there are several.
            BadFile: it is a checkpoint that cannot be loaded.
        """
        row = self.kinds.get(kind)
        if row.has_families:
            return self.find_checkpoint(name)
        files = self.files(kind)
        matching = _match(name, files, row)
        if len(matching) > 1:
            listing = " or ".join(f"'{file.name}'" for file in matching)
            text = f"The {row.noun} name '{name}' can mean {listing}."
            raise UserError(text, "Include the folder.")
        if not matching:
            hints = [did_you_mean(name, [file.name for file in files])]
            hints += [f"{row.noun}s are read from {path}." for path in self.folders(kind)[:1]]
            text = f"There is no {row.noun} named '{name}'."
            raise NotFound(text, " ".join(hints))
        return self.with_current_stamp(kind, matching[0])

    def with_current_stamp(self, kind: str, file: ModelFile) -> ModelFile:
        """Return a listed file with its current size and modification time.

        Raises:
            NotFound: it is gone.
        """
        current = file.with_current_stamp()
        if current is None:
            raise NotFound(
                f"The {self.kinds.get(kind).noun} '{file.name}' is no longer at '{file.path}'.",
                "Put the file back, or refresh the list and choose another.",
            )
        return current

    def find_checkpoint(self, name: str) -> Checkpoint:
        """Return the checkpoint with that title, name, file name, path or hash, ignoring case.

        Raises:
            NotFound: no checkpoint matches, or its file is gone.
            UserError: several match.
            BadFile: the file cannot be loaded.
        """
        checkpoint = match_checkpoint(name, self.checkpoints(), self.folders(CHECKPOINT))
        if not checkpoint.path.is_file():
            text = f"The checkpoint '{checkpoint.name}' is no longer at '{checkpoint.path}'."
            raise NotFound(text, "Put the file back, or refresh the list and choose another.")
        if checkpoint.error:
            raise BadFile(checkpoint.error)
        return checkpoint

    def find_config(self, checkpoint: Checkpoint) -> Path:
        """Return the .yaml in the checkpoint's folder, or else its family's.

        Raises:
            BadFile: the checkpoint cannot be loaded.
        """
        if checkpoint.error:
            raise BadFile(checkpoint.error)
        if checkpoint.config is not None:
            return checkpoint.config
        return self._config_folder / self.get_family(checkpoint).config_file

    def find_text_encoders(self, checkpoint: Checkpoint) -> tuple[TextEncoderFile | None, ...]:
        """Return the file of each text encoder that a checkpoint lacks, None in place of those it contains.

        Raises:
            BadFile: there is no such file.
        """
        chosen = self._text_encoder_choice.choose(checkpoint)
        missing = zip(checkpoint.text_encoders, chosen, strict=True)
        if any(not info.is_included and file is None for info, file in missing):
            raise BadFile(self._text_encoder_choice.find_error(checkpoint))
        return chosen

    def get_family(self, checkpoint: Checkpoint) -> Family:
        """Return the family of a checkpoint without an error."""
        return self.families.get(checkpoint.family)

    def detect(self, header: Header) -> Detection:
        """Return what a file contains."""
        return detect(header, self.kinds, self.families)

    def start_hashing(self, on_change: Callable[[], None] | None = None) -> None:
        """Hash every checkpoint without an error in the background, in list order, also after later refreshes.

        Args:
            on_change: Called on the hashing thread whenever a title has changed.
        """
        self._on_change = on_change
        self._hashing_enabled = True
        self._hash_all()

    def read_ahead(self) -> None:
        """Read the headers of networks in the background, so that their first list is quick."""
        self.networks.read_ahead(lambda kind: self._scan(self.kinds.get(kind)))

    def sha256(self, file: ModelFile, timeout_s: float | None = None) -> str:
        """Return the hash of a file, computed before all others; "" after the timeout.

        Raises:
            BadFile: the file cannot be read.
        """
        if isinstance(file, Checkpoint) and file.sha256:
            return file.sha256  # the file may have been replaced since
        return self._hasher.get_cached(file.stamp) or self._hasher.wait(file.stamp, timeout_s)

    def stop(self) -> None:
        """Stop hashing in the background."""
        self._hashing_enabled = False
        self._hasher.stop()
        self.networks.stop()

    def _hash_all(self) -> None:
        self._hasher.enqueue([c.stamp for c in self.checkpoints() if not c.error])

    def _scan(self, kind: ModelKind) -> tuple[ModelFile, ...]:
        """Return the files of a kind in its folders and next to checkpoints, sorted by name."""
        places = [(folder, kind.suffixes) for folder in self.folders(kind.name)]
        if kind.suffixes_beside_checkpoints:
            places += [
                (folder, kind.suffixes_beside_checkpoints) for folder in self.folders(CHECKPOINT)
            ]
        others = [other for other in self.kinds if other.name != kind.name]
        excluded = tuple(suffix for row in others for suffix in row.suffixes_beside_checkpoints)
        # Files of a kind without conditions are recognized by their folder alone, such as annotators in models/ControlNet.
        unconditional = [row.name for row in others if not row.conditions]
        skipped = {folder.absolute() for name in unconditional for folder in self.folders(name)}
        found: dict[str, ModelFile] = {}
        for folder, suffixes in places:
            for file in scan_folder(folder, suffixes, excluded, skipped):
                found.setdefault(file.name, file)
        return tuple(sorted(found.values(), key=lambda file: (file.name.casefold(), file.name)))

    def _read_text_encoder_files(self) -> Sequence[TextEncoderFile]:
        """Return the files with text encoders; they are opened only when a checkpoint lacks one."""
        if self._text_encoder_files is None:
            self._text_encoder_files = [
                read_text_encoder_file(file, self.detect) for file in self.files(TEXT_ENCODER)
            ]
        return self._text_encoder_files

    def _make_checkpoint(self, file: ModelFile, facts: HeaderFacts) -> Checkpoint:
        return Checkpoint(
            **vars(file),
            family=facts.family,
            error=facts.error,
            sha256="" if facts.error else self._hasher.get_cached(file.stamp),
            text_encoders=facts.text_encoders,
            prediction=facts.prediction,
        )

    def _check_text_encoders(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint, with an error if there is no file for a text encoder that it lacks."""
        error = "" if checkpoint.error else self._text_encoder_choice.find_error(checkpoint)
        return dataclasses.replace(checkpoint, error=error, sha256="") if error else checkpoint

    def _read_header_facts(self, file: ModelFile) -> HeaderFacts:
        """Return the facts in a file's header."""
        try:
            return self._detect_header_facts(file, read_header(file.path))
        except WebUIError as error:
            return HeaderFacts(error=str(error))
        except DAMAGE as error:  # one odd file never keeps the others from being listed
            logger.exception("'%s' cannot be examined.", file.path)
            return HeaderFacts(error=f"'{file.path.name}' cannot be examined: {error!r}.")

    def _detect_header_facts(self, file: ModelFile, header: Header) -> HeaderFacts:
        detection = self.detect(header)
        problem = find_checkpoint_error(header, detection)
        kind, family = detection
        slots = family.text_encoders if family else (COND_STAGE_SLOT,)
        return HeaderFacts(
            kind.name if kind else "",
            family.name if family else "",
            f"'{file.file_name}' {problem}" if problem else "",
            tuple(detect_text_encoder(header, slot) for slot in slots),
            read_prediction_facts(header),
        )

    def _are_possible(self, facts: HeaderFacts) -> bool:
        """Return whether facts from the cache name rows of the tables, and as many text encoders as the family has."""
        if facts.kind not in self.kinds.names():
            return False
        if not facts.family:  # an unknown family is an error
            return bool(facts.error) and len(facts.text_encoders) == 1
        family = next((row for row in self.families if row.name == facts.family), None)
        return family is not None and len(facts.text_encoders) == len(family.text_encoders)

    def _set_sha256(self, stamp: FileStamp, digest: str) -> None:
        with self._swap_lock:
            self._checkpoints = tuple(
                dataclasses.replace(c, sha256=digest) if c.stamp == stamp else c
                for c in self._checkpoints or ()
            )
        if self._on_change:
            self._on_change()


def _match(name: str, files: Sequence[ModelFile], kind: ModelKind) -> list[ModelFile]:
    """Return the files of that name, those with its folder before those without, and without a suffix last."""
    query = fold_name(name.strip())
    keys = [_name, _file_name]
    if kind.found_by_stem:
        keys += [_stem, _file_stem]
    matches = ([file for file in files if fold_name(key(file)) == query] for key in keys)
    none: list[ModelFile] = []
    return next((found for found in matches if found), none)


def _name(file: ModelFile) -> str:
    return file.name


def _file_name(file: ModelFile) -> str:
    return file.file_name


def _stem(file: ModelFile) -> str:
    return file.name.rpartition(".")[0]


def _file_stem(file: ModelFile) -> str:
    return file.stem

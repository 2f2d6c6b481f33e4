"""Lists checkpoints, finds them by name or hash, and says why a file cannot be loaded."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modules.core.errors import BadFile, NotFound, UserError, WebUIError
from modules.core.registry import Registry, did_you_mean
from modules.models.families import Family, detect_family, find_error, make_family_registry
from modules.models.file_cache import HeaderFacts, HeaderFactsCache
from modules.models.files.header import read_header
from modules.models.hashing import FileHasher
from modules.models.ldm.yaml import YamlCache
from modules.models.scan import FileStamp, FoundFile, scan_folder
from modules.models.text_encoders import (
    TextEncoderFile,
    TextEncoderFiles,
    TextEncoderInfo,
    detect_text_encoder,
)
from modules.models.vaes import VaeFile, VaeFiles

SHORT_HASH_LENGTH = 10
HASH_PATTERN = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file as the page lists it.

    Args:
        name: Path relative to its folder, with forward slashes; its identity.
        path: Absolute, links not resolved.
        config: The .yaml of the same name in its folder.
        modified_ns: Modification time.
        family: Name of the row of FAMILIES, "" when none matches.
        error: Why the file cannot be loaded, in a sentence; "" when it can.
        sha256: Hash of the whole file, "" until it is known.
        text_encoder: Its text encoder, or the one it needs.
    """

    name: str
    path: Path
    config: Path | None
    size_bytes: int
    modified_ns: int
    family: str
    error: str
    sha256: str = field(compare=False)  # arrives later; the checkpoint is the same
    text_encoder: TextEncoderInfo

    @property
    def title(self) -> str:
        """Name and, once known, short hash: "sub/name.safetensors [0123456789]"."""
        return f"{self.name} [{self.short_hash}]" if self.sha256 else self.name

    @property
    def short_hash(self) -> str:
        """First ten digits of the hash, "" until it is known."""
        return self.sha256[:SHORT_HASH_LENGTH]

    @property
    def model_name(self) -> str:
        """File name without folder and extension."""
        return self.path.stem

    @property
    def stamp(self) -> FileStamp:
        """Its content when it was listed."""
        return FileStamp(str(self.path), self.size_bytes, self.modified_ns)


class ModelManager:
    """Lists checkpoints from their headers, finds them by name or hash, and hashes them in the background.

    Args:
        folders: Folders of checkpoints, in order of precedence for files with the same name.
        config_folder: Folder with a .yaml for each family.
        cache_folder: Folder of the disk caches, such as hashes.json.
        vae_folders: Folders for VAEs only.
        text_encoder_folders: Folders for text encoders only.
        families: The table by which families are detected; the first row that matches a file is its family.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        config_folder: Path,
        cache_folder: Path,
        vae_folders: Sequence[Path] = (),
        text_encoder_folders: Sequence[Path] = (),
        families: Registry[Family] | None = None,
    ) -> None:
        self.cache_folder = cache_folder
        self.yaml_cache = YamlCache()
        self.vaes = VaeFiles(vae_folders, folders)
        self._text_encoders = TextEncoderFiles(text_encoder_folders)
        self._text_encoder_donors: Mapping[TextEncoderInfo, Sequence[TextEncoderFile]] = {}
        self._folders = tuple(folders)
        self._config_folder = config_folder
        self._families = families or make_family_registry()
        self._hasher = FileHasher(cache_folder / "hashes.json", self._set_sha256)
        self._on_change: Callable[[], None] | None = None
        self._hashing_enabled = False
        self._scan_lock = threading.Lock()
        self._swap_lock = threading.Lock()  # held briefly, never during a scan
        self._checkpoints: tuple[Checkpoint, ...] | None = None
        self._header_facts = HeaderFactsCache(cache_folder / "verdicts.json", self._families)

    def refresh(self) -> None:
        """Scan the folders again; only new and changed files are opened."""
        self.vaes.refresh()
        with self._scan_lock:
            self._text_encoders.refresh()
            found: dict[str, FoundFile] = {}
            for folder in self._folders:
                for file in scan_folder(folder):
                    found.setdefault(file.name, file)
            files = sorted(found.values(), key=lambda file: (file.name.casefold(), file.name))
            cached = self._header_facts.read()
            facts = [cached.get(file.stamp) or self._read_header_facts(file) for file in files]
            # A file of unknown family is read again next time: it may have been unreadable only for a while.
            identified = ((f.stamp, v) for f, v in zip(files, facts, strict=True) if v.family)
            self._header_facts.write(dict(identified))
            checkpoints = list(map(self._make_checkpoint, files, facts))
            if not all(c.text_encoder.is_included or c.error for c in checkpoints):
                self._text_encoder_donors = self._find_donors(checkpoints)
                checkpoints = list(map(self._check_text_encoder, checkpoints))
            with self._swap_lock:
                self._checkpoints = tuple(checkpoints)
        if self._hashing_enabled:
            self._hash_all()

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return every checkpoint file, sorted by name, including those with an error."""
        if self._checkpoints is None:
            self.refresh()
        return self._checkpoints or ()

    def find(self, name: str) -> Checkpoint:
        """Return the checkpoint with that title, name, file name, path or hash, ignoring case.

        Raises:
            NotFound: no checkpoint matches, or its file is gone.
            UserError: several match.
            BadFile: the file cannot be loaded.
        """
        checkpoint = self._match(name)
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

    def find_text_encoder(self, checkpoint: Checkpoint) -> TextEncoderFile | None:
        """Return the text encoder file for a checkpoint without a text encoder; None for one that contains it.

        Raises:
            BadFile: there is no such file.
        """
        if checkpoint.text_encoder.is_included:
            return None
        found = self._choose_text_encoder(checkpoint)
        if found is None:
            raise BadFile(self._missing_text_encoder_error(checkpoint))
        return found

    def get_family(self, checkpoint: Checkpoint) -> Family:
        """Return the family of a checkpoint without an error."""
        return self._families.get(checkpoint.family)

    def start_hashing(self, on_change: Callable[[], None] | None = None) -> None:
        """Hash every checkpoint without an error in the background, in list order, also after later refreshes.

        Args:
            on_change: Called on the hashing thread whenever a title has changed.
        """
        self._on_change = on_change
        self._hashing_enabled = True
        self._hash_all()

    def sha256(self, checkpoint: Checkpoint, timeout_s: float | None = None) -> str:
        """Return the hash of a checkpoint, computed before all others; "" after the timeout.

        Raises:
            BadFile: the file cannot be read.
        """
        return checkpoint.sha256 or self._hasher.wait(checkpoint.stamp, timeout_s)

    def vae_sha256(self, vae: VaeFile, timeout_s: float | None = None) -> str:
        """Return the hash of a VAE file, computed before all others; "" after the timeout.

        Raises:
            BadFile: the file cannot be read.
        """
        return self._hasher.get_cached(vae.stamp) or self._hasher.wait(vae.stamp, timeout_s)

    def stop(self) -> None:
        """Stop hashing in the background."""
        self._hashing_enabled = False
        self._hasher.stop()

    def _hash_all(self) -> None:
        self._hasher.enqueue([c.stamp for c in self.checkpoints() if not c.error])

    def _make_checkpoint(self, file: FoundFile, facts: HeaderFacts) -> Checkpoint:
        return Checkpoint(
            name=file.name,
            path=file.path,
            config=file.config,
            size_bytes=file.size_bytes,
            modified_ns=file.modified_ns,
            family=facts.family,
            error=facts.error,
            sha256="" if facts.error else self._hasher.get_cached(file.stamp),
            text_encoder=facts.text_encoder,
        )

    def _check_text_encoder(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint, with an error if there is no text encoder for it."""
        has_own = checkpoint.text_encoder.is_included
        if checkpoint.error or has_own or self._choose_text_encoder(checkpoint):
            return checkpoint
        error = self._missing_text_encoder_error(checkpoint)
        return dataclasses.replace(checkpoint, error=error, sha256="")

    def _missing_text_encoder_error(self, checkpoint: Checkpoint) -> str:
        hint = self._text_encoders.hint(checkpoint.text_encoder)
        return f"'{checkpoint.path.name}' lacks its text encoder. {hint}"

    def _choose_text_encoder(self, checkpoint: Checkpoint) -> TextEncoderFile | None:
        donors = self._text_encoder_donors.get(checkpoint.text_encoder.required, ())
        return self._text_encoders.choose(checkpoint.text_encoder, checkpoint.path, donors)

    def _find_donors(
        self, checkpoints: Iterable[Checkpoint]
    ) -> Mapping[TextEncoderInfo, Sequence[TextEncoderFile]]:
        """Return the checkpoints whose text encoder others can use, by kind of text encoder."""
        donors: dict[TextEncoderInfo, list[TextEncoderFile]] = {}
        complete = (c for c in checkpoints if c.text_encoder.is_included and not c.error)
        # Families without extra input first: training for an extra input may have changed the text encoder.
        for c in sorted(complete, key=lambda c: bool(self.get_family(c).extra_input)):
            file = TextEncoderFile(c.name, c.path, c.stamp, c.text_encoder, is_checkpoint=True)
            donors.setdefault(c.text_encoder, []).append(file)
        return donors

    def _read_header_facts(self, file: FoundFile) -> HeaderFacts:
        """Return the facts in a file's header."""
        try:
            header = read_header(file.path)
        except WebUIError as error:
            return HeaderFacts("", str(error))
        family = detect_family(header, self._families)
        problem = find_error(header, family)
        error = f"'{file.path.name}' {problem}" if problem else ""
        return HeaderFacts(family.name if family else "", error, detect_text_encoder(header))

    def _set_sha256(self, stamp: FileStamp, digest: str) -> None:
        with self._swap_lock:
            self._checkpoints = tuple(
                dataclasses.replace(c, sha256=digest) if c.stamp == stamp else c
                for c in self._checkpoints or ()
            )
        if self._on_change:
            self._on_change()

    def _match(self, name: str) -> Checkpoint:
        listed = self.checkpoints()
        query = _without_hash(name.strip()).replace("\\", "/").casefold()
        for key in (_name_key, _stem_key, _file_name_key, _model_name_key, _path_key):
            found = [c for c in listed if key(c) == query]
            if len(found) > 1:
                raise UserError(
                    f"'{name}' can mean {_listing(found)}.",
                    "Use the checkpoint's full name, with folder and extension.",
                )
            if found:
                return found[0]
        if HASH_PATTERN.fullmatch(query):
            found = [c for c in listed if c.sha256.startswith(query)]
            if found:  # files with equal hashes are the same model
                return found[0]
        folders = " and ".join(str(folder) for folder in self._folders)
        hint = did_you_mean(name, (c.name for c in listed))
        raise NotFound(
            f"There is no checkpoint named '{name}'.",
            f"{hint} Checkpoints are read from {folders}.".strip(),
        )


def _without_hash(title: str) -> str:
    name, _, rest = title.rpartition("[")
    return (
        name.rstrip()
        if HASH_PATTERN.fullmatch(rest.removesuffix("]").casefold()) and name
        else title
    )


def _name_key(checkpoint: Checkpoint) -> str:
    return checkpoint.name.casefold()


def _stem_key(checkpoint: Checkpoint) -> str:
    return checkpoint.name.rpartition(".")[0].casefold()


def _file_name_key(checkpoint: Checkpoint) -> str:
    return checkpoint.path.name.casefold()


def _model_name_key(checkpoint: Checkpoint) -> str:
    return checkpoint.model_name.casefold()


def _path_key(checkpoint: Checkpoint) -> str:
    return checkpoint.path.as_posix().casefold()


def _listing(checkpoints: Iterable[Checkpoint]) -> str:
    return " or ".join(f"'{checkpoint.name}'" for checkpoint in checkpoints)

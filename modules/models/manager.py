"""Which checkpoints there are, under which names they are found, and what is wrong with them."""

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
        config: The .yaml of the same name beside it.
        modified_ns: Time of its last change.
        family: Name of the row of FAMILIES, "" when none fits.
        error: What is wrong with the file, in a sentence; "" when it can be loaded.
        sha256: Of the whole file, "" until it is known.
        text_encoder: Its text encoder, or the one it needs.
    """

    name: str
    path: Path
    config: Path | None
    size_bytes: int
    modified_ns: int
    family: str
    error: str
    sha256: str = field(compare=False)  # comes later, and makes it no other checkpoint
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
        """What the file was when it was listed."""
        return FileStamp(str(self.path), self.size_bytes, self.modified_ns)


class ModelManager:
    """Lists checkpoints from their headers, finds them by any name in use, hashes them in the background.

    Args:
        folders: Scanned in order; of two files with one name the first folder's is listed.
        config_folder: Folder with a .yaml for each family.
        cache_folder: Folder in which hashes and the like are remembered.
        vae_folders: Hold VAEs alone.
        text_encoder_folders: Hold text encoders alone.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        config_folder: Path,
        cache_folder: Path,
        vae_folders: Sequence[Path] = (),
        text_encoder_folders: Sequence[Path] = (),
    ) -> None:
        self.cache_folder = cache_folder
        self.yaml_cache = YamlCache()
        self.vaes = VaeFiles(vae_folders, folders)
        self._text_encoders = TextEncoderFiles(text_encoder_folders)
        self._text_encoder_donors: Mapping[TextEncoderInfo, Sequence[TextEncoderFile]] = {}
        self._folders = tuple(folders)
        self._config_folder = config_folder
        self._families: Registry[Family] = make_family_registry()
        self._hasher = FileHasher(cache_folder / "hashes.json", self._set_sha256)
        self._on_change: Callable[[], None] | None = None
        self._hashing_enabled = False
        self._scan_lock = threading.Lock()
        self._swap_lock = threading.Lock()  # held briefly, never during a scan
        self._checkpoints: tuple[Checkpoint, ...] | None = None
        self._header_facts = HeaderFactsCache(cache_folder / "verdicts.json")

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
            known = self._header_facts.read()
            verdicts = [known.get(file.stamp) or self._read_header_facts(file) for file in files]
            # What could not be recognised is read again: it may have been out of reach for a while.
            recognised = ((f.stamp, v) for f, v in zip(files, verdicts, strict=True) if v.family)
            self._header_facts.write(dict(recognised))
            described = list(map(self._make_checkpoint, files, verdicts))
            if not all(found.text_encoder.is_included or found.error for found in described):
                self._text_encoder_donors = self._find_donors(described)
                described = list(map(self._with_text_encoder, described))
            with self._swap_lock:
                self._checkpoints = tuple(described)
        if self._hashing_enabled:
            self._hash_all()

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return every checkpoint file, sorted by name; faulty ones too."""
        if self._checkpoints is None:
            self.refresh()
        return self._checkpoints or ()

    def find(self, name: str) -> Checkpoint:
        """Return the one checkpoint of that title, name, file name, path or hash, whatever the case.

        Raises:
            NotFound: there is none, or its file is gone.
            UserError: there are several.
            BadFile: the file cannot be loaded.
        """
        found = self._match(name)
        if not found.path.is_file():
            text = f"The checkpoint '{found.name}' is no longer at '{found.path}'."
            raise NotFound(text, "Put the file back, or refresh the list and choose another.")
        if found.error:
            raise BadFile(found.error)
        return found

    def find_config(self, checkpoint: Checkpoint) -> Path:
        """Return the .yaml beside the checkpoint, or else its family's.

        Raises:
            BadFile: the checkpoint cannot be loaded.
        """
        if checkpoint.error:
            raise BadFile(checkpoint.error)
        if checkpoint.config is not None:
            return checkpoint.config
        return self._config_folder / self.get_family(checkpoint).config_file

    def find_text_encoder(self, checkpoint: Checkpoint) -> TextEncoderFile | None:
        """Return the file that serves a checkpoint without a text encoder; None for one that has its own.

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
        """Return the row of the families' table that a checkpoint without fault fits."""
        return self._families.get(checkpoint.family)

    def start_hashing(self, on_change: Callable[[], None] | None = None) -> None:
        """Hash every sound checkpoint in the background, in the order of the list, and those of later refreshes.

        Args:
            on_change: Called on the hashing thread whenever a title has changed.
        """
        self._on_change = on_change
        self._hashing_enabled = True
        self._hash_all()

    def sha256(self, checkpoint: Checkpoint, timeout_s: float | None = None) -> str:
        """Return the hash of a checkpoint, computed before all others; "" if it takes too long.

        Raises:
            BadFile: the file cannot be read.
        """
        return checkpoint.sha256 or self._hasher.wait(checkpoint.stamp, timeout_s)

    def vae_sha256(self, vae: VaeFile, timeout_s: float | None = None) -> str:
        """Return the hash of a VAE's file, computed before all others; "" if it takes too long.

        Raises:
            BadFile: the file cannot be read.
        """
        return self._hasher.get_cached(vae.stamp) or self._hasher.wait(vae.stamp, timeout_s)

    def stop(self) -> None:
        """End background work."""
        self._hashing_enabled = False
        self._hasher.stop()

    def _hash_all(self) -> None:
        self._hasher.enqueue([c.stamp for c in self.checkpoints() if not c.error])

    def _make_checkpoint(self, file: FoundFile, verdict: HeaderFacts) -> Checkpoint:
        return Checkpoint(
            name=file.name,
            path=file.path,
            config=file.config,
            size_bytes=file.size_bytes,
            modified_ns=file.modified_ns,
            family=verdict.family,
            error=verdict.error,
            sha256="" if verdict.error else self._hasher.get_cached(file.stamp),
            text_encoder=verdict.text_encoder,
        )

    def _with_text_encoder(self, found: Checkpoint) -> Checkpoint:
        """Return a checkpoint as it is when a text encoder is there for it, else with that fault."""
        if found.error or found.text_encoder.is_included or self._choose_text_encoder(found):
            return found
        return dataclasses.replace(found, error=self._missing_text_encoder_error(found), sha256="")

    def _missing_text_encoder_error(self, checkpoint: Checkpoint) -> str:
        advice = self._text_encoders.hint(checkpoint.text_encoder)
        return f"'{checkpoint.path.name}' lacks its text encoder. {advice}"

    def _choose_text_encoder(self, checkpoint: Checkpoint) -> TextEncoderFile | None:
        donors = self._text_encoder_donors.get(checkpoint.text_encoder.required, ())
        return self._text_encoders.choose(checkpoint.text_encoder, checkpoint.path, donors)

    def _find_donors(
        self, listed: Iterable[Checkpoint]
    ) -> Mapping[TextEncoderInfo, Sequence[TextEncoderFile]]:
        """Return the checkpoints whose text encoder can serve others, by what it is."""
        found: dict[TextEncoderInfo, list[TextEncoderFile]] = {}
        whole = (c for c in listed if c.text_encoder.is_included and not c.error)
        # Plain ones first: what was trained for another input may have bent its words to it.
        for c in sorted(whole, key=lambda c: bool(self.get_family(c).extra_input)):
            file = TextEncoderFile(c.name, c.path, c.stamp, c.text_encoder, is_checkpoint=True)
            found.setdefault(c.text_encoder, []).append(file)
        return found

    def _read_header_facts(self, file: FoundFile) -> HeaderFacts:
        """Return what a file's header tells."""
        try:
            header = read_header(file.path)
        except WebUIError as error:
            return HeaderFacts("", str(error))
        family = detect_family(header, self._families)
        fault = find_error(header, family)
        said = f"'{file.path.name}' {fault}" if fault else ""
        return HeaderFacts(family.name if family else "", said, detect_text_encoder(header))

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
        wanted = _without_hash(name.strip()).replace("\\", "/").casefold()
        for spelling in (_by_name, _by_stem, _by_file_name, _by_model_name, _by_path):
            found = [c for c in listed if spelling(c) == wanted]
            if len(found) > 1:
                raise UserError(
                    f"'{name}' may mean {_listing(found)}.",
                    "Give the checkpoint's full name, with folder and extension.",
                )
            if found:
                return found[0]
        if HASH_PATTERN.fullmatch(wanted):
            found = [c for c in listed if c.sha256.startswith(wanted)]
            if found:  # files of one hash are one and the same model
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


def _by_name(checkpoint: Checkpoint) -> str:
    return checkpoint.name.casefold()


def _by_stem(checkpoint: Checkpoint) -> str:
    return checkpoint.name.rpartition(".")[0].casefold()


def _by_file_name(checkpoint: Checkpoint) -> str:
    return checkpoint.path.name.casefold()


def _by_model_name(checkpoint: Checkpoint) -> str:
    return checkpoint.model_name.casefold()


def _by_path(checkpoint: Checkpoint) -> str:
    return checkpoint.path.as_posix().casefold()


def _listing(checkpoints: Iterable[Checkpoint]) -> str:
    return " or ".join(f"'{checkpoint.name}'" for checkpoint in checkpoints)

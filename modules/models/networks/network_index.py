"""NetworkIndex: lists the networks that a prompt can add, finds them by the names that prompts use, and hashes them."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import WebUIError
from modules.models.files.safe_pickle import DAMAGE
from modules.models.files.scan import FileStamp, ModelFile
from modules.models.hashing import FileHasher, HashJob, hash_next_chunk
from modules.models.networks.network_file import NetworkFacts, NetworkFactsCache, NetworkFile
from modules.models.networks.network_kinds import NETWORK_KINDS, Detect, NetworkKind

_SEPARATORS = re.compile(r"[:<>]")
_NUMBER = re.compile(r"([0-9]{1,18})")
SHORT_HASH_LENGTH = 12  # as in A1111's infotexts
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Names:
    """The files of a kind, and what each name means: the last file of that name, as in A1111."""

    files: tuple[NetworkFile, ...]
    by_name: Mapping[str, NetworkFile]
    by_alias: Mapping[str, NetworkFile]
    by_stem: Mapping[str, Sequence[NetworkFile]]


class NetworkIndex:
    """The networks in the folders of their kinds.

    Args:
        list_files: Returns the files of a kind by its name, scanned when they are asked for first.
        refresh: Scans the folders of a kind again.
        detect: Tells what a file contains.
        cache_folder: Folder of the disk caches.
        kinds: The kinds to list.
    """

    def __init__(
        self,
        list_files: Callable[[str], Sequence[ModelFile]],
        refresh: Callable[[str], None],
        detect: Detect,
        cache_folder: Path,
        kinds: Sequence[NetworkKind] = NETWORK_KINDS,
    ) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self._list_files = list_files
        self._refresh = refresh
        self._detect = detect
        self._caches = {
            name: NetworkFactsCache(cache_folder / f"{name.lower()}-facts.json")
            for name in self.kinds
        }
        self._names: dict[str, tuple[Sequence[ModelFile], _Names]] = {}
        self._lock = threading.Lock()
        self._hasher = FileHasher(cache_folder / "network-hashes.json", _ignore, self._hash_chunk)
        self._data_starts: dict[FileStamp, int] = {}

    def files(self, kind: str) -> tuple[NetworkFile, ...]:
        """Return every file of a kind, sorted by name, also those with an error; only new ones are opened."""
        return self._read(kind).files

    def refresh(self, kind: str) -> None:
        """Scan the folders of a kind again."""
        self._refresh(kind)
        self._read(kind)

    def read_ahead(self, scan: Callable[[str], Sequence[ModelFile]]) -> None:
        """Read the facts of all files in the background; the folders are scanned again when they are asked for.

        Args:
            scan: Returns the files of a kind by its name.
        """

        def read() -> None:
            for kind in self.kinds:
                files = scan(kind)
                with self._lock:
                    self._read_all_facts(kind, files)

        threading.Thread(target=read, name="networks", daemon=True).start()

    def find(self, kind: str, name: str) -> NetworkFile | None:
        """Return the file that a prompt means by a name, or None; the folders are scanned again where that may help.

        As in A1111, case counts, and the alias of a file is its name as well unless another file has it too; beyond
        that, a name may contain the folder; "./" is that of the kind.
        """
        found = _look_up(self._read(kind), name)
        if found is None or found.with_current_stamp() != found:  # added, replaced or gone
            self.refresh(kind)
            found = _look_up(self._read(kind), name)
        return found

    def means(self, kind: str, name: str) -> NetworkFile | None:
        """Return the file that a prompt means by a name, as of the last scan, or None."""
        return _look_up(self._read(kind), name)

    def namesakes(self, file: NetworkFile) -> tuple[NetworkFile, ...]:
        """Return the other files with the name of a file, as of the last scan."""
        same = self._read(file.kind).by_stem.get(file.network_name, ())
        return tuple(one for one in same if one != file)

    def find_by_hash(self, kind: str, short_hash: str) -> NetworkFile | None:
        """Return the file with a hash, among those whose hash is known."""
        wanted = short_hash.strip().lower()
        if len(wanted) < SHORT_HASH_LENGTH:
            return None
        return next((f for f in self.files(kind) if self.known_hash(f).startswith(wanted)), None)

    def known_hash(self, file: NetworkFile) -> str:
        """Return the hash of a file as far as it is known without reading it, or ""."""
        return file.facts.stored_hash or self._hasher.get_cached(file.stamp)

    def hash(self, file: NetworkFile, timeout_s: float | None = None) -> str:
        """Return A1111's hash of a file: the stated one, or else that of its bytes after the header; "" after the timeout.

        Raises:
            BadFile: the file cannot be read.
        """
        if file.facts.stored_hash:
            return file.facts.stored_hash
        self._data_starts[file.stamp] = file.facts.data_start
        return self._hasher.get_cached(file.stamp) or self._hasher.wait(file.stamp, timeout_s)

    def stop(self) -> None:
        """Stop hashing in the background."""
        self._hasher.stop()

    def _hash_chunk(self, job: HashJob) -> bool:
        job.offset = max(job.offset, self._data_starts.get(job.stamp, 0))
        return hash_next_chunk(job)

    def _read(self, kind: str) -> _Names:
        """Return the files of a kind with their facts, as of the last scan."""
        files = self._list_files(kind)
        with self._lock:
            known = self._names.get(kind)
            if known is not None and known[0] is files:
                return known[1]
            facts = self._read_all_facts(kind, files)
            networks = (
                NetworkFile(**vars(file), kind=kind, facts=fact)
                for file, fact in zip(files, facts, strict=True)
            )
            names = _index_names(tuple(networks))
            self._names[kind] = files, names
            return names

    def _read_all_facts(self, kind: str, files: Sequence[ModelFile]) -> list[NetworkFacts]:
        """Return the facts of files, of which new ones are opened. The caller holds the lock."""
        row, cache = self.kinds[kind], self._caches[kind]
        cached = cache.read()
        facts = [cached.get(file.stamp) or self._read_facts(row, file) for file in files]
        # One with an error is read again after the next scan: it may have been unreadable only for a while.
        cache.write({f.stamp: fact for f, fact in zip(files, facts, strict=True) if not fact.error})
        return facts

    def _read_facts(self, kind: NetworkKind, file: ModelFile) -> NetworkFacts:
        try:
            return kind.read_facts(file.path, self._detect)
        except WebUIError as error:
            return NetworkFacts(error=str(error))
        except DAMAGE as error:  # one odd file never keeps the others from being listed
            logger.exception("'%s' cannot be examined.", file.path)
            return NetworkFacts(error=f"'{file.file_name}' cannot be examined: {error!r}.")


def _walked_order(file: NetworkFile) -> tuple[list[str | int], ...]:
    """Return where A1111 comes upon a file: folder after folder, numbers by their value."""
    parts = (file.folder, file.file_name)
    return tuple(
        [int(part) if part.isdecimal() else part.lower() for part in _NUMBER.split(text)]
        for text in parts
    )


def _index_names(files: tuple[NetworkFile, ...]) -> _Names:
    by_name: dict[str, NetworkFile] = {}
    by_stem: dict[str, list[NetworkFile]] = {}
    by_alias: dict[str, NetworkFile] = {}
    ambiguous: set[str] = {"none"}  # of A1111's dropdown
    for file in sorted(files, key=_walked_order):
        by_name[file.network_name] = file
        by_stem.setdefault(file.network_name, []).append(file)
        if file.alias in by_alias:
            ambiguous.add(file.alias.lower())
        by_alias[file.network_name] = file
        by_alias[file.alias] = file
    for file in files:  # what no tag can hold
        by_alias.setdefault(tag_name(file.network_name), file)
    unambiguous = {name: file for name, file in by_alias.items() if name.lower() not in ambiguous}
    return _Names(files, by_name, unambiguous, by_stem)


def tag_name(name: str) -> str:
    """Return a name as a tag can hold it: what separates the parts of a tag becomes an underscore."""
    return _SEPARATORS.sub("_", name)


def _look_up(names: _Names, name: str) -> NetworkFile | None:
    found = names.by_alias.get(name) or names.by_name.get(name)
    if found is not None or "/" not in name:
        return found
    return next((file for file in names.files if path_name(file) == name), None)


def path_name(file: NetworkFile) -> str:
    """Return the name of a file with its folder, which finds it even where another one has its name."""
    path = file.name.rpartition(".")[0]
    return tag_name(path if "/" in path else f"./{path}")


def _ignore(_stamp: FileStamp, _digest: str) -> None:
    pass

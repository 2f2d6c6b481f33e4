"""What is wrong with a model file where it is: it is broken, or of a kind that belongs elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from modules.core.errors import WebUIError
from modules.models.checkpoint import Checkpoint
from modules.models.files.header import read_header
from modules.models.files.safe_pickle import DAMAGE
from modules.models.files.scan import FileStamp, ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import EMBEDDING, UPSCALER, ModelKind
from modules.models.networks.embeddings import Embedding
from modules.models.networks.network_file import NetworkFile
from modules.models.upscaling.architectures import detect_architecture, find_error


class ModelProblems:
    """Looks into model files once each, and again when they change.

    Args:
        models: Lists the files, and reads what they contain.
    """

    def __init__(self, models: ModelIndex) -> None:
        self._models = models
        self._of_networks: dict[str, tuple[Sequence[object], Mapping[Path, str]]] = {}
        self._found: dict[tuple[str, FileStamp], str] = {}

    def find(self, kind: ModelKind, file: ModelFile) -> str:
        """Return what is wrong with a file of a kind's folder, in a sentence, "" for nothing."""
        if isinstance(file, Checkpoint):
            return file.error
        if kind.name == EMBEDDING or kind.name in self._models.networks.kinds:
            return self._network_errors(kind.name).get(file.path, "")
        key = kind.name, file.stamp
        if key not in self._found:
            self._found[key] = self._look_into(kind, file)
        return self._found[key]

    def _network_errors(self, kind: str) -> Mapping[Path, str]:
        """Return the errors of the networks of a kind by their paths, made once for each list of them."""
        listed: Sequence[Embedding | NetworkFile] = (
            self._models.embeddings.all()
            if kind == EMBEDDING
            else self._models.networks.files(kind)
        )
        known = self._of_networks.get(kind)
        if known is None or known[0] is not listed:
            known = self._of_networks[kind] = listed, dict(map(_path_and_error, listed))
        return known[1]

    def _look_into(self, kind: ModelKind, file: ModelFile) -> str:
        try:
            header = read_header(file.path)
            found = self._models.detect(header).kind
        except WebUIError as error:
            return str(error)
        except DAMAGE as error:
            return f"'{file.file_name}' cannot be read: {error}."
        if found is None or kind.name in (
            found.name,
            found.listed_as,
        ):  # the kinds do not know every architecture
            problem = find_error(detect_architecture(header)) if kind.name == UPSCALER else ""
            return f"'{file.file_name}' {problem}" if problem else ""
        article = "an" if kind.noun[0] in "aeio" else "a"
        return f"'{file.file_name}' {found.misplaced.format(expected=f'{article} {kind.noun}')}"


def _path_and_error(network: Embedding | NetworkFile) -> tuple[Path, str]:
    if isinstance(network, Embedding):
        return network.file.path, network.error
    return network.path, network.facts.error

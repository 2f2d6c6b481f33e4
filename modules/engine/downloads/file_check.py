"""Checks a downloaded file before it gets its name: its sum, its format and what it contains."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from modules.core.errors import BadFile
from modules.engine.downloads.download import Download
from modules.engine.downloads.transfer import Stopped
from modules.models.files.header import read_header
from modules.models.index import ModelIndex
from modules.models.kinds import ModelKind

_HASH_BYTES = 2**23


def check_file(
    download: Download, part: Path, models: ModelIndex, stop: threading.Event
) -> ModelKind:
    """Return the kind that a file is of.

    Args:
        download: Its name and, where it is known, its sum.
        part: The complete file.
        models: Tells what it contains, and which kinds have folders.
        stop: Ends it when set.

    Raises:
        BadFile: it has another sum, or is no model file.
        Stopped: `stop` was set.
    """
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(_HASH_BYTES):
            digest.update(chunk)
            if stop.is_set():
                raise Stopped
    if download.sha256 not in ("", digest.hexdigest()):
        raise BadFile(
            f"'{download.name}' has the SHA-256 {digest.hexdigest()} instead of {download.sha256}; "
            "it was deleted.",
            "Download it again.",
        )
    try:
        header = read_header(part)
    except BadFile as error:
        raise BadFile(str(error).replace(part.name, download.name)) from None
    is_safetensors = download.name.lower().endswith(".safetensors")
    if is_safetensors != (header.container == "safetensors"):
        raise BadFile(
            f"'{download.name}' is a file of the format {header.container}, which its name denies.",
            "Download it under a name with the right ending.",
        )
    found = models.detect(header).kind
    if found is None:
        raise BadFile(f"'{download.name}' contains tensors, but no model of a known type.")
    found = models.home_of(found)
    if found.name != download.kind and not models.folders(found.name):
        raise BadFile(f"'{download.name}' {found.misplaced.format(expected='a model')}")
    return found

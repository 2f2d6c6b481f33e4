"""FACE_RESTORERS: the networks that draw faces anew, which file is whose, and what to do without it.

Holds names and files only; backend/faces runs them.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from modules.core.errors import Unsupported
from modules.models.files.header import Header, read_header
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import FACE_RESTORER
from modules.models.upscaling.architectures import detect_architecture, network_prefix

_CODEFORMER = "CodeFormer"
_CODEFORMER_KEYS = ("position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight")
# Not among the requirements: its licence is for non-commercial use.
CODEFORMER_PACKAGE = "spandrel_extra_arches"


@dataclass(frozen=True)
class FaceRestorer:
    """One row of FACE_RESTORERS.

    Args:
        name: On the page and in infotexts, A1111's.
        architectures: Of the files that it runs, by their ids in spandrel.
        example: A published file.
        source: Where that is published.
        folder: Where it belongs.
    """

    name: str
    architectures: tuple[str, ...]
    example: str
    source: str
    folder: str


GFPGAN = FaceRestorer(
    "GFPGAN",
    ("GFPGAN", "RestoreFormer"),
    "GFPGANv1.4.pth",
    "github.com/TencentARC/GFPGAN/releases",
    "models/GFPGAN",
)
CODEFORMER = FaceRestorer(
    _CODEFORMER,
    (_CODEFORMER,),
    "codeformer-v0.1.0.pth",
    "github.com/sczhou/CodeFormer/releases",
    "models/Codeformer",
)
FACE_RESTORERS = (GFPGAN, CODEFORMER)


@dataclass(frozen=True)
class FaceRestorerFile:
    """A file of a restorer.

    Args:
        file: The file.
        architecture: Of its network, by its id in spandrel.
    """

    file: ModelFile
    architecture: str


def find_restorer(models: ModelIndex, restorer: FaceRestorer) -> FaceRestorerFile:
    """Return the file by which a restorer runs: the published one if it is there, else the last by name.

    Raises:
        Unsupported: there is none, or the package with its network is not installed.
    """
    models.refresh(FACE_RESTORER)
    found = [
        FaceRestorerFile(file, architecture)
        for file in models.files(FACE_RESTORER)
        if (architecture := architecture_of(read_header(file.path))) in restorer.architectures
    ]
    if not found:
        raise Unsupported(
            f"{restorer.name} has no file.",
            f"Put {restorer.example} from {restorer.source} into {restorer.folder}, or leave its visibility at 0.",
        )
    if restorer is CODEFORMER and importlib.util.find_spec(CODEFORMER_PACKAGE) is None:
        raise Unsupported(
            "CodeFormer's network may only be used without profit, so it is no part of this program.",
            "Those who may use it install it with 'pip install --no-deps spandrel-extra-arches==0.2.0' in the folder venv.",
        )
    named = [one for one in found if one.file.file_name.lower() == restorer.example.lower()]
    return (named or found)[-1]


def architecture_of(header: Header) -> str:
    """Return the id of a file's architecture in spandrel, "" if it is no restorer of faces."""
    prefix = network_prefix(header.tensors)
    if all(prefix + key in header.tensors for key in _CODEFORMER_KEYS):
        return _CODEFORMER
    row = detect_architecture(header)
    return row.name if row is not None and row.name in GFPGAN.architectures else ""

"""UpscalerList: the upscalers of a table and those of the model files in their folders, found by one name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from modules.core.errors import BadFile, NotFound
from modules.core.registry import Registry, did_you_mean
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import UPSCALER
from modules.models.upscaling.architectures import detect_architecture, find_error
from modules.models.upscaling.upscalers import Upscaler, UpscalerModel


class _KnownName(NamedTuple):
    """A1111's name for a file, and how much it enlarges."""

    name: str
    scale: int = 4


# By the stem of the file, in lower case. Infotexts name these files so.
KNOWN_NAMES = {
    "realesrgan_x4plus": _KnownName("R-ESRGAN 4x+"),
    "realesrgan_x4plus_anime_6b": _KnownName("R-ESRGAN 4x+ Anime6B"),
    "realesrgan_x2plus": _KnownName("R-ESRGAN 2x+", 2),
    "realesr-animevideov3": _KnownName("R-ESRGAN AnimeVideo"),
    "realesr-general-x4v3": _KnownName("R-ESRGAN General 4xV3"),
    "realesr-general-wdn-x4v3": _KnownName("R-ESRGAN General WDN 4xV3"),
    "dat_x2": _KnownName("DAT x2", 2),
    "dat_x3": _KnownName("DAT x3", 3),
    "dat_x4": _KnownName("DAT x4"),
    "scunet_color_real_gan": _KnownName("ScuNET GAN"),
    "scunet_color_real_psnr": _KnownName("ScuNET PSNR"),
    "003_realsr_bsrgan_dfowmfc_s64w8_swinir-l_x4_gan": _KnownName("SwinIR 4x"),
}


class UpscalerList:
    """All upscalers: the rows of a table in their order, then the model files by name.

    A file is named by its stem, as in A1111, or as A1111 names the files in its list; where that name is taken, by its
    name with the ending. The folders are read again where a name is not found.

    Args:
        rows: The table.
        models: Lists the files.
    """

    def __init__(self, rows: Registry[Upscaler], models: ModelIndex) -> None:
        self._rows = rows
        self._models = models
        self._made: tuple[Sequence[ModelFile], int, Registry[Upscaler]] | None = None

    def __iter__(self) -> Iterator[Upscaler]:
        return iter(self._all())

    def names(self) -> list[str]:
        """Return all names, in the order of the page."""
        return self._all().names()

    def refresh(self) -> None:
        """Read the folders again."""
        self._models.refresh(UPSCALER)

    def find(self, name: str) -> Upscaler:
        """Return the upscaler of a name, as lists show it; its file is not opened.

        Raises:
            NotFound: there is no such upscaler.
        """
        try:
            return self._all().get(name)
        except NotFound:
            self.refresh()
            return self._get_refreshed(name)

    def get(self, name: str) -> Upscaler:
        """Return the upscaler of a name; of a model file with its architecture.

        Raises:
            NotFound: there is no such upscaler, or its file is gone.
            BadFile: the file cannot be read, or is of an unknown architecture.
        """
        row = self.find(name)
        if not isinstance(row.method, UpscalerModel):
            return row
        file = self._models.with_current_stamp(UPSCALER, row.method.file)
        header = read_header(file.path)
        architecture = detect_architecture(header)
        error = find_error(architecture)
        if architecture is None or error:
            raise BadFile(f"'{file.file_name}' {error}")
        return replace(row, method=UpscalerModel(file, architecture.name))

    def _get_refreshed(self, name: str) -> Upscaler:
        upscalers = self._all()
        try:
            return upscalers.get(name)
        except NotFound:
            folder = next(iter(self._models.folders(UPSCALER)), None)
            place = "" if folder is None else f" Model files are read from {folder}."
            hint = did_you_mean(name, upscalers.names())
            raise NotFound(
                f"There is no upscaler named '{name}'.", (hint + place).strip()
            ) from None

    def _all(self) -> Registry[Upscaler]:
        files = self._models.files(UPSCALER)
        made = self._made
        if made is None or made[0] is not files or made[1] != len(self._rows):
            made = self._made = files, len(self._rows), _add_files(self._rows, files)
        return made[2]


def _add_files(rows: Registry[Upscaler], files: Sequence[ModelFile]) -> Registry[Upscaler]:
    upscalers = rows.copy()
    named = sorted(
        ((KNOWN_NAMES.get(file.stem.lower(), _KnownName(file.stem)), file) for file in files),
        key=lambda pair: pair[0].name.casefold(),
    )
    for known, file in named:
        others = (known.name, file.stem, file.file_name, file.name)
        free = [name for name in dict.fromkeys(others) if not _has(upscalers, name)]
        if free:
            method = UpscalerModel(file)
            upscalers.add(
                Upscaler(free[0], method, tuple(_distinct(free[1:], free[0])), known.scale)
            )
    return upscalers


def _distinct(names: Sequence[str], first: str) -> Iterator[str]:
    """Yield the names that differ from those before in more than case."""
    taken = {first.casefold()}
    for name in names:
        if name.casefold() not in taken:
            taken.add(name.casefold())
            yield name


def _has(upscalers: Registry[Upscaler], name: str) -> bool:
    try:
        upscalers.get(name)
    except NotFound:
        return False
    return True

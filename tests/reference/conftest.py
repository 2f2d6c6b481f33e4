"""The original code, for these tests alone: modules imported from it are removed after each test file.

`./webui.sh --run-tests` installs it into a separate folder (requirements-reference.txt), which is not on the
program's path: diffusers and transformers would find packages there and behave differently.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

# Before the folder is on the path: on import, both record permanently which packages are installed.
import modules.backend.loading.loader  # noqa: F401
from modules.launch.setup import REFERENCE_FOLDER
from tests.conftest import no_network as refuse_connections
from tests.reference import a1111_cases

FOLDER = Path(sys.prefix) / REFERENCE_FOLDER
# Imported by the original code for parts that are not compared. There is no torchvision for this torch.
ABSENT = ("torchvision", "scipy", "torchdiffeq", "torchsde")
# Their own __init__ imports far more than the files that are compared.
BARE = ("open_clip", "k_diffusion")


class Empty(type):
    """An empty class; every attribute of it is another one."""

    def __getattr__(cls, name: str) -> Empty:
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (), {})


class StandIn(ModuleType):
    """Replaces a missing package: every attribute is an empty class."""

    def __getattr__(self, name: str) -> Empty:
        return getattr(Empty("module", (), {}), name)


class StandIns(MetaPathFinder, Loader):
    """Finds stand-ins for the missing packages, and the bare packages without their __init__."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in BARE and fullname.partition(".")[0] not in ABSENT:
            return None
        spec = ModuleSpec(fullname, self, is_package=True)
        spec.submodule_search_locations = [str(FOLDER / fullname)]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None if spec.name in BARE else StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def original() -> Iterator[Callable[[str], Any]]:
    """Imports a module of the original code by its name."""
    if not FOLDER.is_dir():
        pytest.skip(
            f"the original code is not in {FOLDER}: ./webui.sh --run-tests installs it, with a network"
        )
    before, stand_ins = set(sys.modules), StandIns()
    sys.path.insert(0, str(FOLDER))
    sys.meta_path.insert(0, stand_ins)
    yield importlib.import_module
    sys.meta_path.remove(stand_ins)
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if is_theirs(sys.modules[name]):
            del sys.modules[name]


def is_theirs(module: ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return False
    return isinstance(spec.loader, StandIns) or FOLDER in Path(spec.origin or "").parents


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with the checkpoints and networks of the cases, half a gigabyte, removed afterwards."""
    folder = tmp_path_factory.mktemp("a1111")
    subprocess.run(
        [sys.executable, str(a1111_cases.FOLDER / "assemble.py"), str(folder)], check=True
    )
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """A1111 ran on one thread: another number of them adds in another order, and A1111 itself then makes other images.

    Between one thread and two it differs in 0.017 % of the values, a good part of what these tests allow.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def no_network() -> Iterator[None]:
    """Whatever opens a connection fails."""
    with refuse_connections():
        yield

"""What many tests stand on: the tokenizer, folders with checkpoints, and an engine without torch.

`./webui.sh --run-tests` lets one process a core run them. The tests of a file stay together in one of these, for they
share what the file's fixtures made; so do all in the browser, which share one server and one Chromium.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modules import builtin
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.registries import Registries
from modules.launch.environment import set_env_defaults
from modules.models.checkpoint import Checkpoint
from modules.prompt.tokens import ClipTokenizer
from tests.engine.fake_executor import DEVICE_INFO, FakeExecutor

# As the program does before it imports anything; on models this small a second thread only costs time.
set_env_defaults(os.environ)
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
# Just enough to be recognised as an SD 1.x checkpoint by its header.
SD1_SHAPES = {
    "model.diffusion_model.input_blocks.0.0.weight": [4, 4, 1, 1],
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": [4, 4],
    "first_stage_model.decoder.conv_in.weight": [4, 4, 1, 1],
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [4, 4],
}
DEPTH_SHAPES = {**SD1_SHAPES, "model.diffusion_model.input_blocks.0.0.weight": [4, 5, 1, 1]}
ESTIMATOR_SHAPES = {"depth_model.model.pretrained.model.cls_token": [1, 4]}
# The files that take longest: begun first, since a core is idle at the end while the other has not finished its file.
LONGEST = (
    "test_types.py",
    "test_a1111_pictures.py",
    "test_kill.py",
    "test_bootstrap.py",
    "test_full_size.py",
    "test_hostile.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Let the garbage collector leave alone what is imported with the tests.

    A million objects of torch and its like stay until the end: a collection that looks at them takes a third of a
    second, and there is one whenever a model leaves memory.
    """
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes or writes gigabytes, unless `-m slow` asks for it; put what takes long first."""
    items.sort(key=_turn)
    if "slow" in config.getoption("-m"):
        return
    slow = {item for item in items if item.get_closest_marker("slow")}
    config.hook.pytest_deselected(items=list(slow))
    items[:] = [item for item in items if item not in slow]


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("browser"):
        return 0
    return 1 + (LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return what hands whole files to the processes, in the order of collection."""
    from xdist.scheduler import LoadFileScheduling

    class WholeFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "browser" if file.endswith("_in_browser.py") else file

    config.option.loadscopereorder = False
    return WholeFiles(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """Let a report with half a surrogate pair in a log go from one process to the other, which sends UTF-8."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, tuple):  # pytest tells a skip by it
        return tuple(map(_encodable, value))
    return [_encodable(item) for item in value] if isinstance(value, list) else value


def write_listed_depth(path: Path, *, with_estimator: bool = True) -> Path:
    """Write a small file that is listed as a depth checkpoint."""
    shapes = DEPTH_SHAPES | (ESTIMATOR_SHAPES if with_estimator else {})
    return write_listed_checkpoint(path, path.name, shapes)


def write_listed_checkpoint(
    path: Path, note: str = "", shapes: Mapping[str, list[int]] = SD1_SHAPES
) -> Path:
    """Write a small file that is listed as an SD 1.x checkpoint; the note makes its hash another."""
    header: dict[str, object] = {"__metadata__": {"note": note}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * shape[0] * shape[1]
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


def builtin_registries(*, serves_page: bool = False) -> Registries:
    """Return the tables with everything built in; without tabs, and so without Gradio, unless there is a page."""
    registries = Registries(serves_page=serves_page)
    builtin.register(registries)
    return registries


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tokenizer() -> ClipTokenizer:
    """CLIP's tokenizer from the vocabulary in the repository."""
    return ClipTokenizer(ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A data folder with two checkpoints, `first` and `sub/second`, apart from the repository."""
    home = tmp_path / "webui"
    folder = home / "models" / "Stable-diffusion"
    write_listed_checkpoint(folder / "first.safetensors", "first")
    write_listed_checkpoint(folder / "sub" / "second.safetensors", "second")
    (home / "configs").symlink_to(ROOT / "configs")
    return Paths(home, home)


@pytest.fixture
def executor() -> FakeExecutor:
    """A device that draws plain pictures."""
    return FakeExecutor()


@pytest.fixture
def registries() -> Registries:
    """The engine's tables; a test may add rows before it asks for the engine."""
    return builtin_registries()


@pytest.fixture
def idle_engine(
    paths: Paths,
    executor: FakeExecutor,
    tokenizer: ClipTokenizer,
    registries: Registries,
    tmp_path: Path,
) -> Iterator[Engine]:
    """An engine that has not been started."""
    engine = Engine(paths, executor, tokenizer, registries)
    engine.image_saver.fallback_dir = tmp_path / "spare"
    yield engine
    executor.release()
    engine.stop()


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """Refuse connections in the block, as loading and generating need none."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("loading and generating need no network")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture
def engine(idle_engine: Engine, executor: FakeExecutor) -> Engine:
    """An engine whose device is ready and whose first checkpoint is loaded."""
    idle_engine.start()
    executor.wait_until_idle()
    return idle_engine


@pytest.fixture
def start_engine(
    paths: Paths, tokenizer: ClipTokenizer, tmp_path: Path
) -> Iterator[Callable[..., tuple[Engine, FakeExecutor]]]:
    """Starts engines on one data folder, one after another, as servers that are stopped or killed and restarted."""
    started: list[tuple[Engine, FakeExecutor]] = []

    def start(
        *,
        has_device: bool = True,
        slots: int = 1,
        prepare: Callable[[Engine], None] = lambda engine: None,
        **flag_settings: Any,
    ) -> tuple[Engine, FakeExecutor]:
        executor = FakeExecutor(DEVICE_INFO if has_device else None, slots)
        engine = Engine(paths, executor, tokenizer, builtin_registries(), flag_settings)
        engine.image_saver.fallback_dir = tmp_path / "spare"
        prepare(engine)
        engine.start()
        executor.wait_until_idle()
        started.append((engine, executor))
        return engine, executor

    yield start
    for engine, executor in started:
        executor.release()
        engine.stop()


@pytest.fixture
def checkpoint(engine: Engine) -> Checkpoint:
    """The checkpoint that the engine has chosen."""
    return engine.find_checkpoint()

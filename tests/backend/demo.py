"""An engine with the bundled demo checkpoints, on the CPU, with a separate data folder."""

from __future__ import annotations

from pathlib import Path

from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.executors.local import LocalExecutor
from modules.params.device_options import DeviceOptions
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import builtin_registries

ROOT = Path(__file__).resolve().parents[2]


def demo_engine(data: Path) -> Engine:
    """Return the engine, not yet started."""
    paths = Paths(ROOT, data)
    tokenizer = ClipTokenizer(paths.configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    return Engine(
        paths,
        LocalExecutor(DeviceOptions(use_cpu=True), tokenizer),
        tokenizer,
        builtin_registries(),
    )

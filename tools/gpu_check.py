"""Checks and measures this program on the card of this machine, in at most four minutes, and writes what it found.

python tools/gpu_check.py                          the first card
python tools/gpu_check.py --markdown card.md       also as tables for docs/performance.md
python tools/gpu_check.py --device cpu --tiny      the same code on the processor with the demo model, in under a minute

Pictures are those of the demo model, which is in the box; speed is measured with random weights of SD 1.5 and SDXL at full
size, which cost what the real ones do (9 GB in a temporary folder).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from modules.launch.environment import set_env_defaults  # noqa: E402 - importable only after the line above

LIMIT_S = 240
Verdict = Literal["ok", "FAILED", ""]


@dataclass(frozen=True)
class Row:
    """One finding.

    Args:
        subject: What was looked at.
        result: What was found.
        verdict: Whether it is as it should be; "" for a figure alone.
    """

    subject: str
    result: str
    verdict: Verdict = ""


@dataclass
class Check:
    """What all checks share.

    Args:
        runner: Works on the device.
        processor: Works on the processor, in 32 bits.
        index: Lists the checkpoints: the demo model, and those of random weights as they are written.
        folder: Of the latter.
        is_tiny: Whether the demo model replaces them, at small sizes.
        deadline: `time.monotonic` at which no more is begun.
        rows: The findings.
        peak_of_steps: Bytes of the device that the steps of a family took at most.
    """

    runner: Any
    processor: Any
    index: Any
    folder: Path
    is_tiny: bool
    deadline: float
    rows: list[Row] = field(default_factory=list[Row])
    peak_of_steps: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def device(self) -> Any:
        """Return the device of torch."""
        return self.runner.device.torch_device

    def add(self, subject: str, result: str, is_right: bool | None = None) -> None:
        """Add a finding and print it."""
        verdict: Verdict = "" if is_right is None else "ok" if is_right else "FAILED"
        self.rows.append(Row(subject, result, verdict))
        print(f"{subject:<44} {result:<60} {verdict}", flush=True)

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def has_time(self, seconds: float) -> bool:
        """Return whether a part that takes so long can still be done."""
        return time.monotonic() + seconds < self.deadline


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Args:
        name: Its title.
        run: Adds its findings.
        seconds: What it takes on a card, at least; without that time it is left out.
    """

    name: str
    run: Callable[[Check], None]
    seconds: float


def list_parts() -> Sequence[Part]:
    """Return the parts, the most important ones first."""
    from tools import gpu_check_pictures as pictures
    from tools import gpu_check_speed as speed

    return (
        Part("Device", speed.describe, 0),
        Part("Pictures", pictures.check_precisions, 10),
        Part("Memory", pictures.check_memory, 10),
        Part("Attention", pictures.check_attentions, 10),
        Part("SD 1.5", speed.measure_sd1, 30),
        Part("Lack of memory", pictures.check_lack_of_memory, 10),
        Part("Interrupt", pictures.check_interrupt, 5),
        Part("SDXL", speed.measure_sdxl, 60),
        Part("Compile", speed.measure_compile, 40),
        Part("Switches", speed.measure_switches, 20),
    )


def run_parts(check: Check, parts: Sequence[Part]) -> None:
    """Run all parts for which there is time; one that breaks costs the others nothing."""
    for part in parts:
        if not check.has_time(part.seconds):
            check.add(part.name, "left out: no time")
            continue
        try:
            part.run(check)
        except Exception as error:  # noqa: BLE001 - a finding, too
            traceback.print_exc()
            check.add(part.name, f"{type(error).__name__}: {error}".splitlines()[0], is_right=False)


def make_check(device: str, folder: Path, *, is_tiny: bool, limit_s: float = LIMIT_S) -> Check:
    """Return what the parts get.

    Args:
        device: "cuda", "xpu", "mps", or "cpu", which replaces a card: it begins in 16 bits and has memory of its own.
        folder: For the checkpoints of random weights, and what is measured of them.
        is_tiny: See `Check`.
        limit_s: After so many seconds no part is begun.
    """
    import psutil

    from modules.backend.device import BF16, DEVICES, FP16, FP32, DeviceType
    from modules.backend.runner import Runner
    from modules.models.index import ModelIndex
    from modules.params.device_options import DeviceOptions
    from modules.prompt.tokens import ClipTokenizer

    stand_in = DeviceType(
        "cpu",
        lambda: True,
        lambda _: "CPU in place of a card",
        lambda _: (FP16, BF16, FP32),
        lambda _: psutil.virtual_memory().available,
    )
    rows = [row for row in (*DEVICES[:-1], stand_in) if row.kind == device]
    if not rows[0].is_available():
        raise SystemExit(f"PyTorch finds no device '{device}' here.")
    configs = ROOT / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    folders = [ROOT / "models" / "Stable-diffusion" / "demo", folder]
    index = ModelIndex({"Checkpoint": folders}, configs, folder / "cache")
    tokenizer = ClipTokenizer(configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    runner = Runner(DeviceOptions(), tokenizer, devices=rows)
    processor = Runner(DeviceOptions(use_cpu=True), tokenizer)
    return Check(runner, processor, index, folder, is_tiny, time.monotonic() + limit_s)


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the findings as a table."""
    lines = ["| what | found | |", "|---|---|---|"]
    lines += [f"| {row.subject} | {row.result.replace('|', '/')} | {row.verdict} |" for row in rows]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; the exit status is 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "xpu", "mps", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="use the demo model alone")
    parser.add_argument("--seconds", type=float, default=LIMIT_S, help="begin nothing after these")
    parser.add_argument("--markdown", type=Path, help="also write a table")
    args = parser.parse_args(argv)
    set_env_defaults(os.environ)
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        check = make_check(
            args.device, Path(folder) / "models", is_tiny=args.tiny, limit_s=args.seconds
        )
        run_parts(check, list_parts())
    check.add("Whole check", f"{time.monotonic() - started_at:.0f} s")
    if args.markdown:
        args.markdown.write_text(to_markdown(check.rows), encoding="utf-8")
    return int(any(row.verdict == "FAILED" for row in check.rows))


if __name__ == "__main__":
    sys.exit(main())

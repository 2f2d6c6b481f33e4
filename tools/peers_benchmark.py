"""Pictures of full-size models by this program and by its peers, one process each: a table for docs/performance.md.

Random weights: the pictures are noise, and the time is that of a real model. What the figures do not tell: how good a
picture is, what a GPU does, how the programs compare with more cores, and what a long queue costs.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tools import full_size

MODELS = {"sd15": "sd1", "sdxl": "sdxl"}
SIDES = (256, 512)
LABELS = {
    "ours-full": "this program, Full",
    "ours-half": "this program, Half",
    "ours-openvino": "this program, OpenVINO",
    "ours-openvino-full": "this program, OpenVINO, Full",
    "diffusers-fp32": "bare diffusers, fp32",
    "diffusers-bf16": "bare diffusers, bf16",
    "stable-diffusion.cpp": "stable-diffusion.cpp",
}
# In this order, so that what takes longest and says least is left out where the time ends. OpenVINO in 32 bits is measured
# where it is asked for.
DEFAULT_ROWS = (
    *("diffusers-bf16", "ours-half", "ours-openvino", "diffusers-fp32", "ours-full"),
    "stable-diffusion.cpp",
)
# Rows whose weights are in 32 bits in memory, twice the size of the file.
_FULL_ROWS = ("diffusers-fp32", "ours-full", "ours-openvino-full")
# Besides the weights: libraries, and what a step and a decode of 512x512 take.
_BESIDES_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Choice:
    """What of the table is measured.

    Args:
        rows: Names of ROWS.
        models: Names of MODELS.
        sides: In pixels.
        row_minutes: After so long a row of a model is ended; sizes that are done count.
        minutes: After so long no row is begun, and the last one is ended.
        steps: Of a picture, at least 2.
    """

    rows: Sequence[str] = DEFAULT_ROWS
    models: Sequence[str] = tuple(MODELS)
    sides: Sequence[int] = SIDES
    row_minutes: float = 3.0
    minutes: float = 18.0
    steps: int = 4


def run(choice: Choice) -> None:
    """Measure the rows and print the table."""
    found: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    skipped: list[str] = []
    started_at = time.monotonic()
    for model in choice.models:
        with tempfile.TemporaryDirectory() as folder:
            path = full_size.write(MODELS[model], Path(folder) / "model.safetensors")
            subprocess.run(
                [sys.executable, "-m", "tools.load_benchmark", "config", str(path), "float32"],
                cwd=full_size.ROOT, check=True, capture_output=True,
            )  # fmt: skip
            for row in choice.rows:
                left = choice.minutes - (time.monotonic() - started_at) / 60
                lines, reason = _measure(row, path, choice, left)
                for line in lines:
                    found.setdefault((model, line["side"]), {})[row] = line
                    print(f"{model}, {LABELS[row]}: {line}", file=sys.stderr, flush=True)
                if reason:
                    skipped.append(f"{LABELS[row]}, {model}: {reason}")
                    print(f"skipped: {skipped[-1]}", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - started_at) / 60
    print(_table(found, skipped, choice.steps))
    print(
        f"\n{_machine()}; {minutes:.0f} minutes in all, load average {os.getloadavg()[0]:.1f} at the end."
    )


def _measure(
    row: str, path: Path, choice: Choice, minutes: float
) -> tuple[list[dict[str, Any]], str]:
    """Return the figures of a row for each size, and why some are missing; it gets no more than these minutes."""
    reason = _obstacle(row, path, minutes)
    if reason:
        return [], reason
    arguments = [str(path), str(choice.steps), *map(str, choice.sides)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.peers_rows", row, *arguments],
        cwd=full_size.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    minutes = min(choice.row_minutes, minutes)
    try:
        output, errors = process.communicate(timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        reason = f"it was ended after {minutes:.1f} minutes"
    # Libraries print lines of their own.
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    reasons = [line["reason"] for line in lines if "reason" in line]
    if not reason and process.returncode and len(lines) < len(choice.sides):
        last = errors.strip().rpartition("\n")[2]
        reason = f"it ended with {process.returncode}: {last}"
    return [line for line in lines if "side" in line], "; ".join(
        [*reasons, *filter(None, [reason])]
    )


def _obstacle(row: str, path: Path, minutes: float) -> str:
    """Return why a row is not begun; "" where it is."""
    if minutes <= 0:
        return "no time was left (--minutes)"
    needed = path.stat().st_size * (2 if row in _FULL_ROWS else 1) + _BESIDES_BYTES
    free = psutil.virtual_memory().available
    if free < needed:
        return f"it needs about {needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free"
    return ""


def _table(
    found: dict[tuple[str, int], dict[str, dict[str, Any]]], skipped: list[str], steps: int
) -> str:
    """Return the figures in Markdown; the ratio is that of a step to bare diffusers in 32 bits."""
    lines = [
        f"| model, size | program | s a step | of diffusers fp32 | VAE decode, s | picture of {steps} steps, s | peak, GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for (model, side), rows in sorted(found.items()):
        base = rows.get("diffusers-fp32", {}).get("step")
        for row, line in sorted(rows.items(), key=lambda pair: list(LABELS).index(pair[0])):
            ratio = f"{line['step'] / base:.2f}" if base else ""
            lines.append(
                f"| {model}, {side}x{side} | {LABELS[row]} | {line['step']:.2f} | {ratio} |"
                f" {line['decode']:.1f} | {line['whole']:.1f} | {line['peak'] / 1e9:.1f} |"
            )
    return "\n".join([*lines, "", *(f"Not measured: {reason}." for reason in skipped)]).rstrip()


def _machine() -> str:
    """Return what the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = found[0].partition(":")[2].strip() if found else name
        flags = cpuinfo.read_text().split()
        name += "".join(f", {one}" for one in ("avx512_bf16", "amx_bf16") if one in flags)
    return f"{os.cpu_count()} cores of {name}"

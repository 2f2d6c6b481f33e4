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

from tools import full_size
from tools.peers_rows import ROWS, STEPS

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
# OpenVINO in 32 bits is measured where it is asked for.
DEFAULT_ROWS = tuple(name for name in ROWS if name != "ours-openvino-full")


@dataclass(frozen=True)
class Choice:
    """What of the table is measured.

    Args:
        rows: Names of ROWS.
        models: Names of MODELS.
        sides: In pixels.
        row_minutes: After so long a row of a model is ended; sizes that are done count.
    """

    rows: Sequence[str] = DEFAULT_ROWS
    models: Sequence[str] = tuple(MODELS)
    sides: Sequence[int] = SIDES
    row_minutes: float = 3.0


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
                lines, reason = _measure(row, path, choice)
                for line in lines:
                    found.setdefault((model, line["side"]), {})[row] = line
                if reason:
                    skipped.append(f"{LABELS[row]}, {model}: {reason}")
                    print(f"skipped: {skipped[-1]}", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - started_at) / 60
    print(_table(found, skipped))
    print(
        f"\n{_machine()}; {minutes:.0f} minutes in all, load average {os.getloadavg()[0]:.1f} at the end."
    )


def _measure(row: str, path: Path, choice: Choice) -> tuple[list[dict[str, Any]], str]:
    """Return the figures of a row for each size, and why some are missing."""
    command = [sys.executable, "-m", "tools.peers_rows", row, str(path), *map(str, choice.sides)]
    process = subprocess.Popen(
        command, cwd=full_size.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    reason = ""
    try:
        output, errors = process.communicate(timeout=60 * choice.row_minutes)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        reason = f"it was ended after {choice.row_minutes:g} minutes"
    # Libraries print lines of their own.
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    reasons = [line["reason"] for line in lines if "reason" in line]
    if not reason and process.returncode and len(lines) < len(choice.sides):
        last = errors.strip().rpartition("\n")[2]
        reason = f"it ended with {process.returncode}: {last}"
    return [line for line in lines if "side" in line], "; ".join(
        [*reasons, *filter(None, [reason])]
    )


def _table(found: dict[tuple[str, int], dict[str, dict[str, Any]]], skipped: list[str]) -> str:
    """Return the figures in Markdown; the ratio is that of a step to bare diffusers in 32 bits."""
    lines = [
        f"| model, size | program | s a step | of diffusers fp32 | VAE decode, s | picture of {STEPS} steps, s | peak, GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for (model, side), rows in sorted(found.items()):
        base = rows.get("diffusers-fp32", {}).get("step")
        for row, line in rows.items():
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

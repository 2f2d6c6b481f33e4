"""What the commands of this folder have in common on their command lines."""

from __future__ import annotations

import argparse
from pathlib import Path

WORK = Path("tools/demo_model/work")


def training_parser(description: str | None, steps: int, seed: int = 0) -> argparse.ArgumentParser:
    """Return a parser with the options of every training."""
    parser = _parser(description, seed)
    parser.add_argument("--work-dir", type=Path, default=WORK, help="where all results lie")
    parser.add_argument("--steps", type=int, default=steps)
    return parser


def drawing_parser(description: str | None, count: int) -> argparse.ArgumentParser:
    """Return a parser with the options of every command that draws with a checkpoint."""
    parser = _parser(description, seed=0)
    add = parser.add_argument
    add("file", type=Path, help="a checkpoint, e.g. models/Stable-diffusion/demo/demo.safetensors")
    add("--count", type=int, default=count, help="pictures, or pictures per group")
    add("--width", type=int, default=256)
    add("--height", type=int, default=256)
    add("--cfg-scale", type=float, default=5.0)
    return parser


def evaluation_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every command that measures a checkpoint."""
    parser = drawing_parser(description, count=40)
    parser.add_argument("--work-dir", type=Path, default=WORK, help="holds judge.pt")
    parser.add_argument("--sheet", type=Path, help="save a contact sheet")
    return parser


def _parser(description: str | None, seed: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=seed)
    return parser

"""The context of these tests: A1111's samplers and schedules, and the checkpoints of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modules.core.registry import Registry
from modules.infotext.read import InfotextContext
from modules.models.index import ModelIndex
from modules.params.settings import Settings
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import SCHEDULES as REAL_SCHEDULES
from modules.sampling.schedules import Schedule

ROOT = Path(__file__).resolve().parents[2]
_NAMES = (
    "DPM++ 2M, DPM++ SDE, DPM++ 2M SDE, DPM++ 2M SDE Heun, DPM++ 2S a, DPM++ 3M SDE, Euler a, Euler, LMS, Heun, DPM2, "
    "DPM2 a, DPM fast, DPM adaptive, Restart, DDIM, DDIM CFG++, PLMS, UniPC, LCM"
)
_LABELS = (
    "Automatic, Uniform, Karras, Exponential, Polyexponential, SGM Uniform, KL Optimal, Align Your Steps, Simple, "
    "Normal, DDIM, Beta"
)
_NO_SIGMAS = next(row.sigmas for row in REAL_SCHEDULES if row.sigmas)
# Reading needs only their names.
SAMPLERS = Registry("sampler", [Sampler(name, lambda *_: None) for name in _NAMES.split(", ")])
SCHEDULES = Registry("schedule type", [Schedule(name, _NO_SIGMAS) for name in _LABELS.split(", ")])
CHOICES = {"hires upscalers": ["None", "Latent", "Latent (nearest-exact)", "Lanczos", "Nearest"]}


def make_context(folder: Path | None = None, **settings: Any) -> InfotextContext:
    """Return a context; without a folder there are no checkpoints."""
    folders = (folder,) if folder else ()
    home = folder.parent if folder else ROOT / "no such folder"
    models = ModelIndex(
        {"Checkpoint": folders, "VAE": (home / "VAE",)}, ROOT / "configs", home / "cache"
    )
    return InfotextContext(
        SAMPLERS, SCHEDULES, models, Settings(**settings), lambda name: CHOICES[name]
    )

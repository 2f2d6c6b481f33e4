"""The table of scripts."""

from __future__ import annotations

from modules.core.registry import Registry
from modules.scripts.compare_samplers import COMPARE_SAMPLERS
from modules.scripts.file_batch import FILE_BATCH
from modules.scripts.protocol import Script
from modules.scripts.reproduce import REPRODUCE
from modules.scripts.xyz_plot import XYZ_PLOT

SCRIPTS: Registry[Script] = Registry("script", (FILE_BATCH, REPRODUCE, COMPARE_SAMPLERS, XYZ_PLOT))

"""The table of scripts."""

from __future__ import annotations

from modules.core.registry import Registry
from modules.scripts.compare_samplers import COMPARE_SAMPLERS
from modules.scripts.control_batch import CONTROL_BATCH
from modules.scripts.extras_batch import EXTRAS_BATCH
from modules.scripts.file_batch import FILE_BATCH
from modules.scripts.img2img_alternative import IMG2IMG_ALTERNATIVE
from modules.scripts.init_images import INIT_IMAGES
from modules.scripts.loopback import LOOPBACK
from modules.scripts.outpainting_mk2 import OUTPAINTING_MK2
from modules.scripts.poor_mans_outpainting import POOR_MANS_OUTPAINTING
from modules.scripts.prompt_matrix import PROMPT_MATRIX
from modules.scripts.prompts_from_file import PROMPTS_FROM_FILE
from modules.scripts.protocol import Script
from modules.scripts.reproduce import REPRODUCE
from modules.scripts.sd_upscale import SD_UPSCALE
from modules.scripts.xyz_plot import XYZ_PLOT

SCRIPTS: Registry[Script] = Registry(
    "script",
    (
        FILE_BATCH,
        EXTRAS_BATCH,
        CONTROL_BATCH,
        INIT_IMAGES,
        REPRODUCE,
        COMPARE_SAMPLERS,
        IMG2IMG_ALTERNATIVE,
        LOOPBACK,
        OUTPAINTING_MK2,
        POOR_MANS_OUTPAINTING,
        PROMPT_MATRIX,
        PROMPTS_FROM_FILE,
        SD_UPSCALE,
        XYZ_PLOT,
    ),
)

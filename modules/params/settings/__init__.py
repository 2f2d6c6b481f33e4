"""Settings: all options, named as in A1111, one base class per section of the Settings tab."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ConfigDict
from typing_extensions import Self

from modules.core.flag_types import MAX_LOADED_CHECKPOINTS
from modules.params.param import param, validate
from modules.params.settings.control import ControlSettings
from modules.params.settings.guidance import GuidanceSettings
from modules.params.settings.img2img import Img2ImgSettings
from modules.params.settings.memory import MemorySettings
from modules.params.settings.networks import NetworkSettings
from modules.params.settings.previews import PreviewSettings
from modules.params.settings.prompt_editing import PromptEditingSettings
from modules.params.settings.sampling import SamplingSettings
from modules.params.settings.saving import GridSettings, SavingSettings
from modules.params.settings.server import QueueSettings, ServerSettings
from modules.params.settings.speed import SpeedSettings
from modules.params.settings.upscaling import UpscalingSettings

# Options that a job cannot override: they are fields of the request, or belong to the server.
NOT_OVERRIDABLE = frozenset(
    (
        "sd_model_checkpoint",
        "sd_vae",
        "sd_checkpoints_limit",
        "sd_predictions",
        "sd_use_ema",
        "memory_policy",
        "converted_weights_gb",
        "queue_after_restart",
        "script_max_cells",
        "control_net_unit_count",
        *ServerSettings.model_fields,
        *PromptEditingSettings.model_fields,
    )
)


class Settings(
    ServerSettings,
    GridSettings,
    SavingSettings,
    QueueSettings,
    PreviewSettings,
    UpscalingSettings,
    ControlSettings,
    Img2ImgSettings,
    PromptEditingSettings,
    NetworkSettings,
    GuidanceSettings,
    SamplingSettings,
    SpeedSettings,
    MemorySettings,
):
    """Every option. Frozen: the engine replaces the whole object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sd_model_checkpoint: str = param(
        "",
        "Stable Diffusion checkpoint",
        help="The file with the model that new jobs use; empty uses the first one found.",
        choices="checkpoints",
        section="model",
    )

    sd_vae: str = param(
        "Automatic",
        "SD VAE",
        help="The part that turns what the model computes into pixels: Automatic uses the file named like the checkpoint, None the one inside it.",
        choices="vaes",
        section="model",
    )
    sd_checkpoints_limit: int = param(
        1,
        "Checkpoints kept loaded",
        help="More make switching between checkpoints faster and need more memory.",
        ge=1,
        le=MAX_LOADED_CHECKPOINTS,
        slider=(1, MAX_LOADED_CHECKPOINTS, 1),
        section="model",
    )
    sd_use_ema: bool = param(
        False,
        "Use EMA weights",
        help="Uses the moving average of training (EMA) where a checkpoint holds both kinds of weights.",
        section="model",
    )
    sd_predictions: dict[str, Literal["epsilon", "v_prediction"]] = param(
        {},
        "Predictions",
        help="What the networks of checkpoints predict, by name, where it is not detected: the noise (epsilon) or the velocity (v_prediction).",
        section="model",
    )

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some options changed."""
        return validate(type(self), {**self.model_dump(), **changes})

    @classmethod
    def default_values(cls, names: Iterable[str]) -> dict[str, Any]:
        """Return the defaults of these options; None for an unknown name, which is refused when it is set."""
        fields = cls.model_fields
        return {name: fields[name].get_default() if name in fields else None for name in names}

"""What is remembered between starts, under A1111's option names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ConfigDict

from modules.core.flag_types import MAX_LOADED_CHECKPOINTS
from modules.params.param import param, validate
from modules.params.settings.guidance import GuidanceSettings
from modules.params.settings.img2img import Img2ImgSettings
from modules.params.settings.sampling import SamplingSettings
from modules.params.settings.saving import GridSettings, SavingSettings
from modules.params.settings.server import QueueSettings, ServerSettings

# Options that a job cannot have of its own: they are fields of the request, or of the server.
NOT_OVERRIDABLE = frozenset(
    (
        "sd_model_checkpoint",
        "sd_vae",
        "sd_checkpoints_limit",
        "sd_predictions",
        "sd_use_ema",
        "queue_after_restart",
        *ServerSettings.model_fields,
    )
)


class Settings(
    ServerSettings,
    GridSettings,
    SavingSettings,
    QueueSettings,
    Img2ImgSettings,
    GuidanceSettings,
    SamplingSettings,
):
    """Every option. Frozen: the engine swaps the whole object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sd_model_checkpoint: str = param(
        "",
        "Stable Diffusion checkpoint",
        help="Name of the checkpoint that new jobs use; empty takes the first one found.",
        choices="checkpoints",
        section="model",
    )

    sd_vae: str = param(
        "Automatic",
        "SD VAE",
        help="Automatic takes the VAE named like the checkpoint, None the one inside it; else a file's name.",
        choices="vaes",
        section="model",
    )
    sd_checkpoints_limit: int = param(
        1,
        "Checkpoints kept loaded",
        help="More make a change between checkpoints faster and need more memory.",
        ge=1,
        le=MAX_LOADED_CHECKPOINTS,
        slider=(1, MAX_LOADED_CHECKPOINTS, 1),
        section="model",
    )
    sd_use_ema: bool = param(
        False,
        "Use EMA weights",
        help="Takes the training's moving average where a checkpoint holds both.",
        section="model",
    )
    sd_predictions: dict[str, Literal["epsilon", "v_prediction"]] = param(
        {},
        "Predictions",
        help="What the networks of single checkpoints predict, by name, where it is not found out by itself.",
        section="model",
    )

    def replace(self, **changes: Any) -> Settings:
        """Return a validated copy with some options changed."""
        return validate(Settings, {**self.model_dump(), **changes})


def default_values(names: Iterable[str]) -> dict[str, Any]:
    """Return the defaults of these options; a name that is none is left to whoever sets them to refuse."""
    defaults = Settings()
    return {name: getattr(defaults, name, None) for name in names}

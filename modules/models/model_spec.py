"""The model of a job: a checkpoint and every setting that affects how it is loaded, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modules.core.errors import WebUIError
from modules.models.families import Family
from modules.models.file_cache import PredictionType, read_prediction_type
from modules.models.ldm.yaml import YamlSection
from modules.models.manager import Checkpoint, ModelManager
from modules.models.text_encoders import TextEncoderFile
from modules.models.vaes import VaeFile
from modules.params.settings import Settings

VAE_SCALE_FACTOR = 8
DEFAULT_LATENT_SIZE = 64


@dataclass(frozen=True)
class ModelSpec:
    """Which files are loaded, and how.

    Args:
        checkpoint: The checkpoint file.
        config: The LDM .yaml that describes it.
        prediction_type: What the UNet predicts; None to follow the .yaml, "probe" if it must be measured.
        vae: A VAE file that replaces the checkpoint's own VAE.
        text_encoder: The file of the text encoder; None when the checkpoint contains it.
        use_ema: Whether EMA weights are preferred if the file has them.
        checkpoints_limit: How many checkpoints may stay loaded.
        cache_folder: Folder of the disk caches, such as predictions.json.
    """

    checkpoint: Checkpoint
    config: Path
    prediction_type: PredictionType | Literal["probe"] | None
    vae: VaeFile | None
    text_encoder: TextEncoderFile | None
    use_ema: bool
    checkpoints_limit: int
    cache_folder: Path

    @property
    def text_encoder_note(self) -> str:
        """Return the note on where a missing text encoder is taken from, or ""."""
        if self.text_encoder is None:
            return ""
        name = self.checkpoint.name
        return f"'{name}' has no text encoder; the one of '{self.text_encoder.name}' is used."


def make_model_spec(models: ModelManager, checkpoint: Checkpoint, settings: Settings) -> ModelSpec:
    """Return the model that a checkpoint and the settings select.

    Raises:
        BadFile: the checkpoint or the VAE cannot be loaded, or there is no text encoder for it.
        NotFound: there is no VAE of that name.
    """
    return ModelSpec(
        checkpoint=checkpoint,
        config=models.find_config(checkpoint),
        prediction_type=resolve_prediction_type(models, checkpoint, settings),
        vae=models.vaes.choose(settings.sd_vae, checkpoint.path),
        text_encoder=models.find_text_encoder(checkpoint),
        use_ema=settings.sd_use_ema,
        checkpoints_limit=settings.sd_checkpoints_limit,
        cache_folder=models.cache_folder,
    )


def native_size(spec: ModelSpec, models: ModelManager) -> int:
    """Return the width and height in pixels that a model was trained for.

    Args:
        spec: The model.
        models: Looks up its family and caches its .yaml.
    """
    family = models.get_family(spec.checkpoint)
    try:
        params = models.yaml_cache.read(spec.config).section("model").section("params")
        return _native_size(params, spec, family)
    except WebUIError:  # loading the model reports what is wrong
        return family.native_size


def _native_size(params: YamlSection, spec: ModelSpec, family: Family) -> int:
    unet = params.section("unet_config").section("params")
    latent_size = params.integer("image_size", unet.integer("image_size", DEFAULT_LATENT_SIZE))
    if latent_size != DEFAULT_LATENT_SIZE:
        return VAE_SCALE_FACTOR * latent_size
    # The published .yaml files all say 64, even for 768 pixels.
    configured = "v_prediction" if params.string("parameterization", "eps") == "v" else "epsilon"
    predicts_v = (spec.prediction_type or configured) == "v_prediction"
    return (
        family.v_prediction_native_size
        if predicts_v and family.v_prediction_native_size
        else family.native_size
    )


def resolve_prediction_type(
    models: ModelManager, checkpoint: Checkpoint, settings: Settings
) -> PredictionType | Literal["probe"] | None:
    """Return what the UNet predicts, by the user's setting, else the .yaml, else the cached probe.

    Returns:
        None to follow the .yaml; "probe" if nothing is known yet.
    """
    configured = settings.sd_predictions.get(checkpoint.name)
    if configured is not None:
        return configured
    if checkpoint.config is not None or not models.get_family(checkpoint).prediction_unknown:
        return None
    return read_prediction_type(models.cache_folder, checkpoint.stamp) or "probe"

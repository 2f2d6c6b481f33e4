"""The model of a job: a checkpoint and everything that is chosen about it, frozen."""

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

PIXELS_PER_LATENT = 8
USUAL_LATENT_SIZE = 64


@dataclass(frozen=True)
class ModelSpec:
    """What is loaded, and how.

    Args:
        checkpoint: The file.
        config: The LDM .yaml that describes it.
        prediction_type: What the UNet predicts; None as the .yaml says, "probe" when nobody knows yet.
        vae: Another VAE than the checkpoint's own.
        text_encoder: Where the text encoder comes from; None when the checkpoint has its own.
        use_ema: Whether the training's moving average is wanted where the file has it.
        checkpoints_limit: How many checkpoints may stay loaded.
        cache_folder: Folder in which what is found out is remembered.
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
        """Return the sentence that says where a missing text encoder comes from, or ""."""
        if self.text_encoder is None:
            return ""
        name = self.checkpoint.name
        return f"'{name}' has no text encoder; the one of '{self.text_encoder.name}' is used."


def make_model_spec(models: ModelManager, checkpoint: Checkpoint, settings: Settings) -> ModelSpec:
    """Return the model that a checkpoint and the settings make.

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
    """Return the width and height in pixels that a model was made for.

    Args:
        spec: The model.
        models: Knows its family and has read its .yaml.
    """
    family = models.get_family(spec.checkpoint)
    try:
        params = models.yaml_cache.read(spec.config).section("model").section("params")
        return _size_of(params, spec, family)
    except WebUIError:  # what is wrong with it is told when it is loaded
        return family.native_size


def _size_of(params: YamlSection, plan: ModelSpec, family: Family) -> int:
    unet = params.section("unet_config").section("params")
    latent_size = params.integer("image_size", unet.integer("image_size", USUAL_LATENT_SIZE))
    if (
        latent_size != USUAL_LATENT_SIZE
    ):  # the published .yaml files all say 64, even for 768 pixels
        return PIXELS_PER_LATENT * latent_size
    said = "v_prediction" if params.string("parameterization", "eps") == "v" else "epsilon"
    predicts_v = (plan.prediction_type or said) == "v_prediction"
    return (
        family.v_prediction_native_size
        if predicts_v and family.v_prediction_native_size
        else family.native_size
    )


def resolve_prediction_type(
    models: ModelManager, checkpoint: Checkpoint, settings: Settings
) -> PredictionType | Literal["probe"] | None:
    """Return what the UNet predicts: the user's choice, else the .yaml's, else what was found out."""
    chosen = settings.sd_predictions.get(checkpoint.name)
    if chosen is not None:
        return chosen
    if checkpoint.config is not None or not models.get_family(checkpoint).prediction_unknown:
        return None
    return read_prediction_type(models.cache_folder, checkpoint.stamp) or "probe"

"""The model of a job: a checkpoint and every setting that affects how it is loaded, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modules.core.errors import WebUIError
from modules.models.checkpoint import Checkpoint
from modules.models.families import Family
from modules.models.file_cache import read_prediction_type
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.ldm.noise_schedule import read_parameterization
from modules.models.ldm.yaml import YamlSection
from modules.models.prediction_facts import PredictionType
from modules.models.text_encoders import TextEncoderFile
from modules.models.vaes import choose_vae
from modules.params.settings import Settings
from modules.params.settings.memory import AcceleratorName, MemoryPolicyName, PrecisionName

DEFAULT_LATENT_SIZE = 64
_SMALLEST_BUCKET = 0.9  # of the native area: 512 x 1856


@dataclass(frozen=True)
class ModelSpec:
    """Which files are loaded, and how.

    Args:
        checkpoint: The checkpoint file.
        family: What it is made of.
        config: The LDM .yaml that describes it.
        prediction_type: What the UNet predicts; None to follow the .yaml, "probe" if it must be measured.
        vae: A VAE file that replaces the checkpoint's own VAE.
        text_encoders: The file of each text encoder of the family; None for one that the checkpoint contains.
        use_ema: Whether EMA weights are preferred if the file has them.
        memory_policy: Which parts stay on the device: "Automatic", or a row of the backend's POLICIES.
        stores_fp8: Whether weights are stored in 8 bits.
        precision: "Automatic" for the device's choice, or whether it computes in 32 or 16 bits.
        accelerator: What computes the UNet.
        weight_cache_bytes: How much of the disk converted weights may take.
    """

    checkpoint: Checkpoint
    family: Family
    config: Path
    prediction_type: PredictionType | Literal["probe"] | None
    vae: ModelFile | None
    text_encoders: tuple[TextEncoderFile | None, ...]
    use_ema: bool
    memory_policy: MemoryPolicyName = "Automatic"
    stores_fp8: bool = False
    precision: PrecisionName = "Automatic"
    accelerator: AcceleratorName = "PyTorch"
    weight_cache_bytes: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the files that are read."""
        others = (self.vae, *self.text_encoders)
        return self.checkpoint.path, *(file.path for file in others if file is not None)

    @property
    def borrowed_from(self) -> tuple[str, ...]:
        """Return the names of the checkpoints that lend a text encoder."""
        lent = (file for file in self.text_encoders if file is not None and file.is_checkpoint)
        return tuple(dict.fromkeys(file.name for file in lent))

    @property
    def text_encoder_note(self) -> str:
        """Return the note on where missing text encoders are taken from, or ""."""
        names = dict.fromkeys(file.name for file in self.text_encoders if file is not None)
        if not names:
            return ""
        sources = " and ".join(f"'{name}'" for name in names)
        if len(self.text_encoders) == 1:
            return f"'{self.checkpoint.name}' has no text encoder; the one of {sources} is used."
        return f"'{self.checkpoint.name}' lacks text encoders; those of {sources} are used."


def make_model_spec(models: ModelIndex, checkpoint: Checkpoint, settings: Settings) -> ModelSpec:
    """Return the model that a checkpoint and the settings select.

    Raises:
        BadFile: the checkpoint or the VAE cannot be loaded, or there is no text encoder for it.
        NotFound: there is no VAE of that name.
    """
    family = models.get_family(checkpoint)
    return ModelSpec(
        checkpoint=checkpoint,
        config=models.find_config(checkpoint),
        family=family,
        prediction_type=resolve_prediction_type(models, checkpoint, settings),
        vae=choose_vae(models, settings.sd_vae, checkpoint.path),
        text_encoders=models.find_text_encoders(checkpoint),
        use_ema=settings.sd_use_ema,
        memory_policy=settings.memory_policy_for(is_sdxl=family.is_sdxl),
        stores_fp8=settings.stores_fp8(is_sdxl=family.is_sdxl),
        precision=settings.precision,
        accelerator=settings.accelerator,
        weight_cache_bytes=int(settings.converted_weights_gb * 1e9),
    )


def is_below_native_size(spec: ModelSpec, models: ModelIndex, width: int, height: int) -> bool:
    """Return whether an image is smaller than those that a model was trained on.

    Args:
        spec: The model.
        models: Caches its .yaml.
        width: Of the image in pixels.
        height: Likewise.
    """
    native = native_size(spec, models)
    if not spec.family.is_sdxl:
        return min(width, height) < native
    # Its training images had sides of 512 to 2048 and about the same area (Podell et al. 2023, appendix I).
    return width * height < _SMALLEST_BUCKET * native**2


def native_size(spec: ModelSpec, models: ModelIndex) -> int:
    """Return the width and height in pixels that a model was trained for.

    Args:
        spec: The model.
        models: Caches its .yaml.
    """
    try:
        params = models.yaml_cache.read(spec.config).section("model").section("params")
        return _native_size(params, spec)
    except WebUIError:  # loading the model reports what is wrong
        return spec.family.native_size


def _native_size(params: YamlSection, spec: ModelSpec) -> int:
    family = spec.family
    unet = params.section("unet_config").section("params")
    latent_size = params.integer("image_size", unet.integer("image_size", DEFAULT_LATENT_SIZE))
    if latent_size != DEFAULT_LATENT_SIZE:
        return family.latent_format.pixels_per_cell * latent_size
    # The published .yaml files all say 64, even for 768 pixels.
    predicts_v = read_parameterization(params) == "v"
    if spec.prediction_type is not None:
        predicts_v = spec.prediction_type == "v_prediction"
    return (
        family.v_prediction_native_size
        if predicts_v and family.v_prediction_native_size
        else family.native_size
    )


def may_predict_v(spec: ModelSpec, models: ModelIndex) -> bool:
    """Return whether the UNet predicts v, or whether that is not known before it is loaded.

    Args:
        spec: The model.
        models: Caches its .yaml.
    """
    if spec.prediction_type is not None:
        return spec.prediction_type != "epsilon"
    try:
        params = models.yaml_cache.read(spec.config).section("model").section("params")
        return read_parameterization(params) == "v"
    except WebUIError:  # loading the model reports what is wrong
        return True


def resolve_prediction_type(
    models: ModelIndex, checkpoint: Checkpoint, settings: Settings
) -> PredictionType | Literal["probe"] | None:
    """Return what the UNet predicts: by the user's setting, a key in the file, its .yaml, its metadata, or a probe.

    Returns:
        None to follow the .yaml; "probe" if nothing is known yet.
    """
    configured = settings.sd_predictions.get(checkpoint.name)
    if configured is not None:
        return configured
    if checkpoint.prediction.has_v_key:
        return "v_prediction"
    if checkpoint.config is not None:
        return None
    if checkpoint.prediction.stated:
        return checkpoint.prediction.stated
    if not models.get_family(checkpoint).prediction_unknown:
        return None
    return read_prediction_type(models.cache_folder, checkpoint.stamp) or "probe"

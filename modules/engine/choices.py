"""CHOICES: the lists that fields declared with `choices=name` offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from modules.engine.registries import Registries
from modules.images.preprocessors.table import list_preprocessors
from modules.models.index import ModelIndex
from modules.models.kinds import HYPERNETWORK, VAE
from modules.models.networks.network_kinds import LORA
from modules.models.upscaler_list import UpscalerList
from modules.models.vaes import NO_VAE, vae_names
from modules.params.attentions import list_attentions
from modules.params.requests.control_unit import NO_MODEL
from modules.prompt.styles import Styles


@dataclass(frozen=True)
class ChoiceSources:
    """Where the lists come from: tables, model files and styles."""

    registries: Registries
    models: ModelIndex
    styles: Styles


def _network_names(kind: str, sources: ChoiceSources) -> list[str]:
    files = sources.models.networks.files(kind)
    return ["None", *(file.network_name for file in files if not file.facts.error)]


def _upscalers(sources: ChoiceSources) -> UpscalerList:
    return UpscalerList(sources.registries.upscalers, sources.models)


CHOICES: Mapping[str, Callable[[ChoiceSources], list[str]]] = {
    "samplers": lambda sources: sources.registries.samplers.names(),
    "schedules": lambda sources: sources.registries.schedules.names(),
    "checkpoints": lambda sources: [c.title for c in sources.models.checkpoints()],
    "attentions": lambda _: list_attentions(),
    "vaes": lambda sources: vae_names(sources.models),
    "loras": partial(_network_names, LORA),
    "hypernetworks": partial(_network_names, HYPERNETWORK),
    "preprocessors": lambda _: [row.name for row in list_preprocessors() if not row.unavailable],
    "control models": lambda sources: [
        NO_MODEL,
        *(model.title for model in sources.models.control.models()),
    ],
    "merge recipes": lambda sources: sources.registries.recipes.names(),
    "merge vaes": lambda sources: [NO_VAE, *(file.name for file in sources.models.files(VAE))],
    "styles": lambda sources: sources.styles.names(),
    "options": lambda sources: list(sources.registries.settings_class.model_fields),
    "hires upscalers": lambda sources: _upscalers(sources).names(),
    "image upscalers": lambda sources: [
        row.name for row in _upscalers(sources) if not row.is_latent
    ],
}

"""Control types, such as Canny: which preprocessors and control models each offers, as sd-webui-controlnet's page and API do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modules.images.preprocessors.row import Preprocessor
from modules.images.preprocessors.table import (
    control_types,
    default_preprocessor,
    list_preprocessors,
)
from modules.models.annotators import ANNOTATORS
from modules.models.checkpoint import Checkpoint
from modules.models.control.control_model import ControlModel
from modules.models.control.layouts import (
    CONTROLNET_UNION,
    IP_ADAPTER,
    T2I_ADAPTER,
    T2I_STYLE,
)
from modules.models.index import ModelIndex
from modules.params.requests.control_unit import NO_MODULE

ALL = "All"
# Parts of the names of files that are for a type, where that is more than the type's own name.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "Canny": ("canny", "edge"),
    "Depth": ("depth",),
    "InstructP2P": ("ip2p", "instructp2p"),
    "Inpaint": ("inpaint", "promax"),
    "NormalMap": ("normal",),
    "OpenPose": ("openpose", "pose"),
    "Recolor": ("recolor", "colorizer"),
    "Scribble": ("scribble", "sketch", "outline"),
    "Segmentation": ("seg",),
    "SoftEdge": ("softedge", "hed", "pidi", "teed"),
    "Tile": ("tile", "blur"),
}
_LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "IP-Adapter": (IP_ADAPTER,),
    "T2I-Adapter": (T2I_ADAPTER, T2I_STYLE),
}
# Types that one file for several serves; see `UnionControlType`.
UNION_TYPES: Mapping[str, str] = {
    "OpenPose": "OpenPose",
    "Depth": "Depth",
    "SoftEdge": "Soft Edge",
    "Scribble": "Soft Edge",
    "Canny": "Hard Edge",
    "Lineart": "Hard Edge",
    "MLSD": "Hard Edge",
    "NormalMap": "Normal Map",
    "Segmentation": "Segmentation",
    "Tile": "Tile",
    "Inpaint": "Inpaint",
}
_NO_LETTER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class ControlType:
    """What a control type offers.

    Args:
        name: As sd-webui-controlnet's.
        modules: Preprocessors, the default ones first; those that this version cannot use are not among them.
        models: Control models.
        default_module: The preprocessor that it begins with.
        default_model: The control model that it begins with; None for none.
    """

    name: str
    modules: tuple[Preprocessor, ...]
    models: tuple[ControlModel, ...]
    default_module: Preprocessor
    default_model: ControlModel | None

    @property
    def ready_module(self) -> Preprocessor:
        """Return the default preprocessor, or another one where that needs a file of the user's and another does not."""
        rows = self.default_module, *(row for row in self.modules if row.name != NO_MODULE)
        return next(filter(_is_ready, rows), self.default_module)


def list_control_types(models: Iterable[ControlModel]) -> list[ControlType]:
    """Return all control types that have a preprocessor, with those of the models that are for each."""
    models = tuple(models)
    return [_make(name, models) for name in control_types() if name == ALL or _modules(name)[1:]]


def fitting_models(models: ModelIndex, checkpoint: Checkpoint) -> tuple[ControlModel, ...]:
    """Return the control models that a checkpoint can follow."""
    widths = [info.hidden_size for info in checkpoint.text_encoders]
    family = models.get_family(checkpoint).network_family
    return models.control.fitting(family, sum(widths) if all(widths) else 0)


def types_of(model: ControlModel) -> list[str]:
    """Return the control types that a model is for, by its layout and by the name of its file."""
    return [name for name in control_types() if name != ALL and _is_for(model, name)]


def _make(name: str, models: tuple[ControlModel, ...]) -> ControlType:
    fitting = tuple(model for model in models if name == ALL or _is_for(model, name))
    # Of several the one of version 1.1, as in sd-webui-controlnet.
    preferred = sorted(fitting, key=lambda model: "11" not in model.stem)
    default = None if name == ALL or not preferred else preferred[0]
    return ControlType(name, _modules(name), fitting, default_preprocessor(name), default)


def _is_ready(row: Preprocessor) -> bool:
    if row.compute is not None or not row.annotator:
        return True
    return ANNOTATORS.get(row.annotator).takes_checkpoint


def _modules(control_type: str) -> tuple[Preprocessor, ...]:
    return tuple(row for row in list_preprocessors(control_type) if not row.unavailable)


def _is_for(model: ControlModel, control_type: str) -> bool:
    if control_type in _LAYOUTS:
        return model.layout in _LAYOUTS[control_type]
    if model.layout == CONTROLNET_UNION and control_type in UNION_TYPES:
        return True
    folded = _NO_LETTER.sub("", model.stem.lower())
    words = _WORDS.get(control_type, (_NO_LETTER.sub("", control_type.lower()),))
    return any(word in folded for word in words)

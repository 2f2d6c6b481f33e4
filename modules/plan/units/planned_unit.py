"""PlannedUnit: a ControlNet unit with all that the backend needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modules.images.preprocessors.table import PREPROCESSORS
from modules.models.control.control_model import ControlModel
from modules.models.files.scan import ModelFile
from modules.params.requests.base import GenerationRequest
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.img2img import Img2ImgRequest
from modules.plan.units.preprocessing import Preprocessing


@dataclass(frozen=True)
class PlannedUnit:
    """A unit that takes part in a pass.

    Args:
        index: Of the unit in the request, for messages.
        unit: As requested. Without an image it takes the init image.
        model: Its control model; None for a preprocessor that acts without one.
        preprocessing: How its control image is made; None where its picture is taken as it is.
        image_encoder: The file of the image encoder that an IP-Adapter or revision reads; None for others.
        is_soft: Whether deeper outputs of a ControlNet count more than those near the picture.
        pools: Whether outputs are reduced to their means.
    """

    index: int
    unit: ControlUnit
    model: ControlModel | None = None
    preprocessing: Preprocessing | None = None
    image_encoder: ModelFile | None = None
    is_soft: bool = False
    pools: bool = False

    @property
    def label(self) -> str:
        """Return how messages call it."""
        return f"ControlNet unit {self.index}"

    @property
    def is_cond_only(self) -> bool:
        """Return whether the unit leaves the negative prompt's prediction alone."""
        return self.unit.control_mode == "ControlNet is more important"

    @property
    def module(self) -> str:
        """Return the name of its preprocessor, whatever spelling the request has."""
        return PREPROCESSORS.get(self.unit.module).name

    @property
    def is_reference(self) -> bool:
        """Return whether the UNet itself gets the control image; no control model takes part."""
        return self.module.startswith("reference_")

    @property
    def is_revision(self) -> bool:
        """Return whether its picture takes the place of SDXL's pooled text; a control model has no part in it."""
        return self.module.startswith("revision_")

    @property
    def masks(self) -> bool:
        """Return whether the picture is masked: the control model paints there anew."""
        return PREPROCESSORS.get(self.unit.module).needs_mask

    def has_mask(self, request: GenerationRequest) -> bool:
        """Return whether there is a mask for it: its own, or that of the request."""
        own = self.unit.mask is not None
        return own or (isinstance(request, Img2ImgRequest) and request.mask is not None)

    @property
    def counts_nowhere(self) -> bool:
        """Return whether no output of it has a weight."""
        return not self.unit.weight and self.unit.advanced_weighting is None

    @property
    def networks(self) -> tuple[ModelFile, ...]:
        """Return the files of its networks."""
        return tuple(one for one in (self.model, self.image_encoder) if one is not None)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return its files."""
        files = () if self.preprocessing is None else self.preprocessing.files
        return tuple(file.path for file in (*self.networks, *files))

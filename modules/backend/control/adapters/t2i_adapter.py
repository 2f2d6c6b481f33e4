"""T2I-Adapters (Mou et al. 2023): a small network whose features of an image are added within the UNet's way down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from diffusers.models.adapter import T2IAdapter
from torch import Tensor
from torch.nn import functional

from modules.backend.control.adapters.unet_places import cells_at
from modules.backend.control.adapters.weights import open_adapter, without_weights
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.core.errors import BadFile
from modules.models.control.t2i_adapter import read_facts
from modules.models.files.scan import ModelFile

_RESIDUALS = "down_intrablock_additional_residuals"
_SDXL_HALVINGS = (
    1,
    1,
    2,
    2,
)  # of the sample where each feature is added; the UNet of SD 1.x halves before each


def load_t2i_adapter(file: ModelFile, dtype: torch.dtype, device: torch.device) -> T2IAdapter:
    """Return the adapter of a file, in the published layout or in diffusers'.

    Args:
        file: The file.
        dtype: To compute in.
        device: Likewise.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged, incomplete, or of another kind.
    """
    opened = open_adapter(file, "T2I-Adapter")
    facts = read_facts(opened.header.tensors)
    if isinstance(facts, str):
        raise BadFile(f"'{opened.name}' {facts}", "Get it from another source.")
    with without_weights():
        adapter = T2IAdapter(
            facts.image_channels,
            list(facts.channels),
            facts.block_count,
            facts.unshuffle,
            facts.adapter_type,
        )
    return opened.load_into(adapter, facts.file_key, dtype, device)


def compute_features(adapter: T2IAdapter, hint: Tensor, cells: tuple[int, int]) -> list[Tensor]:
    """Return an adapter's features of a hint image, one for each of the places where the UNet adds them.

    Args:
        adapter: The adapter.
        hint: [images, 3, height, width], 0 to 1.
        cells: Rows and columns of the latents.
    """
    side = adapter.downscale_factor
    height, width = hint.shape[-2:]
    hint = hint[:, : adapter.config["in_channels"]].to(adapter.device, adapter.dtype)
    # The squares of an SDXL adapter are two cells wide: an odd number of cells is continued at the border.
    hint = functional.pad(hint, (0, -width % side, 0, -height % side), mode="replicate")
    is_sdxl = adapter.config["adapter_type"] == "full_adapter_xl"
    features: list[Tensor] = adapter(hint)
    return [
        fit(feature, cells_at(cells, _SDXL_HALVINGS[place] if is_sdxl else place))
        for place, feature in enumerate(features)
    ]


def fit(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a feature [images, channels, rows, columns] in another size, by its nearest cells."""
    if feature.shape[-2:] == size:
        return feature
    return functional.interpolate(feature, size=size, mode="nearest")


class T2IAdapterExtension(StepExtension):
    """Adds an adapter's features within the UNet's way down, in the steps of a unit's turn.

    Args:
        features: See `compute_features`; already weighed.
        is_active: Whether it takes part in an evaluation, by its index.
        is_cond_only: Whether the negative prompt's prediction is left alone.
    """

    def __init__(
        self, features: Sequence[Tensor], is_active: Callable[[int], bool], *, is_cond_only: bool
    ) -> None:
        self._features = features
        self._is_active = is_active
        self._is_cond_only = is_cond_only

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the call with the features added to those of other units."""
        if not self._is_active(call.index):
            return call
        added = [self._for_rows(feature, call) for feature in self._features]
        others = call.kwargs.get(_RESIDUALS)
        if others is not None:
            added = [one + other for one, other in zip(added, others, strict=True)]
        # A new list for each call: the UNet takes its items out.
        return replace(call, kwargs={**call.kwargs, _RESIDUALS: added})

    def _for_rows(self, feature: Tensor, call: UNetCall) -> Tensor:
        rows = len(call.sample)
        spread = feature.repeat(rows // len(feature), 1, 1, 1).to(call.sample.dtype)
        if self._is_cond_only and any(call.is_uncond):
            batch = rows // len(call.is_uncond)
            counts = [not row for row in call.is_uncond for _ in range(batch)]
            return spread * torch.tensor(counts, device=spread.device)[:, None, None, None]
        return spread


def weigh(
    features: Sequence[Tensor], weights: Sequence[float], region: Tensor | None
) -> list[Tensor]:
    """Return features times the weight of each.

    Args:
        features: See `compute_features`.
        weights: Of each.
        region: Where they count, [1, 1, height, width], 0 to 1; None everywhere.
    """
    weighed = [feature * weight for feature, weight in zip(features, weights, strict=True)]
    if region is None:
        return weighed
    return [
        feature
        * functional.interpolate(region.to(feature), size=feature.shape[-2:], mode="bilinear")
        for feature in weighed
    ]

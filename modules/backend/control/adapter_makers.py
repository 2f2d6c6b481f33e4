"""Makes what units with adapters, reference images and inpainting preprocessors do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from modules.backend import vae
from modules.backend.control.adapters.ip_adapter import (
    ImagePrompt,
    ImagePromptExtension,
    ImagePrompts,
    cross_attentions,
    load_ip_adapter,
)
from modules.backend.control.adapters.latent_fixes import (
    ColourFix,
    KeptLatents,
    LatentFix,
    LatentSource,
    OtherChannels,
)
from modules.backend.control.adapters.lllite import LLLiteExtension, load_lllite
from modules.backend.control.adapters.reference import (
    SHARED_PARTS,
    Reference,
    ReferenceExtension,
    find_style_fidelity,
)
from modules.backend.control.adapters.revision import (
    EmbeddingCache,
    Revision,
    RevisionExtension,
    add_noise,
)
from modules.backend.control.adapters.style_adapter import (
    ImageStyles,
    StyleExtension,
    load_style_adapter,
)
from modules.backend.control.adapters.t2i_adapter import (
    T2IAdapterExtension,
    compute_features,
    load_t2i_adapter,
    weigh,
)
from modules.backend.control.adapters.unet_places import transformers_of
from modules.backend.control.hints import make_region, source_image, source_images
from modules.backend.control.unit_effects import Finish, MakeEffect, UnitEffect, UnitInputs
from modules.backend.loading.layers import circular_padding
from modules.images.control.control_results import (
    Pixels,
    with_intensity,
    with_kept_part,
    with_luminance,
)
from modules.images.preprocessors.table import PREPROCESSORS
from modules.models.control.layouts import CONTROL_LLLITE, IP_ADAPTER, T2I_ADAPTER, T2I_STYLE
from modules.params.requests.img2img import Img2ImgRequest

# Of sd-webui-controlnet, where the prompt or the ControlNet is more important.
_SOFT_T2I_WEIGHTS = (0.25, 0.62, 0.825, 1.0)
_PERCENT = 0.01


def _make_t2i_adapter(inputs: UnitInputs) -> UnitEffect:
    planned, unet = inputs.planned, inputs.components.unet
    adapter = inputs.networks.get(
        inputs.model, lambda: load_t2i_adapter(inputs.model, unet.dtype, inputs.device)
    )
    request = inputs.plan.request
    cells = inputs.components.latent_format.cells(request.width, request.height)
    with circular_padding(adapter, enabled=inputs.plan.settings.tiling):
        features = compute_features(adapter, inputs.hint.pixels, cells)
    unit = planned.unit
    weights: Sequence[float] = (
        unit.advanced_weighting
        if unit.advanced_weighting is not None
        else [unit.weight * (soft if planned.is_soft else 1) for soft in _SOFT_T2I_WEIGHTS]
    )
    region = make_region(planned, request)
    return UnitEffect(
        T2IAdapterExtension(
            weigh(features, weights, region),
            inputs.schedule.counts_at,
            is_cond_only=planned.is_cond_only,
        )
    )


def _make_style_adapter(inputs: UnitInputs) -> UnitEffect:
    planned, unet = inputs.planned, inputs.components.unet
    styles = inputs.networks.get(
        inputs.model,
        lambda: ImageStyles(load_style_adapter(inputs.model, unet.dtype, inputs.device)),
    )
    assert planned.image_encoder is not None, "the plan finds one for each style adapter"
    image = np.asarray(source_image(planned, inputs.plan.request).convert("RGB"))
    tokens = styles.get(image, planned.image_encoder, unet.dtype, inputs.device)
    return UnitEffect(StyleExtension(planned.unit.weight * tokens, inputs.schedule.counts_at))


def _make_ip_adapter(inputs: UnitInputs) -> UnitEffect:
    planned, unet = inputs.planned, inputs.components.unet
    prompts = inputs.networks.get(
        inputs.model,
        lambda: ImagePrompts(load_ip_adapter(inputs.model, unet.dtype, inputs.device)),
    )
    assert planned.image_encoder is not None, "the plan finds one for each IP-Adapter"
    encoded = [
        prompts.get(
            np.asarray(image.convert("RGB")), planned.image_encoder, unet.dtype, inputs.device
        )
        for image in source_images(planned, inputs.plan.request)
    ]
    # As sd-webui-controlnet: several pictures are averaged, not concatenated.
    tokens = encoded[0] if len(encoded) == 1 else torch.stack(encoded).mean(dim=0)
    region = make_region(planned, inputs.plan.request)
    extension = ImagePromptExtension(
        ImagePrompt(
            prompts.adapter,
            tokens,
            _layer_weights(inputs),
            None if region is None else region[0, 0],
        ),
        inputs.schedule.counts_at,
    )
    return UnitEffect(extension, extension.use(unet))


def _layer_weights(inputs: UnitInputs) -> tuple[float, ...]:
    """Return the weight of each cross-attention layer; advanced weights are for whole transformers, down, middle, up."""
    unit, unet = inputs.planned.unit, inputs.components.unet
    layers = cross_attentions(unet)
    if unit.advanced_weighting is None:
        return (unit.weight,) * len(layers)
    weights = {
        module: weight
        for transformer, weight in zip(transformers_of(unet), unit.advanced_weighting, strict=True)
        for module in transformer.modules()
    }
    return tuple(weights[layer] for layer in layers)


def _make_lllite(inputs: UnitInputs) -> UnitEffect:
    unet = inputs.components.unet
    lllite = inputs.networks.get(
        inputs.model, lambda: load_lllite(inputs.model, unet.dtype, inputs.device)
    )
    extension = LLLiteExtension(
        lllite, inputs.hint.pixels, inputs.planned.unit.weight, inputs.schedule.counts_at
    )
    return UnitEffect(extension, extension.use(unet))


def make_references(units: Sequence[UnitInputs]) -> UnitEffect:
    """Return what all units with a reference image do: together, since each layer reads all of them at once.

    Args:
        units: At least one.
    """
    components = units[0].components
    references = [_make_reference(inputs) for inputs in units]
    extension = ReferenceExtension(references, _alphas(units[0]))
    return UnitEffect(extension, extension.use(components.unet))


def make_revisions(units: Sequence[UnitInputs]) -> UnitEffect:
    """Return what all units with revision do, together: theirs takes the place of the pooled text once.

    Args:
        units: At least one.
    """
    return UnitEffect(RevisionExtension([_make_revision(inputs) for inputs in units]))


def _make_revision(inputs: UnitInputs) -> Revision:
    planned, request = inputs.planned, inputs.plan.request
    unit, encoder = planned.unit, planned.image_encoder
    assert encoder is not None, "the plan finds one for each revision"
    cache = inputs.networks.get(encoder, lambda: EmbeddingCache(encoder))
    image = np.asarray(source_image(planned, request).convert("RGB"))
    embedding = cache.embed(image, inputs.components.unet.dtype, inputs.device)
    _, noise, _ = PREPROCESSORS.get(planned.module).numbers(-1, unit.threshold_a, -1)
    return Revision(
        add_noise(embedding, noise, [one.seed for one in inputs.images]),
        unit.weight,
        inputs.schedule.counts_at,
        # As sd-webui-controlnet: without a word there is nothing to follow but the picture.
        planned.module == "revision_ignore_prompt"
        or not (request.prompt or request.negative_prompt),
    )


def _alphas(inputs: UnitInputs) -> Tensor:
    """Return the share of signal at each timestep, on the device once for all steps."""
    return inputs.components.alphas_cumprod.to(inputs.device, torch.float32)


def _make_reference(inputs: UnitInputs) -> Reference:
    planned, plan = inputs.planned, inputs.plan
    unit = planned.unit
    _, threshold, _ = PREPROCESSORS.get(unit.module).numbers(-1, unit.threshold_a, -1)
    return Reference(
        _encode_hint(inputs),
        SHARED_PARTS[planned.module],
        unit.weight,
        find_style_fidelity(
            threshold,
            unit.control_mode,
            is_sdxl=inputs.components.family.startswith("SDXL"),
            is_hires_pass=plan.first_pass_evaluations is not None,
        ),
        inputs.schedule.counts_at,
        tuple(image.seed for image in inputs.images),
        planned.index,
    )


def _encode_hint(inputs: UnitInputs) -> Tensor:
    """Return the latents of a unit's control picture, [1, channels, rows, columns]."""
    pixels = vae.image_to_pixels(inputs.hint.image)
    return vae.encode_pixels(inputs.components.vae, pixels)


def make_module_effect(inputs: UnitInputs) -> UnitEffect:
    """Return what a unit's preprocessor does in addition to making its control picture."""
    return UnitEffect(_make_latent_fix(inputs), None, _make_finish(inputs))


def _make_latent_fix(inputs: UnitInputs) -> LatentFix | None:
    """Return what a unit's preprocessor does to the predicted latents, None for nothing."""
    unit = inputs.planned.unit
    name = inputs.planned.module
    is_colour, is_inpainting = name.startswith("tile_colorfix"), name.startswith("inpaint_only")
    if not is_colour and (not is_inpainting or _find_mask(inputs) is None):
        return None
    components = inputs.components
    source = LatentSource(
        _encode_hint(inputs),
        _alphas(inputs),
        components.prediction_type,
        min(max(unit.weight, 0.0), 1.0),
    )
    if is_inpainting:
        mask = _find_mask(inputs)
        assert mask is not None
        return KeptLatents(source, mask)
    _, variation, sharpness = PREPROCESSORS.get(name).numbers(
        -1, unit.threshold_a, unit.threshold_b
    )
    is_hires_pass = inputs.plan.first_pass_evaluations is not None
    # As sd-webui-controlnet: the larger picture of a second pass has twice the radius.
    radius = int(variation) * (2 if is_hires_pass else 1)
    return ColourFix(source, radius, sharpness * _PERCENT)


def _make_finish(inputs: UnitInputs) -> Finish | None:
    """Return what a unit's preprocessor does to a decoded image, None for nothing."""
    name = inputs.planned.module
    is_inpainting = name.startswith("inpaint_only")
    mask = _find_mask(inputs) if is_inpainting else None
    if name not in _FINISHES and mask is None:
        return None
    control = np.asarray(inputs.hint.image)

    def finish(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image.convert("RGB"))
        if mask is not None:
            return Image.fromarray(with_kept_part(pixels, control, mask[0, 0].numpy()))
        return Image.fromarray(_FINISHES[name](pixels, control))

    return finish


def make_channels_effect(inputs: UnitInputs) -> UnitEffect:
    """Return what an inpainting checkpoint without a masked request gets of a unit: its mask and the rest of its picture."""
    components = inputs.components
    latent_channels = components.latent_format.channels
    is_inpainting = components.unet.config["in_channels"] == 2 * latent_channels + 1
    if not is_inpainting or not inputs.planned.masks:
        return UnitEffect()
    mask = _find_mask(inputs)
    if mask is None:
        return UnitEffect()
    pixels = vae.image_to_pixels(inputs.hint.image) * (1 - mask)
    latents = vae.encode_pixels(components.vae, pixels)
    side = components.latent_format.pixels_per_cell
    cells = functional.max_pool2d(mask, side).to(latents)
    return UnitEffect(OtherChannels(torch.cat([cells, latents], dim=1), latent_channels))


# By the preprocessor's name: changes the pixels of a result by those of the control picture.
_FINISHES: Mapping[str, Callable[[Pixels, Pixels], Pixels]] = {
    "recolor_luminance": with_luminance,
    "recolor_intensity": with_intensity,
}


def _find_mask(inputs: UnitInputs) -> Tensor | None:
    """Return the mask outside of which a unit keeps its picture, None where the request itself keeps the rest."""
    request = inputs.plan.request
    if isinstance(request, Img2ImgRequest) and request.has_mask:
        return None
    return inputs.hint.mask


# By the name of a layout of control models.
ADAPTER_MAKERS: Mapping[str, MakeEffect] = {
    T2I_ADAPTER: _make_t2i_adapter,
    T2I_STYLE: _make_style_adapter,
    IP_ADAPTER: _make_ip_adapter,
    CONTROL_LLLITE: _make_lllite,
}

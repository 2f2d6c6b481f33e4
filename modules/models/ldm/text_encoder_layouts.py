"""Layouts of CLIP text encoders in checkpoint files: keys, sizes and defaults, one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from modules.models.ldm.keys import (
    CLIP_PREFIX,
    CLIP_PROJECTION_KEY,
    CLIP_TOKEN_EMBEDDING_KEY,
    COND_STAGE_PREFIX,
    OPEN_CLIP_PREFIX,
    OPEN_CLIP_PROJECTION_KEY,
    OPEN_CLIP_TOKEN_EMBEDDING_KEY,
    find_key,
)

CLIP_KIND, OPEN_CLIP_KIND = "CLIP", "OpenCLIP"


@dataclass(frozen=True)
class TextEncoderLayout:
    """One layout of a CLIP text encoder in files.

    Args:
        name: Identity.
        kind: "CLIP" or "OpenCLIP".
        embedder_class: LDM's class for it, the last part of `target` in a .yaml, without a number at its end.
        prefix: Prefix of every name.
        token_embedding_key: Tensor of shape [vocab_size, hidden_size].
        position_embedding_key: Tensor of shape [max_position_embeddings, hidden_size].
        mlp_key: Tensor of shape [intermediate_size, hidden_size].
        layers_prefix: Prefix of the layers' names, up to the layer number.
        hidden_act: Activation unless the .yaml sets another.
        pad_token_id: The token after the end-of-text token; None repeats the end-of-text token.
        full_layer_count: With fewer layers than this, the layer that is not computed is already missing in the file.
        width: Width of the token embedding that identifies the layout; None matches any width that no other row names.
        projection_key: The projection of the pooled output.
        slot_prefix: What the names start with; see `under`.
    """

    name: str
    kind: str
    embedder_class: str
    prefix: str
    token_embedding_key: str
    position_embedding_key: str
    mlp_key: str
    layers_prefix: str
    hidden_act: str
    pad_token_id: int | None
    full_layer_count: int = 0
    width: int | None = None
    projection_key: str = CLIP_PROJECTION_KEY
    slot_prefix: str = COND_STAGE_PREFIX

    def under(self, slot_prefix: str) -> TextEncoderLayout:
        """Return the layout of a text encoder whose names start with another prefix than LDM's."""
        if slot_prefix == self.slot_prefix:
            return self
        moved = {
            name: slot_prefix + getattr(self, name).removeprefix(self.slot_prefix)
            for name in _NAMES_OF_TENSORS
        }
        return replace(self, slot_prefix=slot_prefix, **moved)


_NAMES_OF_TENSORS = (
    "prefix",
    "token_embedding_key",
    "position_embedding_key",
    "mlp_key",
    "layers_prefix",
    "projection_key",
)

CLIP_LAYOUT = TextEncoderLayout(
    CLIP_KIND,
    CLIP_KIND,
    "FrozenCLIPEmbedder",
    CLIP_PREFIX,
    CLIP_TOKEN_EMBEDDING_KEY,
    CLIP_PREFIX + "embeddings.position_embedding.weight",
    CLIP_PREFIX + "encoder.layers.0.mlp.fc1.weight",
    CLIP_PREFIX + "encoder.layers.",
    "quick_gelu",
    pad_token_id=None,
)
# LDM calls open_clip.tokenize for it, which pads with zeros.
OPEN_CLIP_LAYOUT = TextEncoderLayout(
    OPEN_CLIP_KIND,
    OPEN_CLIP_KIND,
    "FrozenOpenCLIPEmbedder",
    OPEN_CLIP_PREFIX,
    OPEN_CLIP_TOKEN_EMBEDDING_KEY,
    OPEN_CLIP_PREFIX + "positional_embedding",
    OPEN_CLIP_PREFIX + "transformer.resblocks.0.mlp.c_fc.weight",
    OPEN_CLIP_PREFIX + "transformer.resblocks.",
    "gelu",
    pad_token_id=0,
    projection_key=OPEN_CLIP_PROJECTION_KEY,
)
OPEN_CLIP_WIDTH = 1024  # of ViT-H; no CLIP text encoder used with SD is that wide
# ViT-H has 24 layers; the copy for SD 2.x in transformers' layout ends with the 23rd.
OPEN_CLIP_TRANSFORMERS_LAYOUT = replace(
    CLIP_LAYOUT,
    name="OpenCLIP as transformers saves it",
    kind=OPEN_CLIP_KIND,
    embedder_class=OPEN_CLIP_LAYOUT.embedder_class,
    hidden_act=OPEN_CLIP_LAYOUT.hidden_act,
    pad_token_id=OPEN_CLIP_LAYOUT.pad_token_id,
    full_layer_count=24,
    width=OPEN_CLIP_WIDTH,
)
OPEN_CLIP_BIG_G_WIDTH = 1280  # of ViT-bigG, the second text encoder of SDXL
OPEN_CLIP_BIG_G_TRANSFORMERS_LAYOUT = replace(
    OPEN_CLIP_TRANSFORMERS_LAYOUT,
    name="OpenCLIP bigG as transformers saves it",
    full_layer_count=0,
    width=OPEN_CLIP_BIG_G_WIDTH,
)
TEXT_ENCODER_LAYOUTS = (
    OPEN_CLIP_LAYOUT,
    CLIP_LAYOUT,
    OPEN_CLIP_TRANSFORMERS_LAYOUT,
    OPEN_CLIP_BIG_G_TRANSFORMERS_LAYOUT,
)
ClipSkip = Literal["always", "sdxl_clip_l_skip", "never"]


@dataclass(frozen=True)
class TextEncoderSlot:
    """The place of one text encoder in the checkpoints of a family.

    Args:
        prefix: Prefix of its tensors, in place of LDM's "cond_stage_model.".
        config_path: Where `model.params` of the .yaml describes it: dotted, a number for an item of a list.
        name: Of the text encoder, as embeddings and separate files name it.
        has_projection: Whether its pooled output is needed, which a projection of the last layer gives.
        final_norm: Whether the final norm is applied to whatever layer gives the hidden states.
        clip_skip: Whether clip skip has an effect: always, with the option of that name, where it counts from the last
            layer, or never.
        kind: The kind to look for in other files when a checkpoint lacks it; "" is read from the UNet.
        width: Likewise its width.
        layouts: The layouts that it may have.
        donor_prefixes: What its tensors' names may start with in checkpoints of other families that can lend it.
    """

    prefix: str = COND_STAGE_PREFIX
    config_path: str = "cond_stage_config"
    name: str = "text_encoder"
    has_projection: bool = False
    final_norm: bool = True
    clip_skip: ClipSkip = "always"
    kind: str = ""
    width: int = 0
    layouts: tuple[TextEncoderLayout, ...] = TEXT_ENCODER_LAYOUTS
    donor_prefixes: tuple[str, ...] = ()

    def find_in(self, tensors: Mapping[str, HasShape]) -> TextEncoderSlot | None:
        """Return the place of the text encoder in another file, with it alone or a checkpoint; None if it is not there."""
        # With it alone, the names start with LDM's prefix or none.
        for prefix in (COND_STAGE_PREFIX, self.prefix, *self.donor_prefixes):
            place = replace(self, prefix=prefix)
            layout = detect_text_encoder_layout(tensors, place)
            if layout is not None and self.kind in ("", layout.kind):
                return place
        return None


COND_STAGE_SLOT = TextEncoderSlot()  # of SD 1.x and 2.x
CLIP_L_WIDTH = 768
SDXL_CLIP_L_SLOT = TextEncoderSlot(
    "conditioner.embedders.0.",
    "conditioner_config.params.emb_models.0",
    name="clip_l",
    final_norm=False,
    clip_skip="sdxl_clip_l_skip",
    kind=CLIP_KIND,
    width=CLIP_L_WIDTH,
)
SDXL_CLIP_G_SLOT = TextEncoderSlot(
    "conditioner.embedders.1.",
    "conditioner_config.params.emb_models.1",
    name="clip_g",
    has_projection=True,
    final_norm=False,
    clip_skip="never",
    kind=OPEN_CLIP_KIND,
    width=OPEN_CLIP_BIG_G_WIDTH,
    donor_prefixes=(SDXL_CLIP_L_SLOT.prefix,),  # of a refiner
)
# The refiner has the second text encoder of SDXL alone, in the first place.
SDXL_REFINER_SLOT = replace(
    SDXL_CLIP_G_SLOT,
    prefix=SDXL_CLIP_L_SLOT.prefix,
    config_path=SDXL_CLIP_L_SLOT.config_path,
    donor_prefixes=(SDXL_CLIP_G_SLOT.prefix,),
)


class HasShape(Protocol):
    """A tensor, or its entry in a header."""

    @property
    def shape(self) -> Sequence[int]:
        """Return the size of each axis."""
        ...


def detect_text_encoder_layout(
    tensors: Mapping[str, HasShape], slot: TextEncoderSlot = COND_STAGE_SLOT
) -> TextEncoderLayout | None:
    """Return the layout of a file's text encoder, None when it has none.

    Args:
        tensors: Of the file.
        slot: The place of the text encoder; in a file with a text encoder alone, the names start with LDM's prefix or
            none.
    """
    matches = [
        layout
        for layout in (row.under(slot.prefix) for row in slot.layouts)
        if (key := find_key(tensors, layout.token_embedding_key))
        and (layout.width is None or tuple(tensors[key].shape[1:]) == (layout.width,))
    ]
    return max(matches, key=lambda layout: layout.width is not None, default=None)

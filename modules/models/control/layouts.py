"""CONTROL_LAYOUTS: the layouts of files of control models, each recognised by names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from modules.models.control import ip_adapter, style_adapter, t2i_adapter
from modules.models.files.header import Header, TensorInfo
from modules.models.key_condition import KeyCondition, first_row

CONTROLNET = "ControlNet"
CONTROLNET_DIFFUSERS = "ControlNet (diffusers)"
CONTROLNET_DIFFERENCE = "ControlNet difference"
CONTROLNET_UNION = "ControlNet Union"
CONTROL_LORA = "Control-LoRA"
CONTROL_LLLITE = "ControlLLLite"
T2I_ADAPTER = "T2I-Adapter"
T2I_STYLE = "T2I style adapter"
IP_ADAPTER = "IP-Adapter"
# Copies of a UNet's encoder half.
CONTROLNET_LAYOUTS = (
    CONTROLNET,
    CONTROLNET_DIFFUSERS,
    CONTROLNET_DIFFERENCE,
    CONTROLNET_UNION,
    CONTROL_LORA,
)

# By the width of what cross-attention attends to.
_FAMILY_OF_WIDTH = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL refiner"}
# The layers that get pooled text and sizes; only SDXL has them.
_SIZE_LAYERS = ("add_embedding.linear_1.", "label_emb.0.0.")
_OUTPUT_LAYERS = ("zero_convs.", "controlnet_down_blocks.")
_T2I_OUTPUTS = 4
_SDXL_LAYERS, _SDXL_TRANSFORMERS = 70, 11
_HINT_KEY = "*input_hint_block.0.weight"


class ControlBase(NamedTuple):
    """The checkpoints that a control model was made for.

    Args:
        family: Name of a row of FAMILIES, without its inpainting and other special ones; "" where the file fits several.
        context_width: Width of the text that cross-attention gets; 0 where the file does not say.
    """

    family: str = ""
    context_width: int = 0


@dataclass(frozen=True)
class ControlLayout:
    """One row of CONTROL_LAYOUTS.

    Args:
        name: Identity.
        conditions: A file is of the layout when any of these matches.
        find_base: Tells from a header which checkpoints the model is for.
        precedes: Names of layouts that a file is only of when it is not of this one; where no row names another, the
            first one in the table decides.
        count_outputs: Tells from a header how many weights a unit may give to the model's outputs; 0 for none.
        find_error: Tells from a header why a file of the layout cannot be used, as the rest of a sentence that begins with
            its name, or "".
    """

    name: str
    conditions: tuple[KeyCondition, ...]
    find_base: Callable[[Header], ControlBase]
    precedes: tuple[str, ...] = ()
    count_outputs: Callable[[Header], int] = lambda header: count_outputs(header)
    find_error: Callable[[Header], str] = lambda _: ""


def detect_layout(header: Header) -> ControlLayout | None:
    """Return the layout of a file, None when no row matches."""
    return first_row(
        row for row in CONTROL_LAYOUTS if any(one.matches(header) for one in row.conditions)
    )


def find_layout(name: str) -> ControlLayout:
    """Return the layout of a name."""
    return next(row for row in CONTROL_LAYOUTS if row.name == name)


def count_outputs(header: Header) -> int:
    """Return how many outputs a ControlNet adds to its UNet, that of the middle included; 0 for other models."""
    layers = [
        name
        for name in header.tensors
        if name.endswith("weight") and any(part in name for part in _OUTPUT_LAYERS)
    ]
    return len(layers) + 1 if layers else 0


def _of_unet_copy(header: Header) -> ControlBase:
    """Return the base of a model that is a copy of a UNet's encoder half, or changes one."""
    width = _last_size(header.tensors, ("attn2.to_k.weight", "attn2.to_k.down"))
    if any(part in name for name in header.tensors for part in _SIZE_LAYERS):
        return ControlBase("SDXL refiner" if width == 1280 else "SDXL", width)
    family = _FAMILY_OF_WIDTH.get(width, "")
    if not family:
        projection = next(
            (info for name, info in header.tensors.items() if name.endswith("proj_in.weight")), None
        )
        is_linear = projection is not None and len(projection.shape) == 2
        family = "SD 2.x" if is_linear else "SD 1.x"  # as in families: SD 2.x alone has linear ones
    return ControlBase(family, width)


def _of_lllite(header: Header) -> ControlBase:
    """Return the base of a ControlLLLite: only SDXL has a second transformer block in a layer."""
    is_sdxl = any("_transformer_blocks_1_" in name for name in header.tensors)
    return ControlBase("SDXL" if is_sdxl else "SD 1.x")


def _of_t2i_adapter(header: Header) -> ControlBase:
    """Return the base of a T2I-Adapter: SDXL's divides the image into squares of 16 pixels, the others into squares of 8."""
    inputs = _last_size(header.tensors, ("conv_in.weight", "body.0.in_conv.weight"))
    return ControlBase("SDXL" if inputs in (256, 768) else "SD 1.x")


def _of_style_adapter(header: Header) -> ControlBase:
    """Return the base of a style adapter, by the width of its tokens."""
    facts = style_adapter.read_facts(header.tensors)
    width = 0 if isinstance(facts, str) else facts.context_width
    return ControlBase(_FAMILY_OF_WIDTH.get(width, "SD 1.x"), width)


def _of_ip_adapter(header: Header) -> ControlBase:
    """Return the base of an IP-Adapter, by the width of the image's tokens."""
    width = _last_size(header.tensors, (".to_k_ip.weight", ".to_k_ip.0.weight"))
    return ControlBase(_FAMILY_OF_WIDTH.get(width, "SD 1.x"), width)


def _count_transformers(header: Header) -> int:
    """Return how many transformers an IP-Adapter adds to: those of SDXL have several layers."""
    facts = ip_adapter.read_facts(header.tensors)
    layers = 0 if isinstance(facts, str) else facts.layer_count
    return _SDXL_TRANSFORMERS if layers == _SDXL_LAYERS else layers


def _ip_adapter_error(header: Header) -> str:
    facts = ip_adapter.read_facts(header.tensors)
    return facts if isinstance(facts, str) else ""


def _style_adapter_error(header: Header) -> str:
    facts = style_adapter.read_facts(header.tensors)
    return facts if isinstance(facts, str) else ""


def _t2i_adapter_error(header: Header) -> str:
    facts = t2i_adapter.read_facts(header.tensors)
    return facts if isinstance(facts, str) else ""


def _last_size(tensors: Mapping[str, TensorInfo], ends: tuple[str, ...]) -> int:
    """Return the number of inputs of the first layer whose name ends so, 0 without one."""
    shapes = (info.shape for name, info in tensors.items() if name.endswith(ends))
    shape = next(shapes, ())
    return shape[1] if len(shape) > 1 else 0


CONTROL_LAYOUTS: tuple[ControlLayout, ...] = (
    # Stability's: up and down of each layer, for the base's own weights; all else in full.
    ControlLayout(CONTROL_LORA, (KeyCondition(has=("lora_controlnet", _HINT_KEY)),), _of_unet_copy),
    # What was trained less the weights of the base that it was trained from.
    ControlLayout(
        CONTROLNET_DIFFERENCE, (KeyCondition(has=("difference", _HINT_KEY)),), _of_unet_copy
    ),
    # Of github.com/lllyasviel/ControlNet, under `control_model.` or without a prefix.
    ControlLayout(CONTROLNET, (KeyCondition(has=(_HINT_KEY,)),), _of_unet_copy),
    # One model for several kinds of hints, of github.com/xinsir6/ControlNetPlus.
    ControlLayout(
        CONTROLNET_UNION,
        (KeyCondition(has=("task_embedding", "controlnet_cond_embedding.conv_in.weight")),),
        _of_unet_copy,
    ),
    ControlLayout(
        CONTROLNET_DIFFUSERS,
        (KeyCondition(has=("controlnet_cond_embedding.conv_in.weight",)),),
        _of_unet_copy,
    ),
    ControlLayout(CONTROL_LLLITE, (KeyCondition(has=("lllite_unet*",)),), _of_lllite),
    ControlLayout(
        IP_ADAPTER,
        (
            KeyCondition(has=("ip_adapter.*",)),
            KeyCondition(has=("*.to_k_ip.weight",)),
            KeyCondition(has=("*.to_k_ip.0.weight",)),  # of a UNet that diffusers saved with it
        ),
        _of_ip_adapter,
        count_outputs=_count_transformers,
        find_error=_ip_adapter_error,
    ),
    ControlLayout(
        T2I_ADAPTER,
        (
            KeyCondition(has=("body.0.block1.weight",)),
            KeyCondition(has=("body.0.in_conv.weight",)),
            KeyCondition(has=("adapter.body.0.*",)),
        ),
        _of_t2i_adapter,
        count_outputs=lambda _: _T2I_OUTPUTS,
        find_error=_t2i_adapter_error,
    ),
    ControlLayout(
        T2I_STYLE,
        (KeyCondition(has=style_adapter.STYLE_KEYS),),
        _of_style_adapter,
        find_error=_style_adapter_error,
    ),
)

"""Keys of the autoencoder: diffusers' names, those of LDM, and which of them a file has."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from modules.models.ldm.keys import DIFFUSERS_VAE_KEY, VAE_PREFIX

_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
# Of the VAE's attention, as diffusers named them before 0.15.
_OLD_VAE_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_LDM_NAME = re.compile(r"(?:encoder|decoder|quant_conv|post_quant_conv)\..+")
_UP_BLOCK = re.compile(r"decoder\.up_blocks\.(\d+)\.")


def vae_key(key: str, level_count: int) -> str:
    """Return LDM's key of a parameter of AutoencoderKL.

    Args:
        key: As in its state dict.
        level_count: Number of resolutions of the autoencoder; LDM counts the decoder's in reverse.
    """
    half, _, rest = key.partition(".")
    block, _, tail = rest.partition(".")
    if block == "mid_block":
        part, index, leaf = tail.split(".", 2)
        if part == "attentions":
            return f"{VAE_PREFIX}{half}.mid.attn_1.{rename_module(leaf, _VAE_ATTENTION)}"
        return f"{VAE_PREFIX}{half}.mid.block_{int(index) + 1}.{leaf}"
    if block in ("down_blocks", "up_blocks"):
        number, part, index, leaf = tail.split(".", 3)
        down = block == "down_blocks"
        level = int(number) if down else level_count - 1 - int(number)
        direction = "down" if down else "up"
        leaf = leaf.replace("conv_shortcut", "nin_shortcut")
        inner = f"block.{index}" if part == "resnets" else f"{direction}sample"
        return f"{VAE_PREFIX}{half}.{direction}.{level}.{inner}.{leaf}"
    return VAE_PREFIX + key.replace("conv_norm_out", "norm_out")


def diffusers_vae_key(key: str, names: Container[str]) -> str:
    """Return the key of a parameter of AutoencoderKL in a file that diffusers saved.

    Args:
        key: As in its state dict.
        names: All keys of the file.
    """
    if key in names or ".attentions." not in key:
        return key
    start, _, leaf = key.partition(".attentions.")
    number, _, rest = leaf.partition(".")
    return f"{start}.attentions.{number}.{rename_module(rest, _OLD_VAE_ATTENTION)}"


def rename_module(name: str, table: dict[str, str]) -> str:
    """Return the name of a parameter whose module has another name in a table."""
    module, _, parameter = name.rpartition(".")
    return f"{table.get(module, module)}.{parameter}"


def find_vae_keys(names: Iterable[str]) -> dict[str, str]:
    """Return the keys of the autoencoder in a file by their names in LDM's checkpoints.

    Args:
        names: All keys of the file: of a VAE or a checkpoint, as LDM or as diffusers names them.
    """
    names = list(names)
    if DIFFUSERS_VAE_KEY not in names:
        in_ldm = ((name.removeprefix(VAE_PREFIX), name) for name in names)
        return {VAE_PREFIX + short: name for short, name in in_ldm if _LDM_NAME.fullmatch(short)}
    levels = {match[1] for match in map(_UP_BLOCK.match, names) if match}
    current = {old: new for new, old in _OLD_VAE_ATTENTION.items()}
    found: dict[str, str] = {}
    for name in names:
        start, attention, leaf = name.partition(".attentions.")
        number, _, rest = leaf.partition(".")
        spelled = (
            f"{start}.attentions.{number}.{rename_module(rest, current)}" if attention else name
        )
        if _LDM_NAME.fullmatch(name):
            found[vae_key(spelled, len(levels))] = name
    return found

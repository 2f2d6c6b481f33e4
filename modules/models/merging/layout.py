"""The tensors of a merged checkpoint, known from headers alone: where each comes from, its shape and its dtype."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from modules.core.errors import UserError
from modules.models.files.dtypes import STORAGE_DTYPES, byte_count
from modules.models.files.header import Header, TensorInfo
from modules.models.ldm.keys import UNET_INPUT_KEY
from modules.models.ldm.vae_keys import find_vae_keys
from modules.models.merging.discard import discard_names
from modules.models.merging.recipes import Recipe
from modules.models.merging.sources import MergeSource, check_sources

# What A1111 merges: UNet, text encoders and autoencoder, not the noise schedule.
_MERGED_PART = "model"
_FLOATS = ("F64", "F32", "BF16", "F16")  # widest first
_FLOAT8 = "F8_"
_SCALE_SUFFIXES = ("scale_weight", "scale_input")  # next to a weight in 8 bits
_SCALED_MARK = "scaled_fp8"


@dataclass(frozen=True)
class ResultTensor:
    """One tensor of a merged checkpoint.

    Args:
        name: Its name there.
        info: Its shape and dtype there.
        a: Its key in A, "" for a tensor of a separate VAE.
        b: Its key in B where B is merged into it.
        c: Its key in C where B and C are; "" with Add difference means that there is no difference.
        vae: Its key in the VAE's file that takes its place.
        channels: Only so many input channels are merged; 0 for all.
        is_merged: Whether it is computed by the recipe's formula.
    """

    name: str
    info: TensorInfo
    a: str = ""
    b: str = ""
    c: str = ""
    vae: str = ""
    channels: int = 0
    is_merged: bool = False

    @property
    def size_bytes(self) -> int:
        """Return its size in the file."""
        return byte_count(self.info.dtype, math.prod(self.info.shape))


@dataclass(frozen=True)
class VaeSource:
    """A VAE that is baked into the result.

    Args:
        name: Of the file, for messages.
        header: Of the file.
    """

    name: str
    header: Header


@dataclass(frozen=True)
class MergeOptions:
    """What of a request counts for the tensors.

    Args:
        recipe: How they are made.
        save_as_half: Whether they are saved as float16.
        discard: A regular expression; tensors in whose names it is found are left out.
    """

    recipe: Recipe
    save_as_half: bool = False
    discard: str = ""


@dataclass(frozen=True)
class ResultLayout:
    """The tensors of a merged checkpoint.

    Args:
        tensors: In the order of A's file.
        extra_input: What A's UNet gets in addition to the latents where the others' gets nothing; "" for no such difference.
        discarded_count: How many tensors the pattern leaves out.
    """

    tensors: tuple[ResultTensor, ...]
    extra_input: str = ""
    discarded_count: int = 0

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Return shapes and dtypes by name."""
        return {tensor.name: tensor.info for tensor in self.tensors}

    @property
    def size_bytes(self) -> int:
        """Return the size of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)


def lay_out_result(
    sources: tuple[MergeSource, ...], options: MergeOptions, vae: VaeSource | None = None
) -> ResultLayout:
    """Return the tensors of a result.

    Args:
        sources: A, and B and C as far as the recipe needs them.
        options: How they are merged.
        vae: Takes the place of A's VAE.

    Raises:
        UserError: the checkpoints cannot be merged, the VAE does not fit, or the pattern is not valid.
    """
    a, *others = sources
    check_sources(a, *others)
    tensors = list(_Rows(sources, options.recipe).rows())
    if vae is not None:
        tensors = _with_vae(tensors, vae, a)
    tensors = [_in_half(tensor, options) for tensor in tensors] if options.save_as_half else tensors
    tensors = _without_scales(tensors, a)
    discarded = discard_names(options.discard, [tensor.name for tensor in tensors])
    kept = tuple(tensor for tensor in tensors if tensor.name not in discarded)
    if not kept:
        raise UserError(
            f"The pattern '{options.discard}' discards every tensor.", "Use a narrower one."
        )
    is_partial = any(tensor.channels for tensor in tensors)
    return ResultLayout(kept, a.family.extra_input if is_partial else "", len(discarded))


def check_ckpt_dtypes(layout: ResultLayout) -> None:
    """Check that a .ckpt can hold a result.

    Raises:
        UserError: it has no name for a dtype.
    """
    unknown = {info.dtype for info in layout.infos.values()} - set(STORAGE_DTYPES.values())
    if unknown:
        raise UserError(
            f"A .ckpt file cannot hold tensors of the type {min(unknown)}.",
            "Save it as safetensors.",
        )


@dataclass(frozen=True)
class _Rows:
    """Makes the rows of A's tensors."""

    sources: tuple[MergeSource, ...]
    recipe: Recipe
    keys: tuple[dict[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(source.keys() for source in self.sources))

    def rows(self) -> Iterator[ResultTensor]:
        for name, key in self.keys[0].items():
            info = self.sources[0].header.tensors[key]
            row = ResultTensor(name, info, a=key)
            if _is_merged(name, info) and self._has_formula(name):
                row = self._merge(row)
            elif self.recipe.has_loras:  # changed weights in 8 bits would lose what the LoRA adds
                row = replace(row, info=info._replace(dtype=_computed(info.dtype)))
            yield row

    def _has_formula(self, name: str) -> bool:
        """Return whether the recipe has a formula for a tensor of A: one that B has, too, where there is a B."""
        if len(self.keys) > 1:
            return name in self.keys[1]
        return self.recipe.formula is not None

    def _merge(self, row: ResultTensor) -> ResultTensor:
        if len(self.sources) == 1:
            info = row.info._replace(dtype=_computed(row.info.dtype))
            return replace(row, info=info, is_merged=True)
        a, b, *rest = self.sources
        key = self.keys[1][row.name]
        info = b.header.tensors[key]
        channels = _shared_channels(row, info, a)
        dtypes = [row.info.dtype, info.dtype]
        if not channels and not _fits(row.info.shape, info.shape):
            raise _make_shape_error(row, info, b)
        other = ""
        for c, keys in zip(rest, self.keys[2:], strict=True):
            other = keys.get(row.name, "")
            if other:
                third = c.header.tensors[other]
                dtypes.append(third.dtype)
                if not _fits(info.shape, third.shape):
                    raise _make_shape_error(replace(row, info=info, b=key), third, c)
        dtype = _promote(dtypes)
        info = row.info._replace(dtype=dtype)
        return replace(row, info=info, b=key, c=other, channels=channels, is_merged=True)


def _is_merged(name: str, info: TensorInfo) -> bool:
    """Return whether B's tensor of that name is merged into A's."""
    is_number = info.dtype in _FLOATS or info.dtype.startswith(_FLOAT8)
    is_scale = name.endswith(
        _SCALE_SUFFIXES
    )  # belongs to a weight, and is applied before it is merged
    return is_number and _MERGED_PART in name and not is_scale


def _shared_channels(row: ResultTensor, other: TensorInfo, a: MergeSource) -> int:
    """Return how many channels of A's input convolution the others have, 0 where that is all of them."""
    shape = row.info.shape
    if row.name != UNET_INPUT_KEY or not a.family.extra_input or len(shape) != 4:
        return 0
    fewer = other.shape[:1] + other.shape[2:] == shape[:1] + shape[2:]
    return other.shape[1] if fewer and other.shape[1] < shape[1] else 0


def _fits(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two tensors have the same values; a 1x1 convolution and a linear layer are interchangeable."""
    return _without_kernel(shape) == _without_kernel(other)


def _without_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1, 1) else shape


def _make_shape_error(row: ResultTensor, other: TensorInfo, source: MergeSource) -> UserError:
    return UserError(
        f"{source.label} has {row.name} of the size {list(other.shape)} where {list(row.info.shape)} is needed.",
        "Choose checkpoints with the same layers.",
    )


def _computed(dtype: str) -> str:
    """Return the dtype that values of a dtype are computed in: there is no arithmetic in 8 bits."""
    return "F16" if dtype.startswith(_FLOAT8) else dtype


def _promote(dtypes: list[str]) -> str:
    """Return the dtype of a sum, by the rules of torch."""
    computed = {_computed(dtype) for dtype in dtypes}
    if computed == {"F16", "BF16"}:
        return "F32"
    return min(
        computed, key=lambda dtype: _FLOATS.index(dtype) if dtype in _FLOATS else len(_FLOATS)
    )


def _with_vae(tensors: list[ResultTensor], vae: VaeSource, a: MergeSource) -> list[ResultTensor]:
    """Return the tensors with those of a VAE in place of A's; where A has none, they are added."""
    try:
        keys = find_vae_keys(vae.header.tensors)
    except ValueError:
        keys = {}
    if not keys:
        raise UserError(f"'{vae.name}' is no VAE.", "Choose another VAE, or None.")
    by_name = {tensor.name: tensor for tensor in tensors}
    is_added = not any(name in by_name for name in keys)
    for name, key in keys.items():
        info = vae.header.tensors[key]
        if name in by_name:
            row = by_name[name]
            if not _fits(row.info.shape, info.shape):
                raise UserError(
                    f"The VAE '{vae.name}' has {name} of the size {list(info.shape)}, {a.label} has"
                    f" {list(row.info.shape)}.",
                    "Choose another VAE, or None.",
                )
            info = TensorInfo(row.info.shape, info.dtype)
            by_name[name] = replace(row, info=info, b="", c="", vae=key, is_merged=False)
        elif is_added:
            by_name[name] = ResultTensor(name, info, vae=key)
    return list(by_name.values())


def _in_half(tensor: ResultTensor, options: MergeOptions) -> ResultTensor:
    """Return a tensor as it is saved in float16: as A1111 does, only what was merged, or with one model everything."""
    dtype = tensor.info.dtype
    is_float = dtype in _FLOATS or dtype.startswith(_FLOAT8)
    is_scale = tensor.name.endswith(_SCALE_SUFFIXES)
    is_changed = tensor.is_merged or tensor.vae or options.recipe.converts_all
    if is_float and not is_scale and is_changed:
        return replace(tensor, info=tensor.info._replace(dtype="F16"))
    return tensor


def _without_scales(tensors: list[ResultTensor], a: MergeSource) -> list[ResultTensor]:
    """Return the tensors without the scales of weights that are no longer in 8 bits."""
    kept8 = {tensor.name for tensor in tensors if tensor.info.dtype.startswith(_FLOAT8)}
    kept8.discard(_SCALED_MARK)
    had8 = any(info.dtype.startswith(_FLOAT8) for info in a.header.tensors.values())
    if not had8:
        return tensors
    return [
        tensor
        for tensor in tensors
        if not (
            (tensor.name.endswith(_SCALE_SUFFIXES) and _weight_of(tensor.name) not in kept8)
            or (tensor.name == _SCALED_MARK and not kept8)
        )
    ]


def _weight_of(scale: str) -> str:
    return f"{scale.rpartition('.')[0]}.weight"

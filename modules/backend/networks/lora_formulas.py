"""LORA_FORMULAS: how each format of LORA_FORMATS changes a weight, one formula a row.

A formula takes the parts of a layer, all in the dtype to compute in, and the weight W as it is by then, in float32. It
returns the change for a scale and a weight of 1, in any shape with as many values; its dtype is the one that the sum
with W is rounded to. Compared with the forward passes of LyCORIS 4.1 and with pictures of A1111.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.backend.loading.scratch import Scratch

Parts = Mapping[str, Tensor]


@dataclass(frozen=True)
class LoraFormula:
    """One row of LORA_FORMULAS.

    Args:
        change: Returns the change of the weight.
        rank_part: The parts whose number of rows is the rank, by which alpha is divided; the first that is there.
        is_scaled: Whether alpha is a scale; of OFT it is a limit.
        bias_part: The part that is added to the bias.
    """

    change: Callable[[Parts, Tensor], Tensor]
    rank_part: tuple[str, ...] = ()
    is_scaled: bool = True
    bias_part: str = ""

    def scale(self, parts: Parts) -> float:
        """Return the factor that the file gives the change: its scale, or else alpha / rank."""
        if not self.is_scaled:
            return 1.0
        if "scale" in parts:
            return float(parts["scale"].flatten()[0])
        rank = next((parts[name].shape[0] for name in self.rank_part if name in parts), 0)
        return float(parts["alpha"].flatten()[0]) / rank if rank and "alpha" in parts else 1.0


def multiply(parts: Parts, scratch: Scratch) -> Tensor:
    """Return the change of a plain LoRA: up @ down.

    Of a convolution `down` has its kernel, unless a core in the middle has it (LoCon, tucker).

    Args:
        parts: Of the layer.
        scratch: Where the result may be.
    """
    up, down = parts["lora_up.weight"].flatten(1), parts["lora_down.weight"]
    core = parts.get("lora_mid.weight")
    if core is not None:
        return torch.einsum("nmkl,in,mj->ijkl", core, up, down.flatten(1))
    columns = down.flatten(1)
    product = scratch.take((up.shape[0], columns.shape[1]), up.dtype, up.device)
    return torch.mm(up, columns, out=product).reshape(up.shape[0], *down.shape[1:])


def _lora(parts: Parts, weight: Tensor) -> Tensor:
    """up @ down."""
    del weight
    return multiply(parts, Scratch())


def _loha(parts: Parts, weight: Tensor) -> Tensor:
    """The product, value by value, of two low-rank matrices (FedPara, arXiv 2108.06098)."""
    del weight
    factors = [
        _low_rank(parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"], parts.get(f"hada_t{n}"))
        for n in (1, 2)
    ]
    return factors[0] * factors[1]


def _lokr(parts: Parts, weight: Tensor) -> Tensor:
    """The Kronecker product of two matrices, each whole or of low rank (LyCORIS, arXiv 2309.14859)."""
    del weight
    w1, w2 = (
        parts[f"lokr_w{n}"]
        if f"lokr_w{n}" in parts
        else _low_rank(parts[f"lokr_w{n}_a"], parts[f"lokr_w{n}_b"], parts.get(f"lokr_t{n}"))
        for n in (1, 2)
    )
    w1 = w1.reshape(*w1.shape, *[1] * (w2.dim() - w1.dim()))
    return torch.kron(w1, w2.contiguous())


def _low_rank(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    if core is None:
        return a @ b
    return torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _ia3(parts: Parts, weight: Tensor) -> Tensor:
    """Each output, or each input, is multiplied (arXiv 2205.05638)."""
    factors = parts["weight"].flatten()
    on_input = "on_input" in parts and bool(parts["on_input"].flatten()[0])
    kernel = [1] * (weight.dim() - 2)
    return weight * factors.reshape((1, -1, *kernel) if on_input else (-1, 1, *kernel))


def _full(parts: Parts, weight: Tensor) -> Tensor:
    """The difference itself."""
    del weight
    return parts["diff"]


def _norm(parts: Parts, weight: Tensor) -> Tensor:
    """The difference of a norm's weight."""
    del weight
    return parts["w_norm"]


def _glora(parts: Parts, weight: Tensor) -> Tensor:
    """b2 @ b1 + W @ a2 @ a1 as A1111 reads it, or b1 @ b2 + W @ a1 @ a2 as LyCORIS writes it now."""
    w = weight.flatten(1)
    a1, a2, b1, b2 = (parts[f"{name}.weight"].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    if a1.shape[0] == w.shape[1] != a2.shape[0]:
        a1, a2, b1, b2 = a2, a1, b2, b1
    return b2 @ b1 + (w.to(a2.dtype) @ a2) @ a1


def _oft(parts: Parts, weight: Tensor) -> Tensor:
    """The outputs are rotated in blocks (arXiv 2306.07280), or after several permutations (BOFT, arXiv 2311.06243)."""
    blocks = parts["oft_diag"] if "oft_diag" in parts else parts["oft_blocks"]
    rotations = blocks.to(weight.dtype)
    if "oft_diag" not in parts:
        limit = parts["alpha"].flatten()[0] * weight.shape[0] if "alpha" in parts else None
        rotations = _cayley(blocks, limit, weight.dtype)
    w = weight.flatten(1)
    rotated = _rotate_blocks(rotations, w) if blocks.dim() == 3 else _butterfly(rotations, w)
    if "rescale" in parts:
        rotated = rotated * parts["rescale"].reshape(-1, 1)
    return rotated - w


def _cayley(blocks: Tensor, limit: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the rotations (I + Q)(I - Q)^-1 with Q = B - B^T, whose norm over all blocks is limited unless by 0."""
    q = blocks - blocks.transpose(-1, -2)
    if limit is not None and bool(limit != 0):
        norm = torch.linalg.vector_norm(q)
        q = q * ((norm.clamp(max=limit) + 1e-8) / (norm + 1e-8))
    identity = torch.eye(q.shape[-1], device=q.device, dtype=dtype)
    return (identity + q) @ torch.linalg.inv(identity - q)


def _rotate_blocks(rotations: Tensor, w: Tensor) -> Tensor:
    """Return the rows of W rotated block by block: out[k, m] = sum over n of R[k, n, m] W[k, n]."""
    rows = w.reshape(rotations.shape[0], rotations.shape[1], -1)
    return torch.einsum("knm,kni->kmi", rotations, rows).reshape(w.shape)


def _butterfly(rotations: Tensor, w: Tensor) -> Tensor:
    """Return the rows of W rotated m times, each time in blocks of rows that are twice as far apart."""
    count, size = rotations.shape[1], rotations.shape[2]
    for level, rotation in enumerate(rotations):
        distance = 2**level * (size // 2)
        paired = w.reshape(-1, 2, distance, w.shape[1]).transpose(1, 2).reshape(w.shape)
        rotated = torch.einsum("bij,bjk->bik", rotation, paired.reshape(count, size, -1))
        w = rotated.reshape(-1, distance, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)
    return w


LORA_FORMULAS: Mapping[str, LoraFormula] = {
    "LoRA": LoraFormula(_lora, ("lora_down.weight",)),
    "LoHa": LoraFormula(_loha, ("hada_w1_b",)),
    "LoKr": LoraFormula(_lokr, ("lokr_w2_b", "lokr_w1_b")),
    "IA3": LoraFormula(_ia3),
    "full": LoraFormula(_full, bias_part="diff_b"),
    "norm": LoraFormula(_norm, bias_part="b_norm"),
    "GLoRA": LoraFormula(_glora),
    "OFT": LoraFormula(_oft, is_scaled=False),
}


def limit_rank(parts: Parts, rank: int | None) -> Parts:
    """Return the parts of a plain LoRA layer with its first ranks alone; alpha stays divided by the full rank."""
    if rank is None or "lora_mid.weight" in parts:
        return parts
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    return {**parts, "lora_up.weight": up[:, :rank], "lora_down.weight": down[:rank]}


def add_bias(change: Tensor, parts: Parts) -> Tensor:
    """Return the change with the part that LyCORIS calls a bias, sparse or not, though it is added to the weight.

    Raises:
        RuntimeError: it does not fit.
        IndexError: likewise.
    """
    if "bias" in parts:
        change = change + parts["bias"].to(change.dtype).reshape(change.shape)
    if "bias_indices" not in parts:
        return change
    size = tuple(int(length) for length in parts["bias_size"])
    if math.prod(size) != change.numel():
        raise RuntimeError("a bias of another size")
    dense = torch.zeros(size, dtype=change.dtype, device=change.device)
    dense[tuple(parts["bias_indices"].long())] = parts["bias_values"].to(change.dtype)
    return change + dense.reshape(change.shape)


def decompose(weight: Tensor, change: Tensor, magnitudes: Tensor) -> Tensor:
    """Return the change of DoRA (arXiv 2402.09353): W + change gets these norms.

    The norms are those of each input's column where the magnitudes have the shape [1, in, ...], as LyCORIS and A1111
    have it, and those of each output's row where they have [out, 1, ...] or [out].
    """
    weight, magnitudes = weight.to(change.dtype), magnitudes.to(change.dtype)
    merged = weight + change
    axis = 1 if magnitudes.dim() > 1 and magnitudes.shape[0] == 1 else 0
    shape = [1] * weight.dim()
    shape[axis] = -1
    norms = merged.transpose(0, axis).flatten(1).norm(dim=1).reshape(shape)
    return merged * (magnitudes.reshape(shape) / norms) - weight

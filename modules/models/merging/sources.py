"""The files that a merge reads, by their headers, and whether they can be merged."""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.errors import UserError
from modules.models.families import Family
from modules.models.files.header import Header

# Another spelling of the keys of CLIP, without "text_model.", which some merged files have.
_SHORT_CLIP, _CLIP = (
    "cond_stage_model.transformer.",
    "cond_stage_model.transformer.text_model.",
)
_CLIP_MODULES = ("embeddings.", "encoder.", "final_layer_norm.")
_EXTRA_INPUTS = {
    "inpaint": "an inpainting model",
    "ip2p": "an InstructPix2Pix model",
    "depth": "a depth model",
    "": "a normal model",
}


@dataclass(frozen=True)
class MergeSource:
    """One of the checkpoints A, B and C.

    Args:
        letter: "A", "B" or "C".
        name: Of the file, for messages.
        family: Its row of FAMILIES.
        header: Of the file.
    """

    letter: str
    name: str
    family: Family
    header: Header

    @property
    def label(self) -> str:
        """Return how messages call it."""
        return f"{self.letter} ('{self.name}')"

    def keys(self) -> dict[str, str]:
        """Return its keys in the order of the file, by the names that the result gives them."""
        return {canonical_name(key): key for key in self.header.tensors}


def canonical_name(key: str) -> str:
    """Return the name of a tensor in LDM's checkpoints that has a spelling of its own in the file."""
    rest = key.removeprefix(_SHORT_CLIP)
    return _CLIP + rest if rest != key and rest.startswith(_CLIP_MODULES) else key


def check_sources(a: MergeSource, *others: MergeSource) -> None:
    """Check that checkpoints are of one architecture, and that A has every channel that the others have.

    Args:
        a: The checkpoint that the others are merged into.
        others: B, or B and C.

    Raises:
        UserError: they cannot be merged.
    """
    for other in others:
        if other.family.network_family != a.family.network_family:
            raise UserError(
                f"{a.label} is {a.family.name} and {other.label} is {other.family.name}: their layers differ.",
                f"Choose checkpoints of {a.family.network_family} alone.",
            )
    inputs = {other.family.extra_input for other in others}
    if len(inputs) > 1:
        b, c = others
        raise UserError(
            f"{b.label} is {_kind(b)} and {c.label} {_kind(c)}: there is no difference between their inputs.",
            "Choose two of the same kind as B and C.",
        )
    for other in others:
        if other.family.extra_input in ("", a.family.extra_input):
            continue
        if not a.family.extra_input:
            raise UserError(
                f"{other.label} is {_kind(other)} and {a.label} is not.",
                f"Choose '{other.name}' as A.",
            )
        raise UserError(
            f"{a.label} is {_kind(a)} and {other.label} {_kind(other)}.",
            "Choose a normal model in place of one of them.",
        )


def _kind(source: MergeSource) -> str:
    return _EXTRA_INPUTS[source.family.extra_input]

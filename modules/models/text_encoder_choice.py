"""Chooses files that supply the text encoders which a checkpoint lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from modules.models.checkpoint import Checkpoint
from modules.models.families import Family
from modules.models.ldm.text_encoder_layouts import COND_STAGE_SLOT, TextEncoderSlot
from modules.models.text_encoders import TextEncoderFile, TextEncoderInfo

FOLDER = "models/text_encoder"
Donors = Mapping[tuple[TextEncoderInfo, str], Sequence[TextEncoderFile]]


@dataclasses.dataclass(frozen=True)
class TextEncoderChoice:
    """The text encoders that are installed.

    Args:
        files: Returns the files in the folders for text encoders, sorted by name; also those without one.
        donors: Full checkpoints whose text encoder others can use, by what they contain and the name of its place, best
            first.
        get_family: Returns the family of a checkpoint.
    """

    files: Callable[[], Sequence[TextEncoderFile]]
    donors: Donors
    get_family: Callable[[Checkpoint], Family]

    def choose(self, checkpoint: Checkpoint) -> tuple[TextEncoderFile | None, ...]:
        """Return the file for each text encoder; None for one that the checkpoint contains, or that no file has.

        A file with the checkpoint's name comes first, then the others in the folders by name, then the donors.
        """
        if checkpoint.includes_text_encoders:
            return (None,) * len(checkpoint.text_encoders)
        slots = self.get_family(checkpoint).text_encoders
        return tuple(
            None if info.is_included else self._choose(info, slot, checkpoint)
            for info, slot in zip(checkpoint.text_encoders, slots, strict=True)
        )

    def find_error(self, checkpoint: Checkpoint) -> str:
        """Return why there is no file for a missing text encoder and which one to add where, or ""."""
        chosen = self.choose(checkpoint)
        for info, file in zip(checkpoint.text_encoders, chosen, strict=True):
            if not info.is_included and file is None:
                return f"'{checkpoint.file_name}' lacks its text encoder. {self._hint(info)}"
        return ""

    def _choose(
        self, needed: TextEncoderInfo, slot: TextEncoderSlot, checkpoint: Checkpoint
    ) -> TextEncoderFile | None:
        stem = checkpoint.path.stem.casefold()
        matching = [file for file in self.files() if file.info == needed.required]
        matching.sort(key=lambda file: file.path.stem.casefold() != stem)
        # The first text encoder of SDXL is that of SD 1.x, which may be trained further.
        names = dict.fromkeys((slot.name, COND_STAGE_SLOT.name))
        donors = [f for name in names for f in self.donors.get((needed.required, name), ())]
        candidates = (*matching, *donors)
        existing = (file.with_current_stamp() for file in candidates)
        return next((file for file in existing if file is not None), None)

    def _hint(self, needed: TextEncoderInfo) -> str:
        unusable = [
            f"'{file.name}' there {file.problem or f'is {file.info}'}." for file in self.files()
        ]
        return " ".join([f"Put {needed} into {FOLDER}.", *unusable[:3]])


def find_donors(
    checkpoints: Iterable[Checkpoint], get_family: Callable[[Checkpoint], Family]
) -> Donors:
    """Return the checkpoints whose text encoder others can use, by kind of text encoder and the name of its place.

    A donor has its text encoder where a file with a text encoder alone has it, or in a place with a name of its own.
    """
    donors: dict[tuple[TextEncoderInfo, str], list[TextEncoderFile]] = {}
    complete = (c for c in checkpoints if c.includes_text_encoders and not c.error)
    # Families without extra input first: training for an extra input may have changed the text encoder.
    for c in sorted(complete, key=lambda c: bool(get_family(c).extra_input)):
        for info, slot in zip(c.text_encoders, get_family(c).text_encoders, strict=True):
            if slot.prefix == COND_STAGE_SLOT.prefix or slot.name != COND_STAGE_SLOT.name:
                file = TextEncoderFile(
                    c.name, c.path, c.size_bytes, c.modified_ns, c.config, info, is_checkpoint=True
                )
                donors.setdefault((info, slot.name), []).append(file)
    return donors

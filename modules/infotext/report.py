"""The report of reading an infotext: unknown keys, keys without effect, missing files, other differences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnappliedKey:
    """An infotext key that has no effect here.

    Args:
        key: As spelled in the infotext.
        value: As spelled in the infotext.
        reason: One sentence; "" for an unknown key.
    """

    key: str
    value: str
    reason: str = ""

    def __str__(self) -> str:
        """Return key, value and reason as a sentence."""
        return f"{self.key} ({self.value}): {self.reason or 'this key is unknown.'}"


@dataclass(frozen=True)
class InfotextReport:
    """What of an infotext could not be applied.

    Args:
        origin: The program that wrote it, with its version if known.
        unknown_keys: Keys that are not known here.
        unapplied_keys: Known keys without effect here, each with the reason.
        missing_files: Required files that were not found, each as a sentence that says which to get.
        differences: Sentences about other expected differences.
    """

    origin: str = ""
    unknown_keys: tuple[UnappliedKey, ...] = ()
    unapplied_keys: tuple[UnappliedKey, ...] = ()
    missing_files: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def messages(self) -> list[str]:
        """Return the whole report as sentences, the most serious first."""
        keys = [*self.unapplied_keys, *self.unknown_keys]
        return [*self.missing_files, *self.differences, *map(str, keys)]

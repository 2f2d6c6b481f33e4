"""What a reader tells beside the request: what was not understood, not applied, not there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnappliedKey:
    """One key of an infotext that does not do what it did where the picture was made.

    Args:
        key: As the text spells it.
        value: As the text spells it.
        reason: One sentence; "" when nobody here knows the key.
    """

    key: str
    value: str
    reason: str = ""

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.key} ({self.value}): {self.reason or 'nothing here knows this key.'}"


@dataclass(frozen=True)
class InfotextReport:
    """How far an infotext could be followed.

    Args:
        origin: The program that wrote it, with its version where it is told.
        unknown_keys: Keys that nothing here knows.
        unapplied_keys: Keys that are known and have no effect here, each with the reason.
        missing_files: Files that are needed and not there, each as a sentence that says which to get.
        differences: What else will not be the same, as sentences.
    """

    origin: str = ""
    unknown_keys: tuple[UnappliedKey, ...] = ()
    unapplied_keys: tuple[UnappliedKey, ...] = ()
    missing_files: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def messages(self) -> list[str]:
        """Return all of it, the gravest first."""
        found = [*self.unapplied_keys, *self.unknown_keys]
        return [*self.missing_files, *self.differences, *map(str, found)]

"""Takes the networks that a prompt asks for, such as `<lora:name:0.8>`, out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NETWORK = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class ExtraNetwork:
    """A network that a prompt asks for.

    Args:
        kind: What stands first, such as "lora".
        args: What follows between colons; the first one is the network's name.
    """

    kind: str
    args: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return how the prompt spells it."""
        return f"<{':'.join((self.kind, *self.args))}>"


def extract_networks(prompt: str) -> tuple[str, tuple[ExtraNetwork, ...]]:
    """Return the prompt without its networks, and the networks in order."""
    found = [
        ExtraNetwork(match[1], tuple(match[2].split(":"))) for match in _NETWORK.finditer(prompt)
    ]
    return _NETWORK.sub("", prompt), tuple(found)

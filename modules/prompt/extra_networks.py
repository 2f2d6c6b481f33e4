"""Extracts extra networks such as `<lora:name:0.8>` from a prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NETWORK = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class ExtraNetwork:
    """An extra network in a prompt.

    Args:
        kind: Its type, such as "lora".
        args: Its arguments, separated by colons; the first is the network's name.
    """

    kind: str
    args: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the network as written in the prompt."""
        return f"<{':'.join((self.kind, *self.args))}>"


def extract_networks(prompt: str) -> tuple[str, tuple[ExtraNetwork, ...]]:
    """Return the prompt without its networks, and the networks in order."""
    networks = [
        ExtraNetwork(match[1], tuple(match[2].split(":"))) for match in _NETWORK.finditer(prompt)
    ]
    return _NETWORK.sub("", prompt), tuple(networks)

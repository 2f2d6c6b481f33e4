"""Extracts extra networks such as `<lora:name:0.8>` from a prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NETWORK = re.compile(r"<(\w+):([^>]+)>")


class BadArgument(Exception):
    """An argument of a network is not a number; the text says which, as the rest of a sentence."""


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

    @property
    def name(self) -> str:
        """Return the network's name."""
        return self.args[0].strip()

    @property
    def positional(self) -> tuple[str, ...]:
        """Return the arguments after the name that have no name of their own: those without exactly one "="."""
        return tuple(arg for arg in self.args[1:] if arg.count("=") != 1)

    @property
    def named(self) -> Mapping[str, str]:
        """Return the arguments such as `te=0.5`; the last of a name counts."""
        pairs = (arg.split("=") for arg in self.args[1:] if arg.count("=") == 1)
        return {name.strip(): value for name, value in pairs}

    def number(self, position: int, name: str, default: float) -> float:
        """Return the named argument, or else the one at a position after the name, from 0, or the default.

        Raises:
            BadArgument: it is not a finite number.
        """
        positional = self.positional
        text = positional[position] if position < len(positional) else None
        text = self.named.get(name, text)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadArgument(f"its weight '{text.strip()}' is not a number.")
        return value


def extract_networks(prompt: str) -> tuple[str, tuple[ExtraNetwork, ...]]:
    """Return the prompt without its networks, and the networks in order."""
    networks = [
        ExtraNetwork(match[1], tuple(match[2].split(":"))) for match in _NETWORK.finditer(prompt)
    ]
    return _NETWORK.sub("", prompt), tuple(networks)

"""Speaking to the terminal during the set-up, in order with what the tools it runs print."""

from __future__ import annotations


def echo(text: str) -> None:
    """Print a line now, before the next tool prints its own."""
    print(text, flush=True)

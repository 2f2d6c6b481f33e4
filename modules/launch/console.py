"""Prints to the terminal during the set-up, in order with the output of child processes."""

from __future__ import annotations


def echo(text: str) -> None:
    """Print a line and flush it, before the next child process prints."""
    print(text, flush=True)

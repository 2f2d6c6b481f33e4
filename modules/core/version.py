"""The program's name and version, as in pyproject.toml."""

from __future__ import annotations

NAME = "stable-diffusion-webui"
VERSION = "0.1.0"

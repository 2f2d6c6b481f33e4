"""The lists of LoRA files, in A1111's shape, and what its page asks about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.models.files.header import read_header
from modules.models.networks.network_kinds import LORA

# A1111 lists these first, in this order, and leaves out the pictures.
_METADATA_ORDER = {
    "ss_sd_model_name": 1,
    "ss_resolution": 2,
    "ss_clip_skip": 3,
    "ss_num_train_images": 10,
    "ss_tag_frequency": 20,
}
_PICTURES = ("ssmd_cover_images",)
_LAST = 999


def loras_router(engine: Engine) -> APIRouter:
    """Return the routes of LoRA files."""
    router = CheckedRouter(prefix="/sdapi/v1")
    networks = engine.models.networks

    @router.get("/loras")
    def loras() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for file in networks.files(LORA):
            with suppress(WebUIError):  # A1111 does not list what it cannot read either
                rows.append(
                    {
                        "name": file.network_name,
                        "alias": file.alias,
                        "path": file.shown_path,
                        "metadata": describe_metadata(read_header(file.path).metadata),
                    }
                )
        return rows

    @router.post("/refresh-loras")
    def refresh_loras() -> None:
        networks.refresh(LORA)

    return router


def describe_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return a file's metadata as A1111 lists them: objects parsed, pictures left out, the telling ones first."""
    ordered = sorted(metadata.items(), key=lambda item: _METADATA_ORDER.get(item[0], _LAST))
    return {key: _parse(value) for key, value in ordered if key not in _PICTURES}


def _parse(value: str) -> Any:
    if value.startswith("{"):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value

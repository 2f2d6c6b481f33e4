"""A1111's routes behind its cards of extra networks: pictures and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from modules.api.json_check import CheckedRouter
from modules.api.sdapi.loras import describe_metadata
from modules.core.errors import NotFound, WebUIError
from modules.core.text import find_path
from modules.engine.engine import Engine
from modules.engine.networks.cards import NetworkCard
from modules.engine.networks.thumbnails import read_picture
from modules.models.files.header import read_header
from modules.models.networks.network_kinds import LORA

# A1111's names of its pages.
_KIND_OF_PAGE = {"lora": LORA, "textual inversion": "Embedding", "hypernetworks": "Hypernetwork"}


def extra_networks_router(engine: Engine) -> APIRouter:
    """Return the routes below /sd_extra_networks."""
    router = CheckedRouter(prefix="/sd_extra_networks")
    cards = engine.networks

    @router.get("/thumb")
    def thumb(filename: str = "") -> Response:
        """Return the picture of a card by its path; any other path is no picture of a card."""
        card = cards.find_preview(find_path(filename)) if filename else None
        if card is None or card.preview is None:
            raise NotFound(f"'{filename}' is no picture of an extra network.")
        return FileResponse(Path(card.preview), headers={"Accept-Ranges": "bytes"})

    @router.get("/cover-images")
    def cover_image(page: str = "", item: str = "", index: int = 0) -> Response:
        card = _find(page, item)
        if card is None or not card.has_cover or index != 0:
            return Response(status_code=404)
        return Response(read_picture(card))

    @router.get("/metadata")
    def metadata(page: str = "", item: str = "") -> dict[str, Any]:
        """Return the metadata of a file as text in JSON, {} where there are none."""
        card = _find(page, item)
        found: Mapping[str, str] = {}
        if card is not None:
            with suppress(WebUIError):
                found = read_header(card.file.path).metadata
        text = json.dumps(describe_metadata(found), indent=4, ensure_ascii=False)
        return {"metadata": text} if found else {}

    def _find(page: str, item: str) -> NetworkCard | None:
        kind = _KIND_OF_PAGE.get(page.lower().replace("_", " "))
        return next((card for card in cards.all() if card.kind == kind and card.name == item), None)

    return router

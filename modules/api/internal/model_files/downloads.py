"""Routes of the Models tab: the catalogue, and downloads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from modules.api.json_check import CheckedRouter
from modules.engine.downloads.download import Download
from modules.engine.downloads.names import shown_address
from modules.engine.downloads.tokens import TOKEN_HOSTS
from modules.engine.engine import Engine


class Address(BaseModel):
    """What is downloaded."""

    url: str
    kind: str = "Checkpoint"
    name: str = ""
    sha256: str = ""


class Token(BaseModel):
    """The token of a host; "" removes it."""

    host: str
    token: str


def downloads_router(engine: Engine) -> APIRouter:
    """Return the routes of the downloads, below /internal/downloads."""
    router = CheckedRouter(prefix="/internal/downloads", include_in_schema=False)
    downloads = engine.downloads

    @router.get("")
    def overview() -> dict[str, Any]:
        return {
            "is_allowed": downloads.is_allowed,
            "catalogue": [asdict(entry) for entry in downloads.catalogue],
            "installed": [entry.id for entry in downloads.catalogue if downloads.has(entry)],
            "token_hosts": TOKEN_HOSTS,
            "tokens": downloads.tokens.hosts(),
            "downloads": [_download(one) for one in downloads.snapshot()],
        }

    @router.get("/progress")
    def progress() -> dict[str, Any]:
        return {"downloads": [_download(one) for one in downloads.snapshot()]}

    @router.post("/official/{entry_id}")
    def add_official(entry_id: str) -> dict[str, Any]:
        return _download(downloads.add_official(entry_id))

    @router.post("/address")
    def add_address(body: Address) -> dict[str, Any]:
        return _download(downloads.add_address(body.url, body.kind, body.name, body.sha256))

    @router.post("/token")
    def set_token(body: Token) -> dict[str, Any]:
        downloads.tokens.set(body.host, body.token.strip())
        return {"tokens": downloads.tokens.hosts()}

    @router.post("/items/{download_id}/pause")
    def pause(download_id: str) -> dict[str, Any]:
        downloads.pause(download_id)
        return {}

    @router.post("/items/{download_id}/resume")
    def resume(download_id: str) -> dict[str, Any]:
        downloads.resume(download_id)
        return {}

    @router.post("/items/{download_id}/remove")
    def remove(download_id: str) -> dict[str, Any]:
        downloads.remove(download_id)
        return {}

    return router


def _download(download: Download) -> dict[str, Any]:
    return {
        "id": download.id,
        "name": download.shown_name,
        "kind": download.kind,
        "address": shown_address(download.addresses[0]),
        "state": download.state,
        "received": download.received,
        "size": download.size_bytes,
        "error": download.error,
        "note": download.note,
    }

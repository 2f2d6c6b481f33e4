"""Routes of the Models tab: the installed files, by ids."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from modules.api.json_check import CheckedRouter
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.model_shelf import ModelShelf, ShelfRow
from modules.engine.model_sidecars import read_notes
from modules.engine.model_use import last_use, make_model_shelf, prediction_of
from modules.models.checkpoint import Checkpoint

_HASH_TIMEOUT_S = 20


class NewName(BaseModel):
    """The new name of a file."""

    name: str


class NewNotes(BaseModel):
    """The notes about a file."""

    notes: str


def models_router(engine: Engine) -> APIRouter:
    """Return the routes of the installed files, below /internal/models."""
    router = CheckedRouter(prefix="/internal/models", include_in_schema=False)
    shelf = make_model_shelf(engine)

    @router.get("")
    def overview() -> dict[str, Any]:
        used = last_use(engine)
        loaded = engine.device_status.checkpoint
        return {
            "kinds": [
                kind.name for kind in engine.models.kinds if engine.models.folders(kind.name)
            ],
            "files": [_row(row, shelf.find_problem(row), loaded, used) for row in shelf.rows()],
            "trash": [asdict(entry) for entry in shelf.list_trashed()],
        }

    @router.post("/refresh")
    def refresh() -> dict[str, Any]:
        shelf.refresh()
        return overview()

    @router.get("/files/{row_id}")
    def details(row_id: str) -> dict[str, Any]:
        file = shelf.find(row_id).file
        notes = read_notes(file.path)
        return {
            "path": file.shown_path,
            "config": escape(file.config.name) if file.config else "",
            "prediction": prediction_of(engine, file),
            "description": notes.description,
            "notes": notes.notes,
            "warning": file.name_warning,
        }

    @router.post("/files/{row_id}/hash")
    def sha256(row_id: str) -> dict[str, Any]:
        return {"sha256": shelf.sha256(row_id, _HASH_TIMEOUT_S)}

    @router.get("/files/{row_id}/preview")
    def preview(row_id: str) -> Response:
        return FileResponse(shelf.preview(row_id), headers={"Cache-Control": "private, max-age=60"})

    _add_changes(router, shelf)
    return router


def _add_changes(router: APIRouter, shelf: ModelShelf) -> None:
    @router.post("/files/{row_id}/rename")
    def rename(row_id: str, body: NewName) -> dict[str, Any]:
        return {"id": shelf.rename(row_id, body.name)}

    @router.post("/files/{row_id}/notes")
    def set_notes(row_id: str, body: NewNotes) -> dict[str, Any]:
        shelf.set_notes(row_id, body.notes)
        return {}

    @router.post("/files/{row_id}/move")
    def move(row_id: str) -> dict[str, Any]:
        return {"id": shelf.move_home(row_id)}

    @router.post("/files/{row_id}/convert")
    def convert(row_id: str) -> dict[str, Any]:
        shelf.convert(row_id)
        return {}

    @router.post("/files/{row_id}/delete")
    def delete(row_id: str) -> dict[str, Any]:
        return asdict(shelf.delete(row_id))

    @router.post("/trash/{trash_id}/restore")
    def restore(trash_id: str) -> dict[str, Any]:
        shelf.restore(trash_id)
        return {}

    @router.post("/trash/{trash_id}/erase")
    def erase(trash_id: str) -> dict[str, Any]:
        shelf.erase(trash_id)
        return {}


def _row(row: ShelfRow, problem: str, loaded: str, used: dict[str, float]) -> dict[str, Any]:
    file = row.file
    checkpoint = file if isinstance(file, Checkpoint) else None
    return {
        "id": row.id,
        "kind": row.kind.name,
        "name": file.name,
        "size": file.size_bytes,
        "family": checkpoint.family if checkpoint else "",
        "error": problem,
        "hash": checkpoint.short_hash if checkpoint else "",
        "has_config": file.config is not None,
        "has_preview": row.preview is not None,
        "is_loaded": checkpoint is not None and file.name == loaded,
        "is_shipped": row.is_shipped,
        "last_used": used.get(file.name, 0) if checkpoint else 0,
    }

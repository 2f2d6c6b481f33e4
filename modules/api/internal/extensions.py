"""Routes of the Extensions tab, and the files that extensions serve.

What installs, enables or removes code is for a browser on this machine alone, unless a flag says otherwise.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, ClassVar

from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, Request, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.api.page_files import media_type_of
from modules.api.security.local_client import is_on_this_machine
from modules.api.server import restart_server
from modules.core.errors import NotFound, UserError, WebUIError
from modules.core.flags import Flags
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.extensions.install import Installed
from modules.engine.extensions.shelf import ExtensionRow


class Forbidden(WebUIError):
    """A client on another machine tries to change the code that runs on this one."""

    status_code: ClassVar[int] = 403


class ExtensionName(BaseModel):
    """The id of an extension."""

    id: str = Field(max_length=300)


class ExtensionSwitch(ExtensionName):
    """Whether the next start loads an extension."""

    is_enabled: bool


class AllSwitch(BaseModel):
    """Whether the next start loads no extension at all."""

    are_disabled: bool


class NewExtension(BaseModel):
    """Where an extension is installed from, and that the user has confirmed the risk."""

    path: str = Field("", max_length=2000)
    address: str = Field("", max_length=2000)
    accepts_code: bool = False


def extensions_router(
    engine: Engine, flags: Flags, restart_requested: threading.Event
) -> APIRouter:
    """Return the routes below /internal/extensions, and those of the files that extensions serve.

    Args:
        engine: Knows the extensions.
        flags: Whether other machines may install them, and whether the server is behind a proxy.
        restart_requested: Set to restart the server.
    """
    router = CheckedRouter(include_in_schema=False)

    def has_access(request: Request) -> bool:
        if flags.enable_insecure_extension_access:
            return True
        # Behind a proxy that sends no header every client seems to be local.
        return is_on_this_machine(request) and not flags.root_path

    def require_access(request: Request) -> None:
        if not has_access(request):
            raise Forbidden(
                "Extensions run any code, so they are installed, enabled and removed on the machine that the server "
                "runs on.",
                "Open the page there, or start the server with --enable-insecure-extension-access.",
            )

    @router.get("/internal/extensions")
    def overview(request: Request) -> dict[str, Any]:
        rows = engine.extensions.rows()
        return {
            "extensions": [_row_json(row) for row in rows],
            "may_change": has_access(request),
            "may_download": engine.downloads.is_allowed,
            "can_restart": has_access(request) and os.name != "nt",
            "all_disabled": engine.extensions.choice.all_are_disabled(),
            "none_loaded": not flags.loads_extensions,
            "folder": escape(str(engine.paths.extensions)),
        }

    changes = CheckedRouter(
        prefix="/internal/extensions",
        dependencies=[Depends(require_access)],
        include_in_schema=False,
    )
    _add_changes(changes, engine, restart_requested)
    router.routes.extend(changes.routes)

    @router.get("/extensions/{extension_id}/{name:path}")
    def asset(extension_id: str, name: str) -> FileResponse:
        """Return a file of an extension's folder `assets`; browsers ask each time whether it has changed."""
        file = _asset(engine.extensions.assets(extension_id), name)
        headers = {"cache-control": "no-cache"}
        return FileResponse(file, media_type=media_type_of(name), headers=headers)

    return router


def _add_changes(router: APIRouter, engine: Engine, restart_requested: threading.Event) -> None:
    shelf = engine.extensions
    lock = threading.Lock()  # two at once could both find a name free

    @router.post("/enable")
    def enable(body: ExtensionSwitch) -> dict[str, Any]:
        shelf.set_enabled(body.id, body.is_enabled)
        return {}

    @router.post("/disable-all")
    def disable_all(body: AllSwitch) -> dict[str, Any]:
        shelf.choice.set_all_disabled(body.are_disabled)
        return {}

    @router.post("/install")
    def install(body: NewExtension) -> dict[str, Any]:
        """Install a folder of this machine, or a clone of a git repository."""
        _check_accepted(body.accepts_code)
        with lock:
            if body.address:
                return _installed_json(shelf.install_git(body.address))
            return _installed_json(shelf.install_folder(body.path))

    @router.post("/upload")
    def upload(
        file: UploadFile = File(),  # noqa: B008 - FastAPI's way
        accepts_code: bool = Form(False),
    ) -> dict[str, Any]:
        """Install a zip or a script."""
        _check_accepted(accepts_code)
        with lock:
            return _installed_json(shelf.install_file(file.filename or "", file.file))

    @router.post("/remove")
    def remove(body: ExtensionName) -> dict[str, Any]:
        return {"kept_as": escape(str(shelf.remove(body.id)))}

    @router.post("/restart")
    def restart(tasks: BackgroundTasks) -> dict[str, Any]:
        restart_server(restart_requested, tasks)
        return {}


def _check_accepted(accepts_code: bool) -> None:
    if not accepts_code:
        raise UserError(
            "An extension runs any code with the rights of the user who started the server.",
            "Accept that first.",
        )


def _installed_json(installed: Installed) -> dict[str, Any]:
    return {"name": installed.name, "needs": installed.needs}


def _row_json(row: ExtensionRow) -> dict[str, Any]:
    source = row.source
    return {
        "id": escape(source.id),
        "name": source.name,
        "kind": source.kind,
        "version": source.version,
        "path": escape(str(source.path)) if source.path else source.distribution,
        "state": row.state,
        "reason": row.reason,
        "is_enabled": row.is_enabled,
        "waits_for_restart": row.waits_for_restart,
        "adds": row.adds,
        "seconds": round(row.seconds, 3),
        "problems": [
            {"sentence": problem.sentence, "traceback": problem.traceback}
            for problem in row.problems
        ],
        "needs": row.needs,
    }


def _asset(folder: Path, name: str) -> Path:
    """Return a file below a folder; links must not lead out of it."""
    root = folder.resolve()
    try:
        file = (root / name).resolve()
        is_there = file.is_relative_to(root) and file.is_file()
    except (OSError, ValueError):  # a loop of links, or a NUL in the name
        is_there, file = False, root
    if not is_there:
        raise NotFound(f"The extension has no file '{name}' in its folder assets.")
    return file

"""Routes of the Gallery tab; images are known by ids alone."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from modules.api.image_files import CACHE_FOREVER
from modules.api.json_check import CheckedRouter
from modules.api.zip_stream import stream_zip
from modules.core.errors import NotFound
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.gallery.image_search import ImageSearch
from modules.infotext.text_format import parse_infotext

_MAX_PAGE = 500
_MAX_IMAGES = 5000  # in one action
_MAX_TICKETS = 20
_MAX_PROMPT = 200  # characters that a list shows


class Images(BaseModel):
    """Ids of images."""

    ids: list[str] = Field(max_length=_MAX_IMAGES)


class Mark(Images):
    """Images that become favourites, or no longer are."""

    on: bool


class _Search(BaseModel):
    """The query of a list; see `ImageSearch`."""

    text: str = Field("", max_length=4000)
    folder: str = Field("", max_length=4000)
    model: str = Field("", max_length=4000)
    sampler: str = Field("", max_length=4000)
    size: str = Field("", max_length=20)
    since: str = Field("", max_length=20)
    until: str = Field("", max_length=20)
    favourites: bool = False
    trashed: bool = False
    oldest_first: bool = False
    cursor: str = Field("", max_length=60)
    limit: int = Field(200, ge=1, le=_MAX_PAGE)


def gallery_router(engine: Engine) -> APIRouter:
    """Return the routes of the Gallery tab, below /internal."""
    router = CheckedRouter(prefix="/internal/gallery", include_in_schema=False)
    gallery = engine.gallery

    @router.get("/state")
    def state() -> dict[str, Any]:
        """Tell how far the index is, and have it brought up to date."""
        scan = gallery.watch()
        kept, trashed = gallery.counts()
        return {**scan.__dict__, "count": kept, "trashed": trashed}

    @router.get("/facets")
    def facets() -> dict[str, Any]:
        return dict(gallery.facets())

    @router.post("/favourite")
    def favourite(body: Mark) -> dict[str, Any]:
        gallery.set_favourite(body.ids, body.on)
        return {}

    @router.post("/trash")
    def trash(body: Images) -> dict[str, Any]:
        return {"ids": gallery.trash(body.ids)}

    @router.post("/restore")
    def restore(body: Images) -> dict[str, Any]:
        return {"ids": gallery.restore(body.ids)}

    @router.post("/erase")
    def erase(body: Images) -> dict[str, Any]:
        return {"count": gallery.erase(body.ids)}

    @router.post("/empty-trash")
    def empty_trash() -> dict[str, Any]:
        return {"count": gallery.empty_trash()}

    _add_list(router, engine)
    _add_image_routes(router, engine)
    _add_zip_routes(router, engine)
    return router


def _add_list(router: APIRouter, engine: Engine) -> None:
    @router.get("/images")
    def images(search: Annotated[_Search, Query()]) -> dict[str, Any]:
        """Return a page of a search; its first page says how many images there are."""
        wanted = ImageSearch(**search.model_dump(exclude={"cursor", "limit"}))
        revision = engine.gallery.revision  # before the rows: what changes now is asked for again
        page = engine.gallery.page(wanted, search.cursor, search.limit)
        return {
            "images": [_row_to_json(row) for row in page.rows],
            "cursor": page.cursor,
            "total": page.total,
            "revision": revision,
        }


def _row_to_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "v": row["mtime_ns"] // 10**6,  # a changed file has another address
        "width": row["width"],
        "height": row["height"],
        "name": row["name"],
        "prompt": row["prompt"][:_MAX_PROMPT],
        "favourite": bool(row["is_favourite"]),
        "readonly": row["root"] != "outputs",
    }


def _add_image_routes(router: APIRouter, engine: Engine) -> None:
    @router.get("/images/{image_id}")
    def image(image_id: str, download: bool = False) -> Response:
        path = engine.gallery.find(image_id).path
        name = escape(path.name) if download else None
        return FileResponse(path, headers=CACHE_FOREVER, filename=name)

    @router.get("/images/{image_id}/thumbnail")
    def thumbnail(image_id: str) -> Response:
        data = engine.gallery.thumbnail(image_id)
        return Response(data, media_type="image/jpeg", headers=CACHE_FOREVER)

    @router.get("/images/{image_id}/facts")
    def facts(image_id: str) -> dict[str, Any]:
        """Return the details that the page shows of one image."""
        found = engine.gallery.find(image_id)
        row = found.row
        infotext = parse_infotext(row["infotext"])
        return {
            **_row_to_json(row),
            "file": engine.paths.display(found.path),
            "modified": row["mtime_ns"] / 10**9,
            "bytes": row["bytes"],
            "infotext": row["infotext"],
            "prompt": infotext.prompt,
            "negative": infotext.negative_prompt,
            "pairs": list(infotext.pairs.items()),
            "trashed": bool(row["is_trashed"]),
        }


def _add_zip_routes(router: APIRouter, engine: Engine) -> None:
    # A browser saves only what it gets by an address, and the ids of many images are too long for one.
    tickets: OrderedDict[str, Sequence[str]] = OrderedDict()

    @router.post("/zip")
    def prepare(body: Images) -> dict[str, Any]:
        """Check the images and return the ticket of their archive."""
        for image_id in body.ids:
            engine.gallery.find(image_id)
        ticket = secrets.token_urlsafe(16)
        tickets[ticket] = body.ids
        while len(tickets) > _MAX_TICKETS:
            tickets.popitem(last=False)
        return {"ticket": ticket}

    @router.get("/zip/{ticket}")
    def archive(ticket: str) -> Response:
        ids = tickets.pop(ticket, None)
        if ids is None:
            raise NotFound("There is no such archive.", "Press Zip again.")
        paths: list[Path] = [engine.gallery.find(image_id).path for image_id in ids]
        headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
        return StreamingResponse(stream_zip(paths), media_type="application/zip", headers=headers)

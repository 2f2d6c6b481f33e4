"""Routes of what the page shows of a job: its images, its grid, and what can be done with them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from modules.api.image_files import CACHE_FOREVER, image_path
from modules.api.job_json import make_image_id, progress_to_json, seed_to_json
from modules.api.json_check import CheckedRouter
from modules.api.security.local_client import is_on_this_machine
from modules.api.zip_stream import stream_zip
from modules.core.errors import NotFound, UserError
from modules.core.file_manager import file_manager, open_folder
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.page.describe import describe_image
from modules.engine.page.job_images import (
    expected_size,
    find_depth_map,
    find_grid,
    find_image,
    image_size,
    values_to_send,
)
from modules.engine.page.uploads import make_upload_store
from modules.params.results import GeneratedImage

_MAX_IMAGES = 1000  # in one archive


class ShownImage(BaseModel):
    """The id of a finished image."""

    image: str = Field(max_length=200)


class UploadedImage(BaseModel):
    """The id of an upload."""

    upload: str = Field(max_length=200)


def output_router(engine: Engine) -> APIRouter:
    """Return the routes of a job's output, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.get("/jobs/{job_id}/result")
    def result(job_id: str, request: Request) -> dict[str, Any]:
        """Return a job's progress, and all images so far whose files are still there."""
        status = engine.status(job_id)
        images = [
            _image_json(engine, job_id, position, image)
            for position, image in enumerate(status.images)
            if image.path.is_file()
        ]
        grid = find_grid(engine, job_id)
        return {
            **progress_to_json(status, engine.queue),
            "pictures": images,
            "grid": engine.paths.display(grid) if grid else "",
            "size": expected_size(engine, job_id),
            "has_table": engine.groups.table(job_id) is not None,
            "shows_cells": engine.groups.shows_cells(job_id),
            "has_depth_map": bool(find_depth_map(engine, job_id)),
            "opens_folders": is_on_this_machine(request) and bool(file_manager()),
        }

    @router.get("/jobs/{job_id}/images/{position}")
    def image(job_id: str, position: int) -> dict[str, Any]:
        """Return one of a job's images, such as that of a cell."""
        return _image_json(engine, job_id, position, find_image(engine, job_id, position))

    @router.get("/jobs/{job_id}/values/{position}")
    def values(job_id: str, position: int) -> dict[str, Any]:
        """Return what another form takes over from an image."""
        found = values_to_send(engine, job_id, position)
        return {**found, "seed": seed_to_json(found["seed"])} if "seed" in found else found

    @router.post("/open-folder")
    def open_image_folder(body: ShownImage, request: Request) -> dict[str, Any]:
        """Open the folder of an image on the screen of this machine, if the browser is on it, too."""
        if not is_on_this_machine(request):
            raise UserError(
                "A folder opens only on the machine that the server runs on.",
                "Download the picture instead.",
            )
        open_folder(image_path(engine, body.image).parent)
        return {}

    @router.post("/interrogate")
    def interrogate(body: UploadedImage) -> dict[str, Any]:
        """Return a caption of an upload; A1111's Interrogate."""
        data = make_upload_store(engine).read(body.upload)
        return {"prompt": describe_image(engine, data)}

    _add_files(router, engine)
    return router


def _add_files(router: APIRouter, engine: Engine) -> None:
    @router.get("/jobs/{job_id}/grid")
    def grid(job_id: str) -> Response:
        path = find_grid(engine, job_id)
        if path is None:
            raise NotFound("This job has no grid any more.")
        return FileResponse(path, headers=CACHE_FOREVER)

    @router.get("/jobs/{job_id}/depth-map")
    def depth_map(job_id: str) -> Response:
        data = find_depth_map(engine, job_id)
        if not data:
            raise NotFound("This job has no depth map any more.")
        return Response(data, media_type="image/png", headers=CACHE_FOREVER)

    @router.get("/jobs/{job_id}/zip")
    def archive(job_id: str, images: str = Query(max_length=6 * _MAX_IMAGES)) -> Response:
        """Return images of a job as a zip archive.

        Args:
            job_id: The job.
            images: Their positions, separated by commas.
        """
        positions = [int(part) for part in images.split(",") if part.isdecimal()]
        paths = [find_image(engine, job_id, position).path for position in positions]
        headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
        return StreamingResponse(stream_zip(paths), media_type="application/zip", headers=headers)


def _image_json(
    engine: Engine, job_id: str, position: int, image: GeneratedImage
) -> dict[str, Any]:
    width, height = image_size(image)
    return {
        "id": make_image_id(job_id, position),
        "position": position,
        "kind": image.kind,
        "seed": seed_to_json(image.seed),
        "width": width,
        "height": height,
        "infotext": image.infotext,
        "file": engine.paths.display(image.path),
        "name": escape(image.path.name),
    }

"""POST /sdapi/v1/txt2img and img2img, as A1111's clients send them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.sdapi.img2img_parsing import choose_request_type, parse_img2img_request
from modules.api.sdapi.info import includes_grid, make_info
from modules.api.sdapi.remote_images import fetch_remote_images
from modules.api.sdapi.request_parsing import SamplerNames, fill_from_infotext, parse_request
from modules.api.sdapi.request_schema import Img2ImgBody, Txt2ImgBody
from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.params.requests.base import GenerationRequest
from modules.params.requests.txt2img import Txt2ImgRequest


def generation_router(engine: Engine) -> APIRouter:
    """Return the routes that make pictures."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/txt2img")
    async def txt2img(body: Txt2ImgBody) -> dict[str, Any]:
        """Make pictures and answer when all are finished."""
        request, warnings = await run_in_threadpool(read_words, body.root)
        return await carried_out(request, body.root, warnings)

    @router.post("/img2img")
    async def img2img(body: Img2ImgBody) -> dict[str, Any]:
        """Repaint a picture and answer when all are finished."""
        given = body.root
        request, warnings = await run_in_threadpool(read_picture, given)
        echoed = given if given.get("include_init_images") else {**given, **_nulled(given)}
        return await carried_out(request, echoed, warnings)

    def read_words(body: Mapping[str, Any]) -> tuple[GenerationRequest, list[str]]:
        filled, unfollowed = fill_from_infotext(engine, body, Txt2ImgRequest)
        request, warnings = parse_request(filled, Txt2ImgRequest, names_of(engine))
        return request, [*unfollowed, *warnings]

    def read_picture(body: Mapping[str, Any]) -> tuple[GenerationRequest, list[str]]:
        kind = choose_request_type(body, is_depth_checkpoint=_sees_depth(engine, body))
        filled, unfollowed = fill_from_infotext(
            engine, fetch_remote_images(body, engine.settings), kind
        )
        request, warnings = parse_img2img_request(filled, kind, names_of(engine))
        return request, [*unfollowed, *warnings]

    async def carried_out(
        request: GenerationRequest, echoed: Mapping[str, Any], warnings: list[str]
    ) -> dict[str, Any]:
        job = await run_in_threadpool(engine.submit, request)
        await _until_ended(job)
        return await run_in_threadpool(answer, job, echoed, warnings)

    return router


async def _until_ended(job: Job) -> None:
    """Wait without any of the 40 threads that all other routes share."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the caller went away, and the loop with it
            loop.call_soon_threadsafe(ended.set)

    job.add_done_callback(wake)
    await ended.wait()


def _sees_depth(engine: Engine, body: Mapping[str, Any]) -> bool:
    """Return whether the checkpoint of a body repaints by depth; what is wrong with it is told on submission."""
    overrides: Any = body.get("override_settings")  # JSON: anything
    name: Any = body.get("sd_model_checkpoint")
    if not name and isinstance(overrides, Mapping):
        name = cast("Mapping[str, Any]", overrides).get("sd_model_checkpoint")
    try:
        found = engine.find_checkpoint(str(name or ""))
        return engine.models.get_family(found).extra_input == "depth"
    except WebUIError:
        return False


def names_of(engine: Engine) -> SamplerNames:
    """Return the engine's samplers and schedules, as a body may name them."""
    return SamplerNames(engine.samplers.names(), engine.schedules.names())


def answer(job: Job, body: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Return A1111's answer: pictures in base64, the request's echo and `info` as a JSON string.

    Raises:
        WebUIError: the job failed; an interrupted one answers with the pictures it has.
    """
    status = job.status()
    if status.state == "failed":
        raise status.exception or WebUIError(status.error)
    paths = [image.path for image in status.images]
    paths = [job.grid_path, *paths] if includes_grid(job) and job.grid_path else paths
    sent = paths if body.get("send_images") is not False else ()
    return {
        "images": [_base64(path) for path in sent],
        "parameters": dict(body),
        "info": make_info(job),
        "warnings": [*warnings, *status.notes],
    }


def _nulled(body: Mapping[str, Any]) -> dict[str, None]:
    """Return the fields of the echo that would repeat the pictures sent, as nulls."""
    return dict.fromkeys({"init_images", "mask"} | ({"depth_map", "latent_mask"} & body.keys()))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")

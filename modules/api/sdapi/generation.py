"""POST /sdapi/v1/txt2img and img2img, compatible with A1111's clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.json_check import CheckedRouter, shorten_texts
from modules.api.sdapi.always_on import merge_always_on
from modules.api.sdapi.info import includes_grid, make_group_info, make_info
from modules.api.sdapi.remote_images import fetch_remote_images
from modules.api.sdapi.requests.img2img import (
    choose_request_type,
    further_init_images,
    parse_img2img_request,
)
from modules.api.sdapi.requests.parsing import (
    SamplerNames,
    drop_unknown_styles,
    fill_from_infotext,
    parse_request,
)
from modules.api.sdapi.requests.schema import Img2ImgBody, Txt2ImgBody
from modules.api.sdapi.scripts import ScriptCall, parse_script, selectable_names, without_script
from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_group import JobGroup
from modules.params.requests.base import GenerationRequest, require_generation
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.init_images import INIT_IMAGES


def generation_router(engine: Engine) -> APIRouter:
    """Return the routes that generate images."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.post("/txt2img")
    async def txt2img(body: Txt2ImgBody) -> dict[str, Any]:
        """Generate images; the response is sent when all are finished."""
        request, warnings = await run_in_threadpool(parse_txt2img, body.root)
        return await generate(request, body.root, warnings)

    @router.post("/img2img")
    async def img2img(body: Img2ImgBody) -> dict[str, Any]:
        """Generate images from an init image; the response is sent when all are finished."""
        fields = body.root
        request, warnings, batch = await run_in_threadpool(parse_img2img, fields)
        echo = fields if fields.get("include_init_images") else {**fields, **_null_images(fields)}
        return await generate(request, echo, warnings, batch)

    def read_scripts(body: Mapping[str, Any], tab: str) -> Mapping[str, Any]:
        return merge_always_on(without_script(body), tab, selectable_names(engine, tab))

    def parse_txt2img(body: Mapping[str, Any]) -> tuple[GenerationRequest, list[str]]:
        body = read_scripts(body, "txt2img")
        request_type = Txt2ImgRequest.with_settings(type(engine.settings))
        values, unused = fill_from_infotext(engine, body, request_type)
        unused += drop_unknown_styles(engine, values)
        request, warnings = parse_request(values, request_type, sampler_names(engine))
        return request, [*unused, *warnings]

    def parse_img2img(
        body: Mapping[str, Any],
    ) -> tuple[GenerationRequest, list[str], ScriptCall | None]:
        names_script = bool(body.get("script_name"))
        body = read_scripts(body, "img2img")
        request_type = choose_request_type(
            body, is_depth_checkpoint=_uses_depth_checkpoint(engine, body)
        ).with_settings(type(engine.settings))
        values, unused = fill_from_infotext(
            engine, fetch_remote_images(body, engine.settings), request_type
        )
        unused += drop_unknown_styles(engine, values)
        request, warnings = parse_img2img_request(values, request_type, sampler_names(engine))
        warnings = [*unused, *warnings]
        others = further_init_images(values)
        if others and names_script:
            warnings.append(f"Of {len(others) + 1} init_images a script uses only the first.")
            others = []
        batch = ScriptCall(INIT_IMAGES.name, {"images": others}) if others else None
        return request, warnings, batch

    async def generate(
        request: GenerationRequest,
        echo: Mapping[str, Any],
        warnings: list[str],
        batch: ScriptCall | None = None,
    ) -> dict[str, Any]:
        script = parse_script(engine, echo, request.task) or batch
        if script is not None:
            group = await run_in_threadpool(engine.run_script, script.name, request, script.args)
            await wait_until_ended(group)
            return await run_in_threadpool(make_group_response, engine, group, echo, warnings)
        job = await run_in_threadpool(engine.submit, request)
        job.cancel.want_unfinished()  # A1111's clients read images[0] also after an interrupt
        await wait_until_ended(job)
        return await run_in_threadpool(make_response, engine, job, echo, warnings)

    return router


async def wait_until_ended(job: Job | JobGroup) -> None:
    """Wait for a job or a group without occupying one of the 40 threads that all other routes share."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the client disconnected, its loop is closed
            loop.call_soon_threadsafe(ended.set)

    job.add_done_callback(wake)
    await ended.wait()


def _uses_depth_checkpoint(engine: Engine, body: Mapping[str, Any]) -> bool:
    """Return whether the checkpoint of a body is a depth2img one; `submit` reports what is wrong with it."""
    overrides: Any = body.get("override_settings")  # JSON: anything
    name: Any = body.get("sd_model_checkpoint")
    if not name and isinstance(overrides, Mapping):
        name = cast("Mapping[str, Any]", overrides).get("sd_model_checkpoint")
    try:
        checkpoint = engine.find_checkpoint(str(name or ""))
        return engine.models.get_family(checkpoint).extra_input == "depth"
    except WebUIError:
        return False


def sampler_names(engine: Engine) -> SamplerNames:
    """Return the names of the engine's samplers and schedules."""
    return SamplerNames(engine.samplers.names(), engine.schedules.names())


def make_response(
    engine: Engine, job: Job, echo: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """Return A1111's response: images in base64, the echo of the request and `info` as a JSON string.

    Raises:
        WebUIError: the job failed. An interrupted job returns the images it has.
    """
    status = job.status()
    if status.state == "failed":
        raise status.exception or WebUIError(status.error)
    images = job.answered_images()
    if len(images) > len(status.images):
        warnings = [
            *warnings,
            "The job was stopped before its first picture; this is the unfinished one.",
        ]
    paths = [image.path for image in images]
    paths = [job.grid_path, *paths] if includes_grid(job) and job.grid_path else paths
    info = make_info(job, engine.registries.tasks)
    return _make_answer(paths, job.control_maps(), info, echo, [*warnings, *status.notes])


def make_group_response(
    engine: Engine, group: JobGroup, echo: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """Return A1111's response of a script: the images of all cells.

    Raises:
        WebUIError: the script failed. A cancelled one returns the images it has.
    """
    status = group.status()
    if status.state == "failed":
        reasons = status.error or " ".join(status.notes) or "The script made no pictures."
        raise status.exception or WebUIError(reasons)
    request = require_generation(group.spec.request)
    checkpoint = engine.find_checkpoint(request.sd_model_checkpoint)
    info = make_group_info(group, checkpoint, engine.registries.tasks)
    shows_cells = group.spec.script.shows_cells(group.spec.args)
    paths = [image.path for image in group.answered_images() if shows_cells or image.kind == "grid"]
    return _make_answer(paths, group.control_maps(), info, echo, [*warnings, *status.notes])


def _make_answer(
    paths: Iterable[Path],
    control_maps: Iterable[bytes],
    info: str,
    echo: Mapping[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """Return the answer; control maps follow the images, as sd-webui-controlnet appends them."""
    is_sent = echo.get("send_images") is not False
    returned = chain((path.read_bytes() for path in paths), control_maps) if is_sent else ()
    return {
        "images": [base64.b64encode(data).decode("ascii") for data in returned],
        "parameters": shorten_texts(echo),
        "info": info,
        "warnings": warnings,
    }


def _null_images(body: Mapping[str, Any]) -> dict[str, None]:
    """Return null for each image field, so that the echo does not repeat the images sent."""
    return dict.fromkeys({"init_images", "mask"} | ({"depth_map", "latent_mask"} & body.keys()))

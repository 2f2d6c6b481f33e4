"""POST /sdapi/v1/txt2img, as A1111's clients send it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.concurrency import run_in_threadpool

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.job import JobStatus
from modules.params.param import validated
from modules.params.request import Txt2ImgRequest
from modules.params.settings import Settings

# What A1111's API assumes where its page assumes something else.
_API_DEFAULTS: Mapping[str, Any] = {"steps": 50, "sampler_name": "Euler"}
_POLL_S = 0.02


def generation_router(engine: Engine) -> APIRouter:
    """Return the routes that make pictures."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/txt2img")
    async def txt2img(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Make pictures and answer when all are finished."""
        request, warnings = read_request(body)
        job = await run_in_threadpool(engine.submit, request)
        while not job.wait(0):  # holds none of the 40 threads that all other routes share
            await asyncio.sleep(_POLL_S)
        return await run_in_threadpool(answer, job.status(), request, body, warnings)

    return router


def read_request(body: Mapping[str, Any]) -> tuple[Txt2ImgRequest, list[str]]:
    """Return the request in a body of A1111's form and a sentence for each field that has no effect.

    Raises:
        UserError: a value is not valid.
    """
    _check_json(body)
    values = {key: value for key, value in body.items() if value is not None}
    overrides: dict[str, Any] = dict(values.pop("override_settings", {}))
    for name in Settings.model_fields.keys() & Txt2ImgRequest.model_fields.keys():
        chosen = overrides.pop(name, None)
        if chosen not in (None, ""):
            values.setdefault(name, chosen)
    older = values.pop("sampler_index", "")
    sampler = values.pop("sampler_name", "") or older
    if sampler:
        values["sampler_name"] = sampler
    known = {key: value for key, value in values.items() if key in Txt2ImgRequest.model_fields}
    unknown = [
        key for key, value in values.items() if key not in known and value not in ("", [], {})
    ]
    warnings = [
        f"The field '{key}' has no effect in this version."
        for key in sorted([*unknown, *overrides])
    ]
    return validated(Txt2ImgRequest, {**_API_DEFAULTS, **known}), warnings


def _check_json(body: Mapping[str, Any]) -> None:
    """Refuse what the answer's echo could not say."""
    try:
        json.dumps(body, allow_nan=False)
    except ValueError:
        raise UserError("The request holds NaN or Infinity, which JSON does not know.") from None
    if not isinstance(body.get("override_settings") or {}, Mapping):
        raise UserError(f"override_settings is {body['override_settings']!r}; an object is needed.")


def answer(
    status: JobStatus, request: Txt2ImgRequest, body: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """Return A1111's answer: pictures in base64, the request's echo and `info` as a JSON string.

    Raises:
        WebUIError: the job failed; an interrupted one answers with the pictures it has.
    """
    if status.state == "failed":
        raise status.failure or WebUIError(status.error)
    images = status.images
    info = {
        **request.model_dump(exclude={"n_iter", "sd_model_checkpoint", "scheduler"}),
        "seed": images[0].seed if images else request.seed,
        "all_seeds": [image.seed for image in images],
        "all_prompts": [request.prompt for _ in images],
        "all_negative_prompts": [request.negative_prompt for _ in images],
        "infotexts": [image.infotext for image in images],
        "index_of_first_image": 0,
    }
    return {
        "images": [_base64(image.path) for image in images],
        "parameters": dict(body),
        "info": json.dumps(info, ensure_ascii=False),
        "warnings": [*warnings, *status.notes],
    }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")

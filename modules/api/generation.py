"""POST /sdapi/v1/txt2img and img2img, as A1111's clients send them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Body
from fastapi.concurrency import run_in_threadpool

from modules.api.infotext_field import with_infotext
from modules.core.errors import NotFound, UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.job import JobStatus
from modules.params.depth import DepthRequest
from modules.params.overrides import overridable
from modules.params.param import validated
from modules.params.request import GenerationRequest
from modules.params.txt2img import Txt2ImgRequest

# What A1111's API assumes where its page assumes something else.
_API_DEFAULTS: Mapping[str, Any] = {"steps": 50, "sampler_name": "Euler"}
# Fields of A1111's API that stand for options.
_FIELDS_OF_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "eta": ("eta_ancestral", "eta_ddim"),
    "s_churn": ("s_churn",),
    "s_tmin": ("s_tmin",),
    "s_tmax": ("s_tmax",),
    "s_noise": ("s_noise",),
    "s_min_uncond": ("s_min_uncond",),
    "tiling": ("tiling",),
    "initial_noise_multiplier": ("initial_noise_multiplier",),
}
_POLL_S = 0.02
_NOT_IN_INFO = {"n_iter", "sd_model_checkpoint", "scheduler", "init_image", "depth_map"}
R = TypeVar("R", bound=GenerationRequest)


def generation_router(engine: Engine) -> APIRouter:
    """Return the routes that make pictures."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/txt2img")
    async def txt2img(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Make pictures and answer when all are finished."""
        filled, unfollowed = await run_in_threadpool(with_infotext, engine, body, Txt2ImgRequest)
        request, warnings = read_request(filled, Txt2ImgRequest)
        return await carried_out(request, body, [*unfollowed, *warnings])

    @router.post("/img2img")
    async def img2img(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Repaint a picture with a depth checkpoint and answer when all are finished."""
        filled, unfollowed = await run_in_threadpool(with_infotext, engine, body, DepthRequest)
        request, warnings = await run_in_threadpool(read_picture_request, filled)
        echoed = body if body.get("include_init_images") else {**body, **_nulled(body)}
        return await carried_out(request, echoed, [*unfollowed, *warnings])

    async def carried_out(
        request: GenerationRequest, echoed: Mapping[str, Any], warnings: list[str]
    ) -> dict[str, Any]:
        job = await run_in_threadpool(engine.submit, request)
        while not job.wait(0):  # holds none of the 40 threads that all other routes share
            await asyncio.sleep(_POLL_S)
        return await run_in_threadpool(answer, job.status(), request, echoed, warnings)

    return router


def read_picture_request(body: Mapping[str, Any]) -> tuple[DepthRequest, list[str]]:
    """Return the request in a body for img2img, as `read_request` does; its first picture is the one repainted.

    Raises:
        UserError: a value is not valid.
        NotFound: there is no picture.
    """
    values = {key: value for key, value in body.items() if key != "include_init_images"}
    pictures = values.pop("init_images", None)
    if not pictures:
        raise NotFound(
            "Init image not found: init_images is empty.", "Put a picture in base64 into it."
        )
    if not isinstance(pictures, list):
        raise UserError("init_images is no list.", "Put the picture into a list.")
    given = cast("list[Any]", pictures)  # JSON: anything; the request checks it
    request, warnings = read_request({**values, "init_image": given[0]}, DepthRequest)
    if len(given) > 1:
        warnings.append(f"Of {len(given)} init_images only the first is used.")
    return request, warnings


def read_request(body: Mapping[str, Any], model: type[R]) -> tuple[R, list[str]]:
    """Return the request in a body of A1111's form and a sentence for each field that has no effect.

    Args:
        body: JSON.
        model: The request's type.

    Raises:
        UserError: a value is not valid.
    """
    _check_json(body)
    values = {key: value for key, value in body.items() if value is not None}
    overrides: dict[str, Any] = dict(values.pop("override_settings", {}))
    for name in ("sd_model_checkpoint", "sd_vae"):  # options of A1111, fields of ours
        chosen = overrides.pop(name, None)
        if chosen not in (None, ""):
            values.setdefault(name, chosen)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    without_effect = overrides.keys() - overridable()
    values["override_settings"] = {
        **{key: value for key, value in overrides.items() if key not in without_effect},
        **_options_among(values),
    }
    older = values.pop("sampler_index", "")
    sampler = values.pop("sampler_name", "") or older
    if sampler:
        values["sampler_name"] = sampler
    known = {key: value for key, value in values.items() if key in model.model_fields}
    unknown = [
        key for key, value in values.items() if key not in known and value not in ("", [], {})
    ]
    warnings = [
        f"The field '{key}' has no effect in this version."
        for key in sorted([*unknown, *without_effect])
    ]
    return validated(model, {**_API_DEFAULTS, **known}), warnings


def _options_among(values: dict[str, Any]) -> dict[str, Any]:
    """Take out and return, as options, the fields of a body that A1111 names beside its options."""
    found: dict[str, Any] = {}
    for field, options in _FIELDS_OF_OPTIONS.items():
        if field in values:
            value = values.pop(field)
            found.update(dict.fromkeys(options, value))
    return found


def _nulled(body: Mapping[str, Any]) -> dict[str, None]:
    """Return the fields of the echo that would repeat the pictures sent, as nulls."""
    return dict.fromkeys({"init_images", "mask"} | ({"depth_map"} & body.keys()))


def _check_json(body: Mapping[str, Any]) -> None:
    """Refuse what the answer's echo could not say."""
    try:
        json.dumps(body, allow_nan=False)
    except ValueError:
        raise UserError("The request holds NaN or Infinity, which JSON does not know.") from None
    if not isinstance(body.get("override_settings") or {}, Mapping):
        raise UserError(f"override_settings is {body['override_settings']!r}; an object is needed.")


def answer(
    status: JobStatus, request: GenerationRequest, body: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """Return A1111's answer: pictures in base64, the request's echo and `info` as a JSON string.

    Raises:
        WebUIError: the job failed; an interrupted one answers with the pictures it has.
    """
    if status.state == "failed":
        raise status.failure or WebUIError(status.error)
    images = status.images
    info = {
        **request.model_dump(exclude=_NOT_IN_INFO),
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

"""A request with everything it needs as JSON, and back: what a job is made of again after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from modules.core.errors import UserError
from modules.engine.prompt_processing import prompt_field_names
from modules.params.image import ImageField, is_image_field
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest, Task
from modules.params.requests.registry import REQUESTS
from modules.params.settings import Settings
from modules.plan.plan import Plan


@dataclass(frozen=True)
class StoredRequest:
    """A request without its pictures, and the options at its submission.

    Args:
        task: Its kind.
        request: JSON of its fields, seeds drawn and checkpoint named.
        settings: JSON of the options that were not at their defaults.
        image_names: The names of its pictures' files by field.
    """

    task: str
    request: str
    settings: str
    image_names: Mapping[str, str]


def with_resolved_names(request: GenerationRequest, plan: Plan) -> GenerationRequest:
    """Return a request that makes the same pictures whenever it is planned again."""
    return request.replace(
        seed=plan.request.seed,
        subseed=plan.request.subseed,
        sd_model_checkpoint=plan.checkpoint.name,
        **{name: getattr(plan.request, name) for name in prompt_field_names(request)},
        styles=(),
    )


def input_images_of(request: GenerationRequest) -> dict[str, ImageField]:
    """Return the pictures of a request by field."""
    fields = type(request).model_fields
    found = {
        name: getattr(request, name) for name, field in fields.items() if is_image_field(field)
    }
    return {name: picture for name, picture in found.items() if picture is not None}


def serialize(
    request: GenerationRequest, settings: Settings, image_names: Mapping[str, str]
) -> StoredRequest:
    """Return what is stored of a pinned request whose pictures lie in files of these names."""
    plain = request.model_dump(mode="json", exclude=set(input_images_of(request)))
    options = settings.model_dump(mode="json", exclude_defaults=True)
    return StoredRequest(request.task, _json(plain), _json(options), image_names)


def deserialize(
    stored_request: StoredRequest, read: Callable[[str], ImageField]
) -> tuple[GenerationRequest, Settings]:
    """Return the request and the options again.

    Args:
        stored_request: What was stored.
        read: Returns the picture of a file's name.

    Raises:
        NotFound: a picture is no longer kept.
        UserError: it was stored by a version that knows other fields.
    """
    if stored_request.task not in get_args(Task):
        raise UserError(f"This version knows no task '{stored_request.task}'.")
    pictures = {field: read(name) for field, name in stored_request.image_names.items()}
    fields = cast("dict[str, Any]", json.loads(stored_request.request))
    options = cast("dict[str, Any]", json.loads(stored_request.settings))
    model = REQUESTS[cast("Task", stored_request.task)]
    return validate(model, {**fields, **pictures}), validate(Settings, options)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)

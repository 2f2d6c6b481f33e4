"""Serialization of a request and its settings as JSON, from which a job is restored after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from modules.core.errors import UserError
from modules.core.registry import Registry
from modules.params.image import ImageField, is_image_field
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.tasks import TASKS, Task
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.prompts import prompt_field_names


@dataclass(frozen=True)
class StoredRequest:
    """A request without its input images, and the settings at its submission.

    Args:
        task: The request's task.
        request: JSON of its fields, with resolved seeds and checkpoint.
        settings: JSON of the settings that differ from their defaults.
        image_names: File names of its input images, by field.
    """

    task: str
    request: str
    settings: str
    image_names: Mapping[str, str]


def with_resolved_names(request: GenerationRequest, plan: Plan) -> GenerationRequest:
    """Return the request with seeds, checkpoint and prompts resolved, so that planning it again gives the same images."""
    refiner = plan.refiner_model
    return request.replace(
        seed=plan.request.seed,
        subseed=plan.request.subseed,
        sd_model_checkpoint=plan.checkpoint.name,
        refiner_checkpoint=refiner.checkpoint.name if refiner else request.refiner_checkpoint,
        **{name: getattr(plan.request, name) for name in prompt_field_names(request)},
        styles=(),
    )


def with_seeds_from(request: GenerationRequest, index: int, count: int) -> GenerationRequest:
    """Return the request that generates some of a request's images alone, in as few batches as the batch size allows.

    Args:
        request: A request with resolved seeds.
        index: Index of the first of these images.
        count: How many they are.
    """
    step = 0 if request.subseed_strength else 1
    batch_size = 1 if count % request.batch_size else request.batch_size
    return request.replace(
        seed=request.seed + step * index,
        subseed=request.subseed + index,
        n_iter=count // batch_size,
        batch_size=batch_size,
    )


def input_images_of(request: GenerationRequest) -> dict[str, ImageField]:
    """Return the input images of a request by field."""
    fields = type(request).model_fields
    images = {
        name: getattr(request, name) for name, field in fields.items() if is_image_field(field)
    }
    return {name: image for name, image in images.items() if image is not None}


def serialize(
    request: GenerationRequest, settings: Settings, image_names: Mapping[str, str]
) -> StoredRequest:
    """Return the stored form of a request with resolved names; its input images are in files with these names."""
    fields = request.model_dump(mode="json", exclude=set(input_images_of(request)))
    options = settings.model_dump(mode="json", exclude_defaults=True)
    return StoredRequest(request.task, _json(fields), _json(options), image_names)


def deserialize(
    stored_request: StoredRequest,
    read: Callable[[str], ImageField],
    tasks: Registry[Task] = TASKS,
    settings_class: type[Settings] = Settings,
) -> tuple[GenerationRequest, Settings]:
    """Return the stored request and settings.

    Args:
        stored_request: The stored form.
        read: Returns the image with a file name.
        tasks: All tasks.
        settings_class: Declares the options.

    Raises:
        NotFound: an input image is no longer stored.
        UserError: it was stored by a version with other fields.
    """
    if stored_request.task not in tasks.names():
        raise UserError(f"There is no task '{stored_request.task}' in this version.")
    images = {field: read(name) for field, name in stored_request.image_names.items()}
    fields = cast("dict[str, Any]", json.loads(stored_request.request))
    options = cast("dict[str, Any]", json.loads(stored_request.settings))
    request_class = tasks.get(stored_request.task).request.with_settings(settings_class)
    return validate(request_class, {**fields, **images}), validate(settings_class, options)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)

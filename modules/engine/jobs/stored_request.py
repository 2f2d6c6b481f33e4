"""Serialization of a request and its settings as JSON, from which a job is restored after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modules.params.image import ImageField
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.job_request import JobRequest
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.plan.jobs.kinds import find_request_class
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


def with_resolved_names(request: JobRequest, plan: JobPlan) -> JobRequest:
    """Return the request with seeds, checkpoint and prompts resolved, so that planning it again gives the same images."""
    if not isinstance(plan, Plan) or not isinstance(request, GenerationRequest):
        return plan.request
    refiner = plan.refiner_model
    return request.replace(
        seed=plan.request.seed,
        subseed=plan.request.subseed,
        sd_model_checkpoint=plan.checkpoint.name,
        refiner_checkpoint=refiner.checkpoint.name if refiner else request.refiner_checkpoint,
        **{name: getattr(plan.request, name) for name in prompt_field_names(request)},
        styles=(),
    )


def with_seeds_from(request: JobRequest, index: int, count: int) -> JobRequest:
    """Return the request that generates some of a request's images alone, in as few batches as the batch size allows.

    Args:
        request: A request with resolved seeds; one that has no seeds is returned as it is.
        index: Index of the first of these images.
        count: How many they are.
    """
    if not isinstance(request, GenerationRequest):
        return request
    step = 0 if request.subseed_strength else 1
    batch_size = 1 if count % request.batch_size else request.batch_size
    return request.replace(
        seed=request.seed + step * index,
        subseed=request.subseed + index,
        n_iter=count // batch_size,
        batch_size=batch_size,
    )


def serialize(
    request: JobRequest, settings: Settings, image_names: Mapping[str, str]
) -> StoredRequest:
    """Return the stored form of a request with resolved names; its input images are in files with these names."""
    own_images = {place for place in request.input_images() if "." not in place}
    fields = request.without_images().model_dump(mode="json", exclude=own_images)
    options = settings.model_dump(mode="json", exclude_defaults=True)
    return StoredRequest(request.task, _json(fields), _json(options), image_names)


def deserialize(
    stored_request: StoredRequest,
    read: Callable[[str], ImageField],
    find_class: Callable[[str], type[JobRequest]] = find_request_class,
    settings_class: type[Settings] = Settings,
) -> tuple[JobRequest, Settings]:
    """Return the stored request and settings.

    Args:
        stored_request: The stored form.
        read: Returns the image with a file name.
        find_class: Returns the class of a task's requests; raises a UserError for one that it does not know.
        settings_class: Declares the options.

    Raises:
        NotFound: an input image is no longer stored.
        UserError: it was stored by a version with other tasks or fields.
    """
    request_class = find_class(stored_request.task).with_settings(settings_class)
    fields = cast("dict[str, Any]", json.loads(stored_request.request))
    for place, name in stored_request.image_names.items():
        _put(fields, place.split("."), read(name))
    options = cast("dict[str, Any]", json.loads(stored_request.settings))
    return validate(request_class, fields), validate(settings_class, options)


def _put(fields: Any, place: Sequence[str], image: ImageField) -> None:  # Any: parts of a JSON body
    """Put an image into its place: ["init_image"], or ["control_units", "0", "image"]."""
    for key in place[:-1]:
        fields = fields[int(key) if key.isdecimal() else key]
    if isinstance(fields, list):  # of the images of one unit, which are stored apart
        images, number = cast("list[Any]", fields), int(place[-1])
        images += [None] * (number + 1 - len(images))
        images[number] = image
    else:
        fields[place[-1]] = image


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)

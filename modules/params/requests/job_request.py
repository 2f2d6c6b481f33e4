"""JobRequest: what the request of every job has, whether the job generates images or does something else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from types import new_class
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from modules.params.image import ImageField, is_image_field
from modules.params.param import validate
from modules.params.settings import Settings


class JobRequest(BaseModel):
    """The request of a job. Frozen: `replace` returns a changed copy.

    Attributes:
        settings_class: Declares the options of its job; see `with_settings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings_class: ClassVar[type[Settings]] = Settings

    @classmethod
    def with_settings(cls, settings_class: type[Settings]) -> type[Self]:
        """Return this class for settings with more options, so that a request can override them."""
        if settings_class is cls.settings_class:
            return cls
        return cast("type[Self]", _request_class(cls, settings_class))

    @property
    @abstractmethod
    def task(self) -> str:
        """Return the name of what is asked for: a row of TASKS or of JOB_KINDS."""

    @property
    def output_subfolder(self) -> str:
        """Return the name that A1111 gives the folder of its images in outputs."""
        return self.task

    @property
    def result_size(self) -> tuple[int, int]:
        """Return width and height of its images in pixels; 0x0 if it makes none, or they are not known yet."""
        return 0, 0

    def input_images(self) -> dict[str, ImageField]:
        """Return the input images by field."""
        return images_in(self)

    def without_images(self) -> Self:
        """Return a copy without input images, to keep after the job has ended."""
        fields = type(self).model_fields
        return self.model_copy(
            update={k: None for k, field in fields.items() if is_image_field(field)}
        )

    def with_images(self, images: Mapping[str, ImageField]) -> Self:
        """Return a copy with input images, by field as `input_images` names them."""
        return self.model_copy(update=dict(images))

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return validate(type(self), {**dict(self), **changes})


def images_in(model: BaseModel) -> dict[str, ImageField]:
    """Return the images that a model's own fields hold, by field; those of a list as "more_images.0"."""
    images: dict[str, ImageField] = {}
    for name, field in type(model).model_fields.items():
        value: Any = getattr(model, name) if is_image_field(field) else None
        if isinstance(value, tuple):
            items = cast("tuple[ImageField, ...]", value)
            images |= {f"{name}.{number}": image for number, image in enumerate(items)}
        elif value is not None:
            images[name] = value
    return images


@cache  # one class for each pair: requests of different classes are never equal
def _request_class(base: type[JobRequest], settings_class: type[Settings]) -> type[JobRequest]:
    """Return a subclass of a request class whose options are those of the settings class."""
    namespace = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "settings_class": settings_class,
    }
    return new_class(base.__name__, (base,), exec_body=lambda body: body.update(namespace))

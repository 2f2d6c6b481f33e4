"""OpenAPI schemas of request bodies, derived from the declared fields and A1111's own.

These models accept any object: `request_parsing` validates a body, with errors written for a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, GetJsonSchemaHandler, RootModel

from modules.params.image import is_image_field, is_image_list
from modules.params.param import unit_model
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings

# Defaults of A1111's API that differ from those of its page.
API_DEFAULTS: Mapping[str, Any] = {
    "steps": 50,
    "sampler_name": "Euler",
    "refiner_switch_at": 0.0,  # at once
}
INPAINT_DEFAULTS: Mapping[str, Any] = {
    "inpainting_fill": 0,
    "inpaint_full_res": True,
    "inpaint_full_res_padding": 0,
}
# Fields of A1111's API that set options.
OPTION_FIELDS: Mapping[str, tuple[str, ...]] = {
    "eta": ("eta_ancestral", "eta_ddim"),
    "s_churn": ("s_churn",),
    "s_tmin": ("s_tmin",),
    "s_tmax": ("s_tmax",),
    "s_noise": ("s_noise",),
    "s_min_uncond": ("s_min_uncond",),
    "tiling": ("tiling",),
    "initial_noise_multiplier": ("initial_noise_multiplier",),
}
IMAGE_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "contentEncoding": "base64",
    "contentMediaType": "image/png",
}
# Further fields that A1111's clients send.
A1111_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "sampler_index": {
        "type": "string",
        "default": "Euler",
        "description": "The sampler, when sampler_name is empty.",
    },
    "send_images": {
        "type": "boolean",
        "default": True,
        "description": "Whether the response contains the images.",
    },
    "save_images": {
        "type": "boolean",
        "default": False,
        "description": "Whether the images are saved in the outputs folder; otherwise they are kept for a day.",
    },
    "override_settings_restore_afterwards": {
        "type": "boolean",
        "default": True,
        "description": "Always true here: an override applies to its own job only.",
    },
    "script_name": {"type": "string", "description": "A script; /sdapi/v1/scripts lists them."},
    "script_args": {"type": "array", "items": {}, "default": []},
    "alwayson_scripts": {"type": "object", "default": {}},
}
# Also accepted: 0 or 1 for a boolean, and a negative number for "not set", as in A1111.
_ALSO_ACCEPTED: Mapping[str, Mapping[str, Any]] = {
    "inpainting_mask_invert": {"type": "integer", "minimum": 0, "maximum": 1},
    "seed_resize_from_w": {"type": "integer", "const": -1},
    "seed_resize_from_h": {"type": "integer", "const": -1},
}


def make_schema(
    model: type[BaseModel],
    extra_fields: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON schema of a body: the model's fields with ranges and help; each may be null.

    Args:
        model: Declares the fields.
        extra_fields: Further fields with their schemas.
        defaults: Defaults that differ from the model's.
    """
    declared: dict[str, Any] = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        own: Mapping[str, Any] = IMAGE_SCHEMA if is_image_field(field) else {}
        if is_image_list(field):
            own = {"type": "array", "items": IMAGE_SCHEMA, "default": []}
        unit = unit_model(field)
        if unit is not None:
            items = {**make_schema(unit, {}, {}), "additionalProperties": False}
            own = {"type": "array", "items": items, "default": []}
        if own:
            declared[name] = {**own, "title": field.title, "description": field.description}
    return {
        "type": "object",
        "properties": {
            name: _nullable(name, {**declared.get(name, {}), **schema}, defaults)
            for name, schema in {**declared, **extra_fields}.items()
        },
        "additionalProperties": True,
    }


def _nullable(name: str, schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    annotations = ("title", "description", "default")
    own = {k: v for k, v in schema.items() if k not in annotations and k != "anyOf"}
    types: list[Any] = [*schema.get("anyOf", ()), *([own] if own else [])]
    types += [dict(_ALSO_ACCEPTED[name])] if name in _ALSO_ACCEPTED else []
    annotated = {key: schema[key] for key in annotations if key in schema}
    annotated.update({"default": defaults[name]} if name in defaults else {})
    without_null = [item for item in types if item != {"type": "null"}]
    return {**annotated, "anyOf": [*without_null, {"type": "null"}]}


def _option_fields() -> dict[str, Any]:
    """Return the schemas of the fields that set options; null leaves the option as it is."""
    options: dict[str, Any] = Settings.model_json_schema()["properties"]
    return {
        field: {k: v for k, v in options[names[0]].items() if k != "default"}
        for field, names in OPTION_FIELDS.items()
    }


class RequestBody(RootModel[dict[str, Any]]):
    """Any JSON object, with the schema of one of A1111's requests."""

    source_model: ClassVar[type[BaseModel]]
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """Return the schema of the fields instead of that of any object."""
        del core_schema, handler
        extra_fields = {**cls.extra_fields}
        if issubclass(cls.source_model, GenerationRequest):
            extra_fields = {**A1111_FIELDS, **_option_fields(), **extra_fields}
        return {"title": cls.__name__, **make_schema(cls.source_model, extra_fields, cls.defaults)}


class Txt2ImgBody(RequestBody):
    """A body for txt2img."""

    source_model = Txt2ImgRequest
    defaults = API_DEFAULTS


class Img2ImgBody(RequestBody):
    """A body for img2img."""

    source_model = Img2ImgRequest
    defaults: ClassVar[Mapping[str, Any]] = {**API_DEFAULTS, **INPAINT_DEFAULTS}
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "init_images": {
            "type": "array",
            "items": IMAGE_SCHEMA,
            "description": "The first is the init image.",
        },
        "include_init_images": {
            "type": "boolean",
            "default": False,
            "description": "Whether the response repeats the images sent.",
        },
        "mask_blur_x": {"type": "integer", "default": 4, "minimum": 0, "maximum": 256},
        "depth_map": {**IMAGE_SCHEMA, "description": "For a depth checkpoint: white is near."},
    }


class OptionsBody(RequestBody):
    """Options by name."""

    source_model = Settings

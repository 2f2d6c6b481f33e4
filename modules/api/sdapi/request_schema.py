"""What a body may hold, as the OpenAPI document tells it: derived from the declared fields and A1111's own.

A body is read by `reading`, in words for a user; here it is only described, so any object is let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, GetJsonSchemaHandler, RootModel

from modules.params.image import is_image_field
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings

# What A1111's API assumes where its page assumes something else.
API_DEFAULTS: Mapping[str, Any] = {"steps": 50, "sampler_name": "Euler"}
# Fields of A1111's API that stand for options.
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
# What A1111's clients send beside the fields of a request.
A1111_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "sampler_index": {
        "type": "string",
        "default": "Euler",
        "description": "The sampler, when sampler_name is empty.",
    },
    "send_images": {
        "type": "boolean",
        "default": True,
        "description": "Whether the answer holds the pictures.",
    },
    "save_images": {
        "type": "boolean",
        "default": False,
        "description": "Whether the pictures are saved among the outputs; else they are kept for a day.",
    },
    "override_settings_restore_afterwards": {
        "type": "boolean",
        "default": True,
        "description": "Always so here: an override is of its job alone.",
    },
    "script_name": {"type": "string", "description": "A script; there is none yet."},
    "script_args": {"type": "array", "items": {}, "default": []},
    "alwayson_scripts": {"type": "object", "default": {}},
}
# What A1111 has as 0 or 1, or as a number below 0 for "not set", beside the bounds of the declaration.
_ALSO: Mapping[str, Mapping[str, Any]] = {
    "inpainting_mask_invert": {"type": "integer", "minimum": 0, "maximum": 1},
    "seed_resize_from_w": {"type": "integer", "const": -1},
    "seed_resize_from_h": {"type": "integer", "const": -1},
}


def make_schema(
    model: type[BaseModel],
    extra_fields: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON schema of a body: the model's fields with their ranges and help, each may be null.

    Args:
        model: Declares the fields.
        extra_fields: Further fields with their schemas.
        defaults: What is assumed where the model assumes something else.
    """
    declared: dict[str, Any] = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if is_image_field(field):
            declared[name] = {
                **IMAGE_SCHEMA,
                "title": field.title,
                "description": field.description,
            }
    return {
        "type": "object",
        "properties": {
            name: _nullable(name, {**declared.get(name, {}), **schema}, defaults)
            for name, schema in {**declared, **extra_fields}.items()
        },
        "additionalProperties": True,
    }


def _nullable(name: str, known: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    told = ("title", "description", "default")
    bare = {key: value for key, value in known.items() if key not in told and key != "anyOf"}
    kinds: list[Any] = [*known.get("anyOf", ()), *([bare] if bare else [])]
    kinds += [dict(_ALSO[name])] if name in _ALSO else []
    head = {key: known[key] for key in told if key in known}
    head.update({"default": defaults[name]} if name in defaults else {})
    without_null = [kind for kind in kinds if kind != {"type": "null"}]
    return {**head, "anyOf": [*without_null, {"type": "null"}]}


def _options_as_fields() -> dict[str, Any]:
    """Return the schemas of the fields that stand for options; null is what the option says."""
    options: dict[str, Any] = Settings.model_json_schema()["properties"]
    found: dict[str, Any] = {}
    for field, names in OPTION_FIELDS.items():
        found[field] = {k: v for k, v in options[names[0]].items() if k != "default"}
    return found


class RequestBody(RootModel[dict[str, Any]]):
    """Any JSON object, described as A1111's request of a kind."""

    source_model: ClassVar[type[BaseModel]]
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """Return the schema of the fields, not that of any object."""
        del core_schema, handler
        more = {**cls.extra_fields}
        if issubclass(cls.source_model, GenerationRequest):
            more = {**A1111_FIELDS, **_options_as_fields(), **more}
        return {"title": cls.__name__, **make_schema(cls.source_model, more, cls.defaults)}


class Txt2ImgBody(RequestBody):
    """A body for txt2img."""

    source_model = Txt2ImgRequest
    defaults = API_DEFAULTS


class Img2ImgBody(RequestBody):
    """A body for img2img."""

    source_model = Img2ImgRequest
    defaults: ClassVar[Mapping[str, Any]] = {
        **API_DEFAULTS,
        "inpainting_fill": 0,
        "inpaint_full_res": True,
        "inpaint_full_res_padding": 0,
    }
    extra_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "init_images": {
            "type": "array",
            "items": IMAGE_SCHEMA,
            "description": "The first is repainted.",
        },
        "include_init_images": {
            "type": "boolean",
            "default": False,
            "description": "Whether the answer repeats the pictures sent.",
        },
        "mask_blur_x": {"type": "integer", "default": 4, "minimum": 0, "maximum": 256},
        "depth_map": {**IMAGE_SCHEMA, "description": "For a depth checkpoint: white is near."},
    }


class OptionsBody(RequestBody):
    """Options by name."""

    source_model = Settings

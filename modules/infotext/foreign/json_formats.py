"""Converts metadata that other programs write as one JSON object to A1111's keys: one row each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from modules.infotext.text_format import Infotext, format_number, strip_lines

_MAX_PARTS = 100_000  # ten times those of a large ComfyUI workflow
JsonObject = Mapping[str, Any]  # a JSON object: values of any type


@dataclass(frozen=True)
class JsonFormat:
    """One row of JSON_FORMATS.

    Args:
        name: The program.
        find: Returns the program's object from the image's text items; None if there is none.
        prompt_keys: Keys of the prompt; the first one that has text is used.
        negative_prompt_keys: Keys of the negative prompt.
        key_map: A1111's keys by the program's keys.
        extra_pairs: Returns pairs that need more than a renamed key.
    """

    name: str
    find: Callable[[Mapping[str, str]], JsonObject | None]
    prompt_keys: tuple[str, ...]
    negative_prompt_keys: tuple[str, ...]
    key_map: Mapping[str, str]
    extra_pairs: Callable[[JsonObject], Mapping[str, object]]


def infotext_from_json(
    items: Mapping[str, str], json_formats: Iterable[JsonFormat]
) -> Infotext | None:
    """Return the infotext in an image's text items by the first format that matches; None if none does."""
    for row in json_formats:
        data = row.find(items)
        if data is not None:
            values = {a1111_key: data[key] for key, a1111_key in row.key_map.items() if key in data}
            values |= row.extra_pairs(data)
            pairs = {key: text for key, value in values.items() if (text := format_scalar(value))}
            prompt, negative = (
                _first_text(data, keys) for keys in (row.prompt_keys, row.negative_prompt_keys)
            )
            return Infotext(strip_lines(prompt), strip_lines(negative), pairs, row.name)
    return None


def _format_size(data: JsonObject) -> str:
    """Return "512x768" for an object with width and height, otherwise ""."""
    width, height = format_scalar(data.get("width")), format_scalar(data.get("height"))
    return f"{width}x{height}" if width and height else ""


def _first_text(data: JsonObject, keys: tuple[str, ...]) -> str:
    for key in keys:
        # Fooocus writes a prompt as a list of parts.
        text = format_scalar(data.get(key)) or ", ".join(map(format_scalar, as_list(data.get(key))))
        if text:
            return text
    return ""


def _find_object(
    item: str, required_key: str, root: str = ""
) -> Callable[[Mapping[str, str]], JsonObject | None]:
    """Return a `find` for the object in a text item, or under a root key of it, if it has the required key."""

    def find(items: Mapping[str, str]) -> JsonObject | None:
        text = items.get(item, "")
        # Looked for first: several rows read the same item, and parsing a large one takes long.
        data = parse_json_object(text) if f'"{required_key}"' in text else None
        if data is not None and root:
            data = as_object(data.get(root))
        return data if data is not None and required_key in data else None

    return find


def _find_novelai(items: Mapping[str, str]) -> JsonObject | None:
    if items.get("Software") != "NovelAI":
        return None
    comment = parse_json_object(items.get("Comment", ""))
    return None if comment is None else {"prompt": items.get("Description", ""), **comment}


def _novelai_pairs(data: JsonObject) -> Mapping[str, object]:
    return {"Size": _format_size(data), "Denoising strength": data.get("strength")}


def _invokeai_pairs(data: JsonObject) -> Mapping[str, object]:
    model, vae = data.get("model"), data.get("vae")
    skipped = data.get("clip_skip")  # layers
    pairs: dict[str, object] = {
        "Size": _format_size(data),
        "Model": _model_name(model),
        "VAE": _model_name(vae),
        "RNG": {"cpu": "CPU", "cuda": "GPU"}.get(format_scalar(data.get("rand_device"))),
        "Clip skip": skipped + 1 if isinstance(skipped, int) and skipped > 0 else None,
    }
    loras = map(as_object, as_list(data.get("loras")))
    pairs["Lora weights"] = ", ".join(
        f"{_model_name(lora.get('model') or lora.get('lora'))}: {format_scalar(lora.get('weight'))}"
        for lora in loras
    )
    return pairs


def _model_name(model: object) -> str:
    data = as_object(model)
    return (
        format_scalar(data.get("name"))
        or format_scalar(data.get("model_name"))
        or format_scalar(model)
    )


def _fooocus_pairs(data: JsonObject) -> Mapping[str, object]:
    numbers = "".join(
        c if c.isdigit() else " " for c in format_scalar(data.get("resolution"))
    ).split()
    return {
        "Size": "x".join(numbers) if len(numbers) == 2 else "",
        "Model": PurePath(format_scalar(data.get("base_model"))).stem,
    }


def _swarmui_pairs(data: JsonObject) -> Mapping[str, object]:
    return {"Size": _format_size(data), "Model": PurePath(format_scalar(data.get("model"))).name}


JSON_FORMATS: tuple[JsonFormat, ...] = (
    JsonFormat(
        "NovelAI",
        _find_novelai,
        ("prompt",),
        ("uc",),
        {
            "steps": "Steps",
            "sampler": "Sampler",
            "noise_schedule": "Schedule type",
            "scale": "CFG scale",
            "seed": "Seed",
        },
        _novelai_pairs,
    ),
    JsonFormat(
        "InvokeAI",
        _find_object("invokeai_metadata", "positive_prompt"),
        ("positive_prompt",),
        ("negative_prompt",),
        {
            "steps": "Steps",
            "scheduler": "Sampler",
            "cfg_scale": "CFG scale",
            "cfg_rescale_multiplier": "CFG rescale",
            "seed": "Seed",
            "strength": "Denoising strength",
            "app_version": "Version",
        },
        _invokeai_pairs,
    ),
    JsonFormat(
        "Fooocus",
        _find_object("parameters", "base_model"),
        ("full_prompt", "prompt"),
        ("full_negative_prompt", "negative_prompt"),
        {
            "steps": "Steps",
            "sampler": "Sampler",
            "scheduler": "Schedule type",
            "guidance_scale": "CFG scale",
            "seed": "Seed",
            "base_model_hash": "Model hash",
            "vae": "VAE",
            "sharpness": "Sharpness",
            "adm_guidance": "ADM Guidance",
            "version": "Version",
        },
        _fooocus_pairs,
    ),
    JsonFormat(
        "SwarmUI",
        _find_object("parameters", "prompt", root="sui_image_params"),
        ("prompt",),
        ("negativeprompt",),
        {
            "steps": "Steps",
            "sampler": "Sampler",
            "scheduler": "Schedule type",
            "cfgscale": "CFG scale",
            "seed": "Seed",
            "vae": "VAE",
            "initimagecreativity": "Denoising strength",
            "swarm_version": "Version",
        },
        _swarmui_pairs,
    ),
)


def parse_json_object(text: str) -> JsonObject | None:
    """Return the JSON object in a text, None if it is not one or has too many parts."""
    if not text.lstrip().startswith("{") or text.count("[") + text.count("{") > _MAX_PARTS:
        return None
    try:
        data = json.loads(text)
        if "\\ud" in text.casefold():  # half a character, which nothing can store or send
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
        return data
    except (ValueError, RecursionError):
        return None


def as_object(value: object) -> JsonObject:
    """Return the value if it is an object, otherwise an empty one."""
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value if it is a list, otherwise an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def format_scalar(value: object) -> str:
    """Return a JSON scalar as an infotext value; "" for null, lists and objects."""
    if isinstance(value, float):
        return format_number(value)
    return str(value) if isinstance(value, str | int) else ""

"""What other programs write into pictures as one JSON object, in A1111's words: one row each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from modules.infotext.text_format import Infotext, format_number, strip_lines


@dataclass(frozen=True)
class JsonFormat:
    """One row of JSON_FORMATS.

    Args:
        origin: The program.
        find: Returns its object among a picture's texts; None when it has none.
        prompt_keys: Its keys for the prompt; the first that is there counts.
        negative_prompt_keys: Its keys for the negative prompt.
        key_map: Its keys that are one of A1111's each.
        extra_pairs: Returns what takes more than a key.
    """

    origin: str
    find: Callable[[Mapping[str, str]], JsonObject | None]
    prompt_keys: tuple[str, ...]
    negative_prompt_keys: tuple[str, ...]
    key_map: Mapping[str, str]
    extra_pairs: Callable[[JsonObject], Mapping[str, object]]


def infotext_from_json(items: Mapping[str, str]) -> Infotext | None:
    """Return the words of whichever row a picture's texts fit; None when they fit none."""
    for row in JSON_FORMATS:
        found = row.find(items)
        if found is not None:
            pairs = {ours: found[key] for key, ours in row.key_map.items() if key in found}
            pairs |= row.extra_pairs(found)
            told = {key: text for key, value in pairs.items() if (text := format_scalar(value))}
            prompt, negative = (
                _first(found, keys) for keys in (row.prompt_keys, row.negative_prompt_keys)
            )
            return Infotext(strip_lines(prompt), strip_lines(negative), told, row.origin)
    return None


def format_size(found: JsonObject) -> str:
    """Return "512x768" for an object with width and height, else ""."""
    width, height = format_scalar(found.get("width")), format_scalar(found.get("height"))
    return f"{width}x{height}" if width and height else ""


def _first(found: JsonObject, keys: tuple[str, ...]) -> str:
    for key in keys:
        # Fooocus tells a prompt as a list of parts.
        text = format_scalar(found.get(key)) or ", ".join(
            map(format_scalar, as_list(found.get(key)))
        )
        if text:
            return text
    return ""


def _item(name: str, sign: str, root: str = "") -> Callable[[Mapping[str, str]], JsonObject | None]:
    """Return a search for the object in that text, and there under that root, if it has that key."""

    def find(items: Mapping[str, str]) -> JsonObject | None:
        found = parse_json_object(items.get(name, ""))
        if found is not None and root:
            found = as_object(found.get(root))
        return found if found is not None and sign in found else None

    return find


def _novelai(items: Mapping[str, str]) -> JsonObject | None:
    if items.get("Software") != "NovelAI":
        return None
    comment = parse_json_object(items.get("Comment", ""))
    return None if comment is None else {"prompt": items.get("Description", ""), **comment}


def _more_novelai(found: JsonObject) -> Mapping[str, object]:
    return {"Size": format_size(found), "Denoising strength": found.get("strength")}


def _more_invokeai(found: JsonObject) -> Mapping[str, object]:
    model, vae = found.get("model"), found.get("vae")
    skipped = found.get("clip_skip")
    pairs: dict[str, object] = {
        "Size": format_size(found),
        "Model": _model_name(model),
        "VAE": _model_name(vae),
        "RNG": {"cpu": "CPU", "cuda": "GPU"}.get(format_scalar(found.get("rand_device"))),
        "Clip skip": skipped + 1 if isinstance(skipped, int) and skipped > 0 else None,
    }
    networks = map(as_object, as_list(found.get("loras")))
    pairs["Lora weights"] = ", ".join(
        f"{_model_name(one.get('model') or one.get('lora'))}: {format_scalar(one.get('weight'))}"
        for one in networks
    )
    return pairs


def _model_name(model: object) -> str:
    known = as_object(model)
    return (
        format_scalar(known.get("name"))
        or format_scalar(known.get("model_name"))
        or format_scalar(model)
    )


def _more_fooocus(found: JsonObject) -> Mapping[str, object]:
    numbers = "".join(
        c if c.isdigit() else " " for c in format_scalar(found.get("resolution"))
    ).split()
    return {
        "Size": "x".join(numbers) if len(numbers) == 2 else "",
        "Model": PurePath(format_scalar(found.get("base_model"))).stem,
    }


def _more_swarm(found: JsonObject) -> Mapping[str, object]:
    return {"Size": format_size(found), "Model": PurePath(format_scalar(found.get("model"))).name}


JSON_FORMATS: tuple[JsonFormat, ...] = (
    JsonFormat(
        "NovelAI",
        _novelai,
        ("prompt",),
        ("uc",),
        {
            "steps": "Steps",
            "sampler": "Sampler",
            "noise_schedule": "Schedule type",
            "scale": "CFG scale",
            "seed": "Seed",
        },
        _more_novelai,
    ),
    JsonFormat(
        "InvokeAI",
        _item("invokeai_metadata", "positive_prompt"),
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
        _more_invokeai,
    ),
    JsonFormat(
        "Fooocus",
        _item("parameters", "base_model"),
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
        _more_fooocus,
    ),
    JsonFormat(
        "SwarmUI",
        _item("parameters", "prompt", root="sui_image_params"),
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
        _more_swarm,
    ),
)


JsonObject = Mapping[str, Any]  # a JSON object: values of any type


def parse_json_object(text: str) -> JsonObject | None:
    """Return the object that a text is, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_object(value: object) -> JsonObject:
    """Return the value where it is an object, else an empty one."""
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value where it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def format_scalar(value: object) -> str:
    """Return a value as an infotext's; "" for what is none, such as null or a list."""
    if isinstance(value, float):
        return format_number(value)
    return str(value) if isinstance(value, str | int) else ""

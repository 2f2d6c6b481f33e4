"""What other programs write into pictures as one JSON object, in A1111's words: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from modules.infotext.json_values import Object, as_list, as_object, json_object, scalar
from modules.infotext.words import Words, tidy


@dataclass(frozen=True)
class Form:
    """One row of FORMS.

    Args:
        origin: The program.
        find: Returns its object among a picture's texts; None when it has none.
        prompt: Its keys for the prompt; the first that is there counts.
        negative: Its keys for the negative prompt.
        keys: Its keys that are one of A1111's each.
        more: Returns what takes more than a key.
    """

    origin: str
    find: Callable[[Mapping[str, str]], Object | None]
    prompt: tuple[str, ...]
    negative: tuple[str, ...]
    keys: Mapping[str, str]
    more: Callable[[Object], Mapping[str, object]]


def words_of_json(items: Mapping[str, str]) -> Words | None:
    """Return the words of whichever row a picture's texts fit; None when they fit none."""
    for row in FORMS:
        found = row.find(items)
        if found is not None:
            pairs = {ours: found[key] for key, ours in row.keys.items() if key in found}
            pairs |= row.more(found)
            told = {key: text for key, value in pairs.items() if (text := scalar(value))}
            prompt, negative = (_first(found, keys) for keys in (row.prompt, row.negative))
            return Words(tidy(prompt), tidy(negative), told, row.origin)
    return None


def size_of(found: Object) -> str:
    """Return "512x768" for an object with width and height, else ""."""
    width, height = scalar(found.get("width")), scalar(found.get("height"))
    return f"{width}x{height}" if width and height else ""


def _first(found: Object, keys: tuple[str, ...]) -> str:
    for key in keys:
        # Fooocus tells a prompt as a list of parts.
        text = scalar(found.get(key)) or ", ".join(map(scalar, as_list(found.get(key))))
        if text:
            return text
    return ""


def _item(name: str, sign: str, root: str = "") -> Callable[[Mapping[str, str]], Object | None]:
    """Return a search for the object in that text, and there under that root, if it has that key."""

    def find(items: Mapping[str, str]) -> Object | None:
        found = json_object(items.get(name, ""))
        if found is not None and root:
            found = as_object(found.get(root))
        return found if found is not None and sign in found else None

    return find


def _novelai(items: Mapping[str, str]) -> Object | None:
    if items.get("Software") != "NovelAI":
        return None
    comment = json_object(items.get("Comment", ""))
    return None if comment is None else {"prompt": items.get("Description", ""), **comment}


def _more_novelai(found: Object) -> Mapping[str, object]:
    return {"Size": size_of(found), "Denoising strength": found.get("strength")}


def _more_invokeai(found: Object) -> Mapping[str, object]:
    model, vae = found.get("model"), found.get("vae")
    skipped = found.get("clip_skip")
    pairs: dict[str, object] = {
        "Size": size_of(found),
        "Model": _model_name(model),
        "VAE": _model_name(vae),
        "RNG": {"cpu": "CPU", "cuda": "GPU"}.get(scalar(found.get("rand_device"))),
        "Clip skip": skipped + 1 if isinstance(skipped, int) and skipped > 0 else None,
    }
    networks = map(as_object, as_list(found.get("loras")))
    pairs["Lora weights"] = ", ".join(
        f"{_model_name(one.get('model') or one.get('lora'))}: {scalar(one.get('weight'))}"
        for one in networks
    )
    return pairs


def _model_name(model: object) -> str:
    known = as_object(model)
    return scalar(known.get("name")) or scalar(known.get("model_name")) or scalar(model)


def _more_fooocus(found: Object) -> Mapping[str, object]:
    numbers = "".join(c if c.isdigit() else " " for c in scalar(found.get("resolution"))).split()
    return {
        "Size": "x".join(numbers) if len(numbers) == 2 else "",
        "Model": PurePath(scalar(found.get("base_model"))).stem,
    }


def _more_swarm(found: Object) -> Mapping[str, object]:
    return {"Size": size_of(found), "Model": PurePath(scalar(found.get("model"))).name}


FORMS: tuple[Form, ...] = (
    Form(
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
    Form(
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
    Form(
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
    Form(
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

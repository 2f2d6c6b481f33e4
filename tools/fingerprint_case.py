"""One call of `tools/fingerprint.py`: the fields that all cases share, tasks, and how a table becomes cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Fields = Mapping[str, Any]
API = "/sdapi/v1"
CHECKPOINTS = ("demo", "demo-v2", "demo-inpainting", "demo-depth")
VAE = "half.safetensors"
STYLES = (
    "name,prompt,negative_prompt\n"
    'painting,"a painting of {prompt}, stars",photo\n'
    "plain,small,\n"
    '"noted","{prompt} # a comment",\n'
)
BASE: Fields = {
    "prompt": "a red circle on a blue background",
    "negative_prompt": "green, a square",
    "seed": 7,
    "subseed": 5,  # else a random one is in the answer
    "steps": 8,
    "width": 128,
    "height": 128,
    "cfg_scale": 6,
    "sampler_name": "Euler",
}


def soft_inpainting(*arguments: float) -> Fields:
    """Return the field of A1111's script that takes these arguments."""
    return {"alwayson_scripts": {"Soft inpainting": {"args": [True, *arguments]}}}


_PAINTED: Fields = {"init_images": ["@picture"], "denoising_strength": 0.75}
_MASKED: Fields = {**_PAINTED, "mask": "@mask", "inpaint_full_res": False}
# By task: route, fields in addition to BASE, and the checkpoint if none is named.
TASKS: Mapping[str, tuple[str, Fields, str]] = {
    "txt2img": ("/txt2img", {}, "demo"),
    "img2img": ("/img2img", _PAINTED, "demo"),
    "inpaint": ("/img2img", _MASKED, "demo"),
    "soft inpainting": (
        "/img2img",
        {**_MASKED, **soft_inpainting(1, 0.5, 4, 0, 0.5, 2), "mask_blur": 12},
        "demo",
    ),
    "depth": ("/img2img", _PAINTED, "demo-depth"),
    "hires": ("/txt2img", {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6}, "demo"),
}


@dataclass(frozen=True)
class Case:
    """One call.

    Args:
        name: Group and row, with a slash between.
        path: The route.
        body: The JSON that is sent; None for a GET.
        reads: What of the answer is kept: pixels with infotexts, one image's pixels, what else is in the answer of a
            generation, or all of the JSON.
        made_by: A case whose first image is "@made" in the body.
    """

    name: str
    path: str
    body: Fields | None = None
    reads: Literal["images", "image", "answer", "json"] = "images"
    made_by: Case | None = None

    @property
    def checkpoint(self) -> str:
        """Return the checkpoint that the case uses, so that few changes between checkpoints are needed."""
        return (self.body or {}).get("override_settings", {}).get("sd_model_checkpoint", "")


@dataclass(frozen=True)
class Names:
    """What the server lists."""

    routes: tuple[str, ...]  # stable GET routes
    samplers: tuple[str, ...]
    schedules: tuple[str, ...]
    upscalers: tuple[str, ...]
    latent_modes: tuple[str, ...]


def case(group: str, task: str, fields: Fields, checkpoint: str = "", row: str = "") -> Case:
    """Return a call that makes images; fields come before those of the task, and these before BASE."""
    route, own, usual = TASKS[task]
    checkpoint = checkpoint or usual
    chosen = {"sd_model_checkpoint": f"{checkpoint}.safetensors"}
    chosen |= fields.get("override_settings", {})
    name = "/".join(part for part in (group, task, checkpoint, row) if part)
    return Case(name, API + route, {**BASE, **own, **fields, "override_settings": chosen})


def table(
    group: str, task: str, rows: Mapping[str, Fields], checkpoint: str = ""
) -> Iterator[Case]:
    """Yield a case for each row: its name and the fields in which it differs."""
    for row, fields in rows.items():
        yield case(group, task, fields, checkpoint, row)


def options(**chosen: Any) -> dict[str, Any]:
    """Return the field that sets options for one request."""
    return {"override_settings": chosen}


def with_sampler(name: str, **chosen: Any) -> dict[str, Any]:
    """Return the fields of a sampler with options."""
    return {"sampler_name": name, **options(**chosen)}


def some(rows: Mapping[str, Fields], *names: str) -> dict[str, Fields]:
    """Return a few rows of a table."""
    return {name: rows[name] for name in names}

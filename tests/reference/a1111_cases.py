"""The requests that A1111 1.10.1 answered, its images, and how near ours come to them; they lie beside the repository."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from modules import app
from modules.core.flags import Flags

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "a1111_cases"
# The README of the folder: at most one level on under 0.1 % of the values.
EXACT_LEVELS, EXACT_SHARE = 1, 1e-3
CLOSE_PSNR = 45.0
INVOKE_AI = {"cross_attention_optimization": "InvokeAI"}  # what A1111 has on a processor
# Found since `not_goals.txt` was written.
FAULTS = {
    "script_index_script_args": "it needs every argument of a script; here those that are missing have their defaults",
    "lora_sd_lora_option_mult": "it encoded the prompt for the job before, whose LoRA had the weight 1: exact with"
    " <lora:kohya_lin:1:0.5>",
}
_SCRIPTS_WITH_LEGENDS = ("prompt matrix", "x/y/z plot")
PATIENCE_S = 120
EQUAL_PSNR = 99.0  # stands for infinity
_PARAMETER = re.compile(r'([^:,]+): ("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)')


@dataclass(frozen=True)
class Case:
    """One line of a file of cases.

    Args:
        row: The line: `name`, `endpoint`, `payload`, `checkpoint`, `files`, `result`, `infotexts`, `error`, ...
    """

    row: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Of the case and, before the number and `.png`, of its images."""
        return self.row["name"]

    @property
    def is_refused(self) -> bool:
        """Whether A1111 answered with an error."""
        return "error" in self.row

    @property
    def options(self) -> Mapping[str, Any]:
        """What was set by `/sdapi/v1/options` before the request."""
        return self.row.get("options_set_before") or {}

    def body(self, override_settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request as a client sends it.

        Args:
            override_settings: Added to its own.
        """
        payload = dict(self.row["payload"])
        overrides = {**payload.get("override_settings", {}), **override_settings}
        if self.row.get("checkpoint"):
            overrides["sd_model_checkpoint"] = self.row["checkpoint"]
        if overrides:
            payload["override_settings"] = overrides
        for key, names in (self.row.get("files") or {}).items():
            payload[key] = _sent_files(key, names)
        return payload

    def images(self) -> list[np.ndarray]:
        """Return A1111's images, int16 [height, width, 3] each."""
        return [read_pixels((FOLDER / "images" / name).read_bytes()) for name in self.row["result"]]

    def without_legend(self, pixels: np.ndarray) -> np.ndarray:
        """Return the cells of a grid without what is written above and left of them, which depends on the font."""
        payload = self.row["payload"]
        if payload.get("script_name") not in _SCRIPTS_WITH_LEGENDS:
            return pixels
        sides = [
            side - side % payload[name]
            for side, name in zip(pixels.shape, ("height", "width"), strict=False)
        ]
        return pixels[-sides[0] :, -sides[1] :] if all(sides) else pixels


def _sent_files(key: str, names: str | Sequence[str]) -> Any:
    """Return the images of a field in base64, in the shape that the field has."""
    if isinstance(names, str):
        return _encoded(names)
    if key == "imageList":  # of /extra-batch-images
        return [{"data": _encoded(name), "name": name} for name in names]
    return [_encoded(name) for name in names]


def _encoded(name: str) -> str:
    return base64.b64encode((FOLDER / "images" / name).read_bytes()).decode()


def read_pixels(data: bytes) -> np.ndarray:
    """Return the pixels of an image's file, int16 [height, width, 3], 0 to 255."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


def read_cases(file: str, group: str = "") -> list[Case]:
    """Return the cases of a file that have images or an error, of one checkpoint after another.

    Args:
        file: Its name in the folder.
        group: The `group` of the cases, "" for those without one.
    """
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    cases = [Case(row) for row in map(json.loads, lines) if row.get("group", "") == group]
    cases = [case for case in cases if case.is_refused or case.row.get("result")]
    return sorted(cases, key=lambda case: case.row.get("checkpoint") or "")  # few loads


def read_reasons() -> dict[str, str]:
    """Return what is right where A1111 is wrong or irreproducible, by the names of the cases."""
    lines = (FOLDER / "not_goals.txt").read_text(encoding="utf-8").splitlines()
    return {
        name: reason.strip()
        for name, _, reason in (line.partition(" ") for line in lines if line[:1] not in ("", "#"))
    }


@dataclass(frozen=True)
class Difference:
    """How far our images are from A1111's; its string is a row of the table.

    Args:
        name: Of the case.
        levels: The largest difference of a value.
        share: Of the values that differ, 0 to 1.
        psnr: Of all images together, in dB.
        keys: In which the infotexts differ, the version apart: another value, "-key" is missing, "+key" is only ours.
            None where A1111 wrote none.
        note: What kept the images from being compared: shapes, an error.
    """

    name: str
    levels: int = 0
    share: float = 0.0
    psnr: float = EQUAL_PSNR
    keys: tuple[str, ...] | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return "exact", "close" or "differs", as the README has it, "refused" for an error that A1111 has too."""
        if self.note:
            return "refused" if self.note == "refused" else "differs"
        if self.levels <= EXACT_LEVELS and self.share < EXACT_SHARE:
            return "exact"
        return "close" if self.psnr >= CLOSE_PSNR else "differs"

    @property
    def lost_keys(self) -> list[str]:
        """Return the keys of A1111's infotexts that are missing in ours or have another value."""
        return [key for key in self.keys or () if not key.startswith("+")]

    def __str__(self) -> str:
        """Return the row."""
        infotext = "" if self.keys is None else ", ".join(self.keys) or "yes"
        measured = f"{self.levels:3} {100 * self.share:8.3f} % {self.psnr:5.1f} dB"
        return f"{self.name:36} {self.verdict:8} {self.note or measured:22} {infotext}"


@contextmanager
def serve(data: Path) -> Iterator[TestClient]:
    """Yield a client of the API on a started engine.

    Args:
        data: The folder with the checkpoints and networks of the cases.
    """
    flags = Flags(nowebui=True, use_cpu=True, data_dir=data, ckpt="tiny.safetensors")
    engine = app.make_engine(flags, app.make_paths(flags))
    engine.start()
    deadline = time.monotonic() + PATIENCE_S
    while engine.device_status.phase != "ready":
        assert time.monotonic() < deadline and engine.device_status.phase != "failed", (
            engine.device_status
        )
        time.sleep(0.05)
    with TestClient(app.make_app(engine, flags)) as client:
        yield client
    engine.stop()


def send(client: TestClient, case: Case, override_settings: Mapping[str, Any]) -> Difference:
    """Send a case, with its options set for the time, and return how far the images are from A1111's.

    Args:
        client: Of a started engine.
        case: The case.
        override_settings: Added to its own.
    """
    options = client.get("/sdapi/v1/options").json()
    if case.options:
        client.post("/sdapi/v1/options", json=dict(case.options)).raise_for_status()
    try:
        response = client.post(case.row["endpoint"], json=case.body(override_settings))
    finally:
        if case.options:
            before = {key: options[key] for key in case.options if key in options}
            client.post("/sdapi/v1/options", json=before).raise_for_status()
    return compare(case, response.status_code, response.json())


def compare(case: Case, status: int, answer: Mapping[str, Any]) -> Difference:
    """Return how far the answer to a case is from A1111's.

    Args:
        case: The case.
        status: Of the answer.
        answer: Its JSON.
    """
    if status != 200 or case.is_refused:
        both = status != 200 and case.is_refused
        return Difference(
            case.name, note="refused" if both else f"{status}: {answer.get('errors', answer)}"
        )
    images = answer.get("images") or [answer["image"]]
    pixels = [read_pixels(base64.b64decode(image.split(",")[-1])) for image in images]
    ours, theirs = (list(map(case.without_legend, each)) for each in (pixels, case.images()))
    keys = _differing_keys(case, answer)
    shapes = [one.shape for one in ours], [one.shape for one in theirs]
    if shapes[0] != shapes[1]:
        return Difference(case.name, keys=keys, note=f"{shapes[0]} for {shapes[1]}")
    apart = np.concatenate(
        [abs(one - other).ravel() for one, other in zip(ours, theirs, strict=True)]
    )
    error = float(np.square(apart.astype(float)).mean())
    psnr = 10 * math.log10(255**2 / error) if error else EQUAL_PSNR
    return Difference(case.name, int(apart.max()), float((apart > 0).mean()), psnr, keys)


def _differing_keys(case: Case, answer: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the keys in which the infotexts differ from A1111's; None where it wrote none."""
    if case.row.get("html_info"):  # of Extras
        return () if answer.get("html_info") == case.row["html_info"] else ("html_info",)
    theirs = case.row.get("infotexts")
    if not theirs:
        return None
    ours = json.loads(answer.get("info") or "{}").get("infotexts") or []
    if len(ours) != len(theirs):
        return (f"{len(ours)} for {len(theirs)}",)
    keys: dict[str, None] = {}
    for one, other in zip(map(_read_infotext, ours), map(_read_infotext, theirs), strict=True):
        keys.update(dict.fromkeys(_compare_values(one, other)))
    return tuple(keys)


def _compare_values(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Return the keys with another value, the missing ones after a minus, those that A1111 has not after a plus."""
    return [
        *(key if key in ours else f"-{key}" for key in theirs if ours.get(key) != theirs[key]),
        *(f"+{key}" for key in ours if key not in theirs),
    ]


def _read_infotext(infotext: str) -> dict[str, str]:
    """Return the values of an infotext without the program's; "7.0", as A1111's API writes a 7, counts as "7"."""
    prompts, _, parameters = infotext.rpartition("\n")
    values = {key: value.removesuffix(".0") for key, value in _PARAMETER.findall(parameters)}
    if "Refiner" in values:  # A1111 leaves its hash out when it has not computed it yet
        values["Refiner"] = values["Refiner"].partition(" [")[0]
    return {"prompts": prompts} | {k: v for k, v in values.items() if k not in ("Version", "App")}

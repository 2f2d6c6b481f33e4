"""Plans what is done with a finished image: upscaling and face restoration, in A1111's order and with its infotext."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from modules.core.errors import UserError
from modules.images.filename import Destination
from modules.images.metadata import PARAMETERS_KEY, read_metadata
from modules.images.upscale import upscaled_size
from modules.models.face_restorers import CODEFORMER, GFPGAN, FaceRestorerFile, find_restorer
from modules.models.upscaler_list import UpscalerList
from modules.models.upscaling.upscalers import UpscalerModel
from modules.params.requests.extras import SCALE_BY, ExtrasRequest
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.plan.tables import PlanSources
from modules.plan.upscaling import PlannedUpscaler, check_result_size, plan_image_upscaler

# A1111's name of the text in a PNG about the postprocessing of the image.
POSTPROCESSING_KEY = "postprocessing"
_FOLDER = "extras-images"
_STEPS = "Steps: "
_SEED = re.compile(r"\bSeed: (\d{1,20})\b")
_BRACKETS = re.compile(r"[\[\]]")
_NEEDS_QUOTES = re.compile(r"[,:\n]")


@dataclass(frozen=True)
class Enlargement:
    """How an image is enlarged.

    Args:
        upscaler: Enlarges it.
        scale: The factor for both sides.
        second: Enlarges it a second time; that result is blended in. None for no second one.
        second_visibility: From 0 for the first result alone to 1 for the second alone.
        crop: Width and height to which the middle of the result is cropped; None leaves it.
    """

    upscaler: PlannedUpscaler
    scale: float
    second: PlannedUpscaler | None = None
    second_visibility: float = 0.0
    crop: tuple[int, int] | None = None

    @property
    def upscalers(self) -> tuple[PlannedUpscaler, ...]:
        """Return the one or two upscalers."""
        return (self.upscaler,) if self.second is None else (self.upscaler, self.second)


@dataclass(frozen=True)
class FaceRestoration:
    """How the faces of an image are restored.

    Args:
        name: Of the restorer.
        restorer: Its file.
        detector: The weights of the network that finds the faces.
        visibility: Opacity of the new faces, above 0 to 1.
        weight: How close CodeFormer keeps a face to the image, 0 to 1.
    """

    name: str
    restorer: FaceRestorerFile
    detector: Path
    visibility: float
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ExtrasPlan(JobPlan):
    """What is done with one image.

    Args:
        request: The request.
        enlargement: How it is enlarged; None leaves its size.
        restorations: How its faces are restored after that, in order.
        pairs: Their infotext, with A1111's keys.
    """

    request: ExtrasRequest
    enlargement: Enlargement | None
    pairs: Mapping[str, str]
    restorations: tuple[FaceRestoration, ...] = ()

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """Return the files of its networks."""
        upscalers = () if self.enlargement is None else self.enlargement.upscalers
        methods = [planned.upscaler.method for planned in upscalers]
        files = [method.file for method in methods if isinstance(method, UpscalerModel)]
        files += [one.restorer.file for one in self.restorations]
        return tuple(file.path for file in files)

    @property
    def image_count(self) -> int:
        """Return 1."""
        return 1

    @property
    def postprocessing(self) -> str:
        """Return what was done with the image, as A1111 writes it; "" for nothing."""
        return ", ".join(f"{key}: {_quote(value)}" for key, value in self.pairs.items())

    def image_seed(self, index: int) -> int:
        """Return the source's seed, 0 if it is not known."""
        del index
        found = _SEED.search(self.request.source_texts.get(PARAMETERS_KEY, ""))
        return int(found[1]) if found else 0

    def image_infotext(self, index: int) -> str:
        """Return the source's infotext with what was done with the image added to its last line."""
        del index
        source = self.request.source_texts.get(PARAMETERS_KEY, "").rstrip()
        has_pairs = _STEPS in source.rpartition("\n")[2]
        return (", " if has_pairs else "\n").join(filter(None, (source, self.postprocessing)))

    def image_chunks(self, index: int) -> Mapping[str, str]:
        """Return the source's texts as they are, and what was done with the image as a text of its own."""
        del index
        done = self.postprocessing
        return {**self.request.source_texts, **({POSTPROCESSING_KEY: done} if done else {})}

    def image_destination(self) -> Destination | None:
        """Return the file that is named after the source's; None for one that is numbered."""
        name = self.request.source_name if self.settings.use_original_name_batch else ""
        return Destination(_FOLDER, name + self.name_suffix) if name else None

    @property
    def name_suffix(self) -> str:
        """Return what the settings add to the name of the file, "" for nothing."""
        if self.enlargement is None or not self.settings.use_upscaler_name_as_suffix:
            return ""
        return f"-{self.enlargement.upscaler.upscaler.name}"


def read_source(data: bytes, name: str = "") -> dict[str, Any]:
    """Return the fields of a request that the file of its image fills.

    Args:
        data: The bytes of the file.
        name: What the file is called, if the result is to be named after it.

    Raises:
        UserError: it is not an image, too large or damaged.
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    texts = dict(read_metadata(data).items)
    return {"image": data, "source_texts": texts, "source_name": stem}


def plan_extras(request: ExtrasRequest, settings: Settings, sources: PlanSources) -> ExtrasPlan:
    """Return the plan of a request.

    Raises:
        NotFound: there is no such upscaler.
        BadFile: an upscaler's file cannot be used.
        Unsupported: an upscaler works on latents, or a restorer of faces has no file.
        UserError: there is no image, or the new one would be too large.
    """
    if request.image is None:
        raise UserError("There is no picture.", "Choose one to enlarge.")
    upscalers = UpscalerList(sources.tables.upscalers, sources.models)
    first, second = (
        _plan_upscaler(name, upscalers, settings)
        for name in (request.upscaler_1, request.upscaler_2)
    )
    enlargement, pairs = None, {}
    if first is not None:
        if not request.extras_upscaler_2_visibility:
            second = None
        scale, crop, pairs = _plan_size(request, request.image.size)
        result_size(request, request.image.size, settings)
        enlargement = Enlargement(first, scale, second, request.extras_upscaler_2_visibility, crop)
        pairs["Postprocess upscaler"] = first.upscaler.name
        if second is not None:
            pairs["Postprocess upscaler 2"] = second.upscaler.name
    restorations = _plan_faces(request, sources)
    for one in restorations:
        pairs[f"{one.name} visibility"] = str(round(one.visibility, 3))
        if one.name == CODEFORMER.name:
            pairs[f"{one.name} weight"] = str(round(one.weight, 3))
    plan = ExtrasPlan(
        request=request,
        settings=settings,
        enlargement=enlargement,
        pairs=pairs,
        restorations=restorations,
    )
    return replace(plan, settings=_saving_settings(plan))


def result_size(
    request: ExtrasRequest, size: tuple[int, int], settings: Settings
) -> tuple[int, int]:
    """Return width and height of the result of an image of a size, if an upscaler is chosen.

    Raises:
        UserError: it would be too large.
    """
    scale, crop, _ = _plan_size(request, size)
    upscaled = upscaled_size(size, scale)
    check_result_size(upscaled, settings)
    return crop or upscaled


def _saving_settings(plan: ExtrasPlan) -> Settings:
    """Return the settings with which the result is saved: numbered, in one folder, as in A1111."""
    pattern = _BRACKETS.sub("", plan.name_suffix.lstrip("-")) or "[none]"
    settings = plan.settings
    return settings.replace(
        samples_filename_pattern=pattern,
        save_images_add_number=True,
        save_to_dirs=False,
        samples_save=settings.samples_save and plan.request.save_output,
    )


def _plan_faces(request: ExtrasRequest, sources: PlanSources) -> tuple[FaceRestoration, ...]:
    detector = sources.face_detector
    shares = {GFPGAN: request.gfpgan_visibility, CODEFORMER: request.codeformer_visibility}
    chosen = {row: share for row, share in shares.items() if share}
    if not chosen or detector is None:
        return ()
    return tuple(
        FaceRestoration(
            row.name,
            find_restorer(sources.models, row),
            detector,
            share,
            request.codeformer_weight if row is CODEFORMER else 0.0,
        )
        for row, share in chosen.items()
    )


def _plan_upscaler(
    name: str, upscalers: UpscalerList, settings: Settings
) -> PlannedUpscaler | None:
    """Return an upscaler, None for A1111's "None"."""
    upscaler = upscalers.get(name) if name else None
    if upscaler is None or upscaler.method is None:
        return None
    return plan_image_upscaler(upscaler, settings)


def _plan_size(
    request: ExtrasRequest, size: tuple[int, int]
) -> tuple[float, tuple[int, int] | None, dict[str, str]]:
    """Return the factor by which an image is enlarged, the size to which it is cropped, and the infotext of both."""
    if request.resize_mode == SCALE_BY:
        scale, longest = request.upscaling_resize, max(size) * request.upscaling_resize
        if not request.max_side_length or longest <= request.max_side_length:
            return scale, None, {"Postprocess upscale by": str(float(scale))}
        limit = request.max_side_length
        pairs = {"Postprocess upscale by": str(float(scale)), "Max side length": str(limit)}
        return limit / max(size), None, pairs
    target = request.upscaling_resize_w, request.upscaling_resize_h
    text = f"{target[0]}x{target[1]}"
    pairs = {"Postprocess upscale to": text}
    if request.upscaling_crop:
        pairs["Postprocess crop to"] = text
    scale = max(target[0] / size[0], target[1] / size[1])
    return scale, target if request.upscaling_crop else None, pairs


def _quote(value: str) -> str:
    """Return a value of the infotext, in quotes where it would be read as several."""
    return json.dumps(value, ensure_ascii=False) if _NEEDS_QUOTES.search(value) else value

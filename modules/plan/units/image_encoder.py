"""Finds the image encoder that an adapter reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from modules.core.errors import NotFound, WebUIError
from modules.models.control import clip_vision, ip_adapter, style_adapter
from modules.models.control.control_model import ControlModel
from modules.models.files.header import read_header
from modules.models.files.scan import FileStamp, ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import CLIP_VISION

_POOLED_WIDTH = 1280  # of SDXL's text
_CACHED = 64  # headers; those of .bin files are a pickle, which takes a moment to read


def find_image_encoder(label: str, model: ControlModel, models: ModelIndex) -> ModelFile:
    """Return the file of an image encoder that an IP-Adapter can read, from models/clip_vision or next to it.

    Args:
        label: Of the unit, for messages.
        model: An IP-Adapter.
        models: Lists the files.

    Raises:
        NotFound: there is none.
    """
    facts = _adapter_facts(model.stamp)
    subject = f"{label}: '{model.title}'"
    return _find(subject, facts.image_width, models, is_hidden=facts.reads_hidden_states)


def find_style_encoder(label: str, model: ControlModel, models: ModelIndex) -> ModelFile:
    """Return the file of an image encoder that a T2I style adapter can read.

    Args:
        label: Of the unit, for messages.
        model: A style adapter.
        models: Lists the files.

    Raises:
        NotFound: there is none.
    """
    facts = style_adapter.read_facts(read_header(model.path).tensors)
    assert not isinstance(facts, str), "the index refuses those that cannot be used"
    return _find(f"{label}: '{model.title}'", facts.image_width, models, is_hidden=True)


def find_revision_encoder(label: str, models: ModelIndex) -> ModelFile:
    """Return the file of an image encoder that gives what SDXL has as pooled text.

    Args:
        label: Of the unit, for messages.
        models: Lists the files.

    Raises:
        NotFound: there is none.
    """
    return _find(f"{label}: revision", _POOLED_WIDTH, models, is_hidden=False)


def _find(subject: str, width: int, models: ModelIndex, *, is_hidden: bool) -> ModelFile:
    for scans_again in (False, True):
        if scans_again:  # a file may just have been put there
            models.refresh(CLIP_VISION)
            models.control.refresh()
        for file in _candidates(models):
            vision = _vision_facts(file.stamp)
            if vision is not None and vision.gives(width, hidden=is_hidden):
                return file
    raise NotFound(
        f"{subject} needs an image encoder that is not there.",
        clip_vision.describe_missing_encoder(width, hidden=is_hidden),
    )


def _candidates(models: ModelIndex) -> Iterator[ModelFile]:
    yield from models.files(CLIP_VISION)
    for file in models.control.all():
        if not file.layout and not file.facts.error:
            yield file


@lru_cache(_CACHED)
def _adapter_facts(stamp: FileStamp) -> ip_adapter.IPAdapterFacts:
    facts = ip_adapter.read_facts(read_header(Path(stamp.path)).tensors)
    assert not isinstance(facts, str), "the index refuses those that cannot be used"
    return facts


@lru_cache(_CACHED)
def _vision_facts(stamp: FileStamp) -> clip_vision.VisionFacts | None:
    try:
        return clip_vision.read_facts(read_header(Path(stamp.path)).tensors)
    except WebUIError:  # damaged: it is none
        return None

"""Extracts the infotext of an image, whichever program wrote it and wherever the file holds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from modules.images.metadata import PARAMETERS_KEY, Metadata
from modules.infotext.codecs import has_hires
from modules.infotext.foreign.comfyui import infotext_from_comfyui
from modules.infotext.foreign.json_formats import (
    JSON_FORMATS,
    JsonFormat,
    infotext_from_json,
    parse_json_object,
)
from modules.infotext.text_format import Infotext, parse_infotext


def extract_infotext(
    metadata: Metadata, json_formats: Iterable[JsonFormat] = JSON_FORMATS
) -> Infotext:
    """Return the infotext of an image; an empty one if its metadata hold none that is understood."""
    from_json = infotext_from_json(metadata.items, json_formats)
    if from_json is not None:
        return from_json
    text = metadata.items.get(PARAMETERS_KEY, "")
    if text.strip() and parse_json_object(text) is None:
        return parse_infotext(text)
    graph = infotext_from_comfyui(metadata.items)
    if graph is None:
        return Infotext()
    if "Size" in graph.pairs or has_hires(graph.pairs):
        return graph
    width, height = metadata.size  # an img2img workflow contains no size
    return replace(graph, pairs={**graph.pairs, "Size": f"{width}x{height}"})

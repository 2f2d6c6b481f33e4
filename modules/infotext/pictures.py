"""The infotext of a picture, whichever program wrote it and wherever it lies in the file."""

from __future__ import annotations

from dataclasses import replace

from modules.images.metadata import PARAMETERS_KEY, Metadata
from modules.infotext.codecs import has_hires
from modules.infotext.comfyui import words_of_comfyui
from modules.infotext.json_forms import words_of_json
from modules.infotext.json_values import json_object
from modules.infotext.words import Words, parse


def words_of(metadata: Metadata) -> Words:
    """Return the words of a picture; none of them when its file tells nothing that is understood."""
    found = words_of_json(metadata.items)
    if found is not None:
        return found
    text = metadata.items.get(PARAMETERS_KEY, "")
    if text.strip() and json_object(text) is None:
        return parse(text)
    graph = words_of_comfyui(metadata.items)
    if graph is None:
        return Words()
    if "Size" in graph.pairs or has_hires(graph.pairs):
        return graph
    width, height = metadata.size  # a graph that begins with a picture tells no size
    return replace(graph, pairs={**graph.pairs, "Size": f"{width}x{height}"})

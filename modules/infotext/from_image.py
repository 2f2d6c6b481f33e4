"""The infotext of a picture, whichever program wrote it and wherever it lies in the file."""

from __future__ import annotations

from dataclasses import replace

from modules.images.metadata import PARAMETERS_KEY, Metadata
from modules.infotext.codecs import has_hires
from modules.infotext.foreign.comfyui import infotext_from_comfyui
from modules.infotext.foreign.json_formats import infotext_from_json, parse_json_object
from modules.infotext.text_format import Infotext, parse_infotext


def extract_infotext(metadata: Metadata) -> Infotext:
    """Return the words of a picture; none of them when its file tells nothing that is understood."""
    found = infotext_from_json(metadata.items)
    if found is not None:
        return found
    text = metadata.items.get(PARAMETERS_KEY, "")
    if text.strip() and parse_json_object(text) is None:
        return parse_infotext(text)
    graph = infotext_from_comfyui(metadata.items)
    if graph is None:
        return Infotext()
    if "Size" in graph.pairs or has_hires(graph.pairs):
        return graph
    width, height = metadata.size  # a graph that begins with a picture tells no size
    return replace(graph, pairs={**graph.pairs, "Size": f"{width}x{height}"})

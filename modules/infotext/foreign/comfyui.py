"""ComfyUI's graph of nodes, walked from its sampler, in A1111's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from modules.infotext.foreign.json_formats import (
    JsonObject,
    as_list,
    as_object,
    format_scalar,
    parse_json_object,
)
from modules.infotext.text_format import Infotext, strip_lines

Node = Mapping[
    str, Any
]  # {"class_type": name, "inputs": {name: a value, or [another node's id, its output]}}
Graph = Mapping[str, Node]

_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_OUTPUTS = ("SaveImage", "PreviewImage", "SaveImageWebsocket")
_UPSCALERS = ("LatentUpscale", "LatentUpscaleBy")
_METHODS = {
    "nearest-exact": "Latent (nearest-exact)",
    "bilinear": "Latent",
    "bicubic": "Latent (bicubic)",
}
# The order of the values that the page's own form, `workflow`, keeps without names; "" is no input.
_WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise",
        "noise_seed",
        "",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "start_at_step",
        "end_at_step",
        "return_with_leftover_noise",
    ),
    "CLIPTextEncode": ("text",),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "VAELoader": ("vae_name",),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
}
# Where the search for words goes on behind a node that only bends them.
_TEXTS = ("text", "text_g", "string", "value", "prompt", "text_l")
_WORDS_FROM = ("conditioning", "conditioning_1", "conditioning_to", "positive", "conditioning_2")


def infotext_from_comfyui(items: Mapping[str, str]) -> Infotext | None:
    """Return what ComfyUI's texts tell of the picture; None when they are not there or hold no sampler."""
    graph = _graph(parse_json_object(items.get("prompt", ""))) or _from_workflow(
        parse_json_object(items.get("workflow", ""))
    )
    last = _last_sampler(graph)
    if last is None:
        return None
    warnings: list[str] = []
    between: list[Node] = list(_behind(graph, last, "latent_image"))
    firsts = [node for node in between if node["class_type"] in _SAMPLERS]
    first = firsts[-1] if firsts else last
    pairs = _sampling(graph, first)
    if firsts:
        pairs |= _second_pass(graph, last, between)
        if len(firsts) > 1:
            warnings.append("The workflow samples more than twice; only two passes are read.")
    source: list[Node] = list(_behind(graph, first, "latent_image"))
    pairs |= _size(graph, source)
    if not firsts and any("pixels" in node["inputs"] for node in source):
        pairs["Denoising strength"] = format_scalar(_value(graph, last, "denoise")) or "1"
    model: list[Node] = list(_behind(graph, first, "model"))
    pairs |= _files(graph, model)
    prompt, skip = _text(graph, first, "positive")
    negative, _ = _text(graph, first, "negative")
    if skip:
        pairs["Clip skip"] = skip
    networks = "".join(
        f" <lora:{PurePosixPath(format_scalar(node['inputs'].get('lora_name'))).stem}"
        f":{format_scalar(_value(graph, node, 'strength_model')) or '1'}>"
        for node in reversed(model)
        if "lora_name" in node["inputs"]
    )
    known = {key: value for key, value in pairs.items() if value}
    return Infotext(
        strip_lines(prompt + networks), strip_lines(negative), known, "ComfyUI", tuple(warnings)
    )


def _graph(found: JsonObject | None) -> Graph:
    """Return the nodes that are whole, by id."""
    return {
        key: node
        for key, node in (found or {}).items()
        if format_scalar(as_object(node).get("class_type")) and isinstance(node.get("inputs"), dict)
    }


def _from_workflow(found: JsonObject | None) -> Graph:
    """Return the same of the page's own form, which keeps values by their place and links in a list."""
    links: dict[str, list[Any]] = {}
    for link in map(as_list, as_list((found or {}).get("links"))):
        if len(link) >= 3:
            links[format_scalar(link[0])] = [format_scalar(link[1]), link[2]]
    graph: dict[str, Node] = {}
    for node in map(as_object, as_list((found or {}).get("nodes"))):
        kind = format_scalar(node.get("type"))
        named = zip(_WIDGETS.get(kind, ()), as_list(node.get("widgets_values")), strict=False)
        inputs: dict[str, Any] = {name: value for name, value in named if name}
        for slot in map(as_object, as_list(node.get("inputs"))):
            link = links.get(format_scalar(slot.get("link")))
            if link is not None:
                inputs[format_scalar(slot.get("name"))] = link
        graph[format_scalar(node.get("id"))] = {"class_type": kind, "inputs": inputs}
    return _graph(graph)


def _last_sampler(graph: Graph) -> Node | None:
    """Return the sampler whose picture is saved, or else the last one that is there."""
    for node in graph.values():
        if node["class_type"] in _OUTPUTS:
            found = (one for one in _all_behind(graph, node) if one["class_type"] in _SAMPLERS)
            sampler = next(found, None)
            if sampler is not None:
                return sampler
    samplers = [node for node in graph.values() if node["class_type"] in _SAMPLERS]
    return samplers[-1] if samplers else None


def _linked(graph: Graph, node: Node, name: str) -> Node | None:
    link = as_list(node["inputs"].get(name))
    return graph.get(format_scalar(link[0])) if link else None


def _value(graph: Graph, node: Node, name: str) -> Any:  # whatever JSON holds
    """Return a node's value, or that of the node which stands for it."""
    value = node["inputs"].get(name)
    if not isinstance(value, list):
        return value
    source = _linked(graph, node, name)
    if source is None:
        return None
    names = (name, "value", "seed", "noise_seed", "int", "float", "number", "string")
    given = (source["inputs"].get(one) for one in names)
    return next((one for one in given if isinstance(one, str | int | float)), None)


def _behind(graph: Graph, node: Node, name: str) -> Iterator[Node]:
    """Yield the nodes behind an input, nearest first, along the inputs that hand the same thing on."""
    onward = (name, "samples", "latent", "latent_image", "model")
    seen = {id(node)}
    found = _linked(graph, node, name)
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        here = found
        nexts = (_linked(graph, here, one) for one in onward if one != "model" or name == "model")
        found = next((one for one in nexts if one is not None), None)


def _all_behind(graph: Graph, node: Node) -> Iterator[Node]:
    """Yield every node behind a node, nearest first."""
    seen, waiting = {id(node)}, [node]
    while waiting:
        here = waiting.pop(0)
        for name in here["inputs"]:
            found = _linked(graph, here, name)
            if found is not None and id(found) not in seen:
                seen.add(id(found))
                waiting.append(found)
                yield found


def _sampling(graph: Graph, sampler: Node) -> dict[str, str]:
    def value(*names: str) -> str:
        found = (format_scalar(_value(graph, sampler, name)) for name in names)
        return next((one for one in found if one), "")

    return {
        "Steps": value("steps"),
        "Sampler": value("sampler_name"),
        "Schedule type": value("scheduler"),
        "CFG scale": value("cfg"),
        "Seed": value("seed", "noise_seed"),
    }


def _second_pass(graph: Graph, sampler: Node, between: list[Node]) -> dict[str, str]:
    """Return the hires keys of a sampler that goes on from another one's latents."""
    pairs = {
        "Denoising strength": format_scalar(_value(graph, sampler, "denoise")),
        "Hires steps": format_scalar(_value(graph, sampler, "steps")),
        "Hires upscale": "1",
    }
    for node in between:
        if node["class_type"] in _UPSCALERS:
            method = format_scalar(_value(graph, node, "upscale_method"))
            pairs["Hires upscaler"] = _METHODS.get(method, method)
            if node["class_type"] == "LatentUpscaleBy":
                pairs["Hires upscale"] = format_scalar(_value(graph, node, "scale_by"))
            else:
                width, height = (
                    format_scalar(_value(graph, node, one)) for one in ("width", "height")
                )
                pairs["Hires resize"] = f"{width}x{height}"
                pairs["Hires upscale"] = ""
            break
    return pairs


def _size(graph: Graph, source: list[Node]) -> dict[str, str]:
    for node in source:
        width, height = (format_scalar(_value(graph, node, one)) for one in ("width", "height"))
        if width and height and node["class_type"] not in _UPSCALERS:
            return {"Size": f"{width}x{height}"}
    return {}


def _files(graph: Graph, model: list[Node]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    names = (format_scalar(_value(graph, node, "ckpt_name")) for node in model)
    pairs["Model"] = next((name for name in names if name), "")
    for node in graph.values():
        if node["class_type"].startswith("VAEDecode"):
            loader = _linked(graph, node, "vae")
            if loader is not None and "vae_name" in loader["inputs"]:
                pairs["VAE"] = PurePosixPath(format_scalar(_value(graph, loader, "vae_name"))).name
    return pairs


def _text(graph: Graph, sampler: Node, name: str) -> tuple[str, str]:
    """Return the words of one side of a sampler, and the clip skip with which they are read, "" when none."""
    node, seen = _linked(graph, sampler, name), set[int]()
    while node is not None and id(node) not in seen:
        seen.add(id(node))
        here = node
        found = (_value(graph, here, one) for one in _TEXTS if one in here["inputs"])
        text = next((one for one in found if isinstance(one, str)), None)
        if text is not None:
            clip = _linked(graph, here, "clip")
            last = (
                format_scalar(_value(graph, clip, "stop_at_clip_layer")) if clip is not None else ""
            )
            return text, last.removeprefix("-") if last not in ("", "-1") else ""
        onward = (_linked(graph, here, one) for one in (name, *_WORDS_FROM))
        node = next((one for one in onward if one is not None), None)
    return "", ""

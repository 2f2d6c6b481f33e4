"""Converts a ComfyUI workflow to A1111's keys by following its node graph from the last sampler."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
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

# {"class_type": name, "inputs": {name: a value, or [another node's id, its output]}}
Node = Mapping[str, Any]
Graph = Mapping[str, Node]  # nodes by id

_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_OUTPUT_NODES = ("SaveImage", "PreviewImage", "SaveImageWebsocket")
_UPSCALERS = ("LatentUpscale", "LatentUpscaleBy")
_UPSCALE_METHODS = {
    "nearest-exact": "Latent (nearest-exact)",
    "bilinear": "Latent",
    "bicubic": "Latent (bicubic)",
}
# Input names by their position in `widgets_values` of the page's `workflow` format; "" is not an input.
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
# Inputs that hold a prompt, and inputs to follow upstream from a conditioning node without one.
_TEXT_INPUTS = ("text", "text_g", "string", "value", "prompt", "text_l")
_CONDITIONING_INPUTS = (
    "conditioning",
    "conditioning_1",
    "conditioning_to",
    "positive",
    "conditioning_2",
)


def infotext_from_comfyui(items: Mapping[str, str]) -> Infotext | None:
    """Return the infotext of ComfyUI's metadata; None if there are none or they contain no sampler."""
    graph = _parse_graph(parse_json_object(items.get("prompt", ""))) or _parse_workflow(
        parse_json_object(items.get("workflow", ""))
    )
    last_sampler = _last_sampler(graph)
    if last_sampler is None:
        return None
    warnings: list[str] = []
    upstream: list[Node] = list(_follow_input(graph, last_sampler, "latent_image"))
    earlier_samplers = [node for node in upstream if node["class_type"] in _SAMPLERS]
    first_sampler = earlier_samplers[-1] if earlier_samplers else last_sampler
    pairs = _sampling_pairs(graph, first_sampler)
    if earlier_samplers:
        pairs |= _hires_pairs(graph, last_sampler, upstream)
        if len(earlier_samplers) > 1:
            warnings.append("The workflow samples more than twice; only two passes are read.")
    latent_nodes: list[Node] = list(_follow_input(graph, first_sampler, "latent_image"))
    pairs |= _size_pairs(graph, latent_nodes)
    if not earlier_samplers and any("pixels" in node["inputs"] for node in latent_nodes):
        denoise = format_scalar(_input_value(graph, last_sampler, "denoise"))
        pairs["Denoising strength"] = denoise or "1"
    model_nodes: list[Node] = list(_follow_input(graph, first_sampler, "model"))
    pairs |= _model_pairs(graph, model_nodes)
    prompt, clip_skip = _find_prompt(graph, first_sampler, "positive")
    negative, _ = _find_prompt(graph, first_sampler, "negative")
    if clip_skip:
        pairs["Clip skip"] = clip_skip
    loras = "".join(
        f" <lora:{PurePosixPath(format_scalar(node['inputs'].get('lora_name'))).stem}"
        f":{format_scalar(_input_value(graph, node, 'strength_model')) or '1'}>"
        for node in reversed(model_nodes)
        if "lora_name" in node["inputs"]
    )
    pairs = {key: value for key, value in pairs.items() if value}
    return Infotext(
        strip_lines(prompt + loras), strip_lines(negative), pairs, "ComfyUI", tuple(warnings)
    )


def _parse_graph(data: JsonObject | None) -> Graph:
    """Return the complete nodes by id."""
    return {
        key: node
        for key, node in (data or {}).items()
        if isinstance(as_object(node).get("class_type"), str)
        and node["class_type"]
        and isinstance(node.get("inputs"), dict)
    }


def _parse_workflow(data: JsonObject | None) -> Graph:
    """Return the graph of the page's `workflow` format, which stores values by position and links in a list."""
    links: dict[str, list[Any]] = {}
    for link in map(as_list, as_list((data or {}).get("links"))):
        if len(link) >= 3:
            links[format_scalar(link[0])] = [format_scalar(link[1]), link[2]]
    graph: dict[str, Node] = {}
    for node in map(as_object, as_list((data or {}).get("nodes"))):
        class_type = format_scalar(node.get("type"))
        names = _WIDGETS.get(class_type, ())
        widgets = zip(names, as_list(node.get("widgets_values")), strict=False)
        inputs: dict[str, Any] = {name: value for name, value in widgets if name}
        for slot in map(as_object, as_list(node.get("inputs"))):
            link = links.get(format_scalar(slot.get("link")))
            if link is not None:
                inputs[format_scalar(slot.get("name"))] = link
        graph[format_scalar(node.get("id"))] = {"class_type": class_type, "inputs": inputs}
    return _parse_graph(graph)


def _last_sampler(graph: Graph) -> Node | None:
    """Return the sampler whose image is saved, otherwise the last sampler in the graph."""
    visited = set[int]()  # of all outputs: what led to no sampler once is not searched again
    for node in graph.values():
        if node["class_type"] in _OUTPUT_NODES:
            for ancestor in _all_upstream(graph, node, visited):
                if ancestor["class_type"] in _SAMPLERS:
                    return ancestor
    samplers = [node for node in graph.values() if node["class_type"] in _SAMPLERS]
    return samplers[-1] if samplers else None


def _linked_node(graph: Graph, node: Node, name: str) -> Node | None:
    link = as_list(node["inputs"].get(name))
    return graph.get(format_scalar(link[0])) if link else None


def _input_value(graph: Graph, node: Node, name: str) -> Any:  # any JSON value
    """Return the value of a node's input, or the value of the node linked to it."""
    value = node["inputs"].get(name)
    if not isinstance(value, list):
        return value
    source = _linked_node(graph, node, name)
    if source is None:
        return None
    names = (name, "value", "seed", "noise_seed", "int", "float", "number", "string")
    values = (source["inputs"].get(source_name) for source_name in names)
    return next((value for value in values if isinstance(value, str | int | float)), None)


def _follow_input(graph: Graph, node: Node, name: str) -> Iterator[Node]:
    """Yield the nodes upstream of an input, nearest first, along the inputs that pass the same thing on."""
    input_names = [name, "samples", "latent", "latent_image"]
    if name == "model":
        input_names.append("model")
    visited = {id(node)}
    current = _linked_node(graph, node, name)
    while current is not None and id(current) not in visited:
        yield current
        visited.add(id(current))
        current = _first_linked_node(graph, current, input_names)


def _first_linked_node(graph: Graph, node: Node, names: Iterable[str]) -> Node | None:
    linked = (_linked_node(graph, node, name) for name in names)
    return next((source for source in linked if source is not None), None)


def _all_upstream(graph: Graph, node: Node, visited: set[int]) -> Iterator[Node]:
    """Yield all nodes upstream of a node that have not been visited, nearest first."""
    visited.add(id(node))
    queue = deque([node])
    while queue:
        current = queue.popleft()
        for name in current["inputs"]:
            source = _linked_node(graph, current, name)
            if source is not None and id(source) not in visited:
                visited.add(id(source))
                queue.append(source)
                yield source


def _sampling_pairs(graph: Graph, sampler: Node) -> dict[str, str]:
    def value(*names: str) -> str:
        texts = (format_scalar(_input_value(graph, sampler, name)) for name in names)
        return next((text for text in texts if text), "")

    return {
        "Steps": value("steps"),
        "Sampler": value("sampler_name"),
        "Schedule type": value("scheduler"),
        "CFG scale": value("cfg"),
        "Seed": value("seed", "noise_seed"),
    }


def _hires_pairs(graph: Graph, sampler: Node, upstream: list[Node]) -> dict[str, str]:
    """Return the hires pairs of a sampler that continues from another sampler's latents."""
    pairs = {
        "Denoising strength": format_scalar(_input_value(graph, sampler, "denoise")),
        "Hires steps": format_scalar(_input_value(graph, sampler, "steps")),
        "Hires upscale": "1",
    }
    for node in upstream:
        if node["class_type"] in _UPSCALERS:
            method = format_scalar(_input_value(graph, node, "upscale_method"))
            pairs["Hires upscaler"] = _UPSCALE_METHODS.get(method, method)
            if node["class_type"] == "LatentUpscaleBy":
                pairs["Hires upscale"] = format_scalar(_input_value(graph, node, "scale_by"))
            else:
                width, height = _width_and_height(graph, node)
                pairs["Hires resize"] = f"{width}x{height}"
                pairs["Hires upscale"] = ""
            break
    return pairs


def _size_pairs(graph: Graph, latent_nodes: list[Node]) -> dict[str, str]:
    for node in latent_nodes:
        width, height = _width_and_height(graph, node)
        if width and height and node["class_type"] not in _UPSCALERS:
            return {"Size": f"{width}x{height}"}
    return {}


def _width_and_height(graph: Graph, node: Node) -> tuple[str, str]:
    width, height = (_input_value(graph, node, name) for name in ("width", "height"))
    return format_scalar(width), format_scalar(height)


def _model_pairs(graph: Graph, model_nodes: list[Node]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    names = (format_scalar(_input_value(graph, node, "ckpt_name")) for node in model_nodes)
    pairs["Model"] = next((name for name in names if name), "")
    for node in graph.values():
        if node["class_type"].startswith("VAEDecode"):
            loader = _linked_node(graph, node, "vae")
            if loader is not None and "vae_name" in loader["inputs"]:
                vae_name = format_scalar(_input_value(graph, loader, "vae_name"))
                pairs["VAE"] = PurePosixPath(vae_name).name
    return pairs


def _find_prompt(graph: Graph, sampler: Node, name: str) -> tuple[str, str]:
    """Return the prompt connected to a sampler's input and its clip skip, "" for none."""
    node, visited = _linked_node(graph, sampler, name), set[int]()
    while node is not None and id(node) not in visited:
        visited.add(id(node))
        inputs = node["inputs"]
        values = [_input_value(graph, node, text) for text in _TEXT_INPUTS if text in inputs]
        prompt = next((value for value in values if isinstance(value, str)), None)
        if prompt is not None:
            clip = _linked_node(graph, node, "clip")
            stop_at = _input_value(graph, clip, "stop_at_clip_layer") if clip is not None else ""
            layer = format_scalar(stop_at)
            return prompt, layer.removeprefix("-") if layer not in ("", "-1") else ""
        node = _first_linked_node(graph, node, (name, *_CONDITIONING_INPUTS))
    return "", ""

"""Hostile requests: each field of each POST route by bad values, and paths that leave their folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

SMALL = {"prompt": "a", "width": 64, "height": 64, "steps": 1}
_HUGE = "@huge@"  # replaced by an integer that Python's json does not write
BAD_VALUES: tuple[Any, ...] = (
    None, _HUGE, float("nan"), float("inf"), "\ud800", [], {}, [[[1]]], "", -1, "x" * 70_000, True, 1e308,
    "../../etc/passwd", "\0", {"a": {"b": [None]}}, ["\ud800"], {"\ud800": 1},
)  # fmt: skip
BAD_OPTIONS: tuple[Any, ...] = (_HUGE, float("nan"), "\ud800", [], -1, {"a": 1})
DEPTHS = (100, 450, 5000)
# They stop the server, wait for it, or are what the other cases need.
SKIPPED_ROUTES = ("server-", "unload-checkpoint", "reload-checkpoint", "queue/pause", "/events")
_STEPS = (
    "../",
    "..%2f",
    "%2e%2e/",
    "..%5c",
    "..\\",
    "....//",
    "%252e%252e%252f",
    "%c0%ae%c0%ae/",
    "..%00/",
)
_TARGETS = ("etc/passwd", "config.json", "jobs.sqlite", "proc/self/environ")
_ODD = ("%00", "%ff", "%ed%a0%80", "%0d%0aX:%201", "a" * 8000, "%2e", "~root", "C:%5c", "%5c%5chost%5cx", "*", "?" * 9, "%",
        "%zz", "file:///etc/passwd", "http://127.0.0.1:9/", ";", "%3c%73cript%3e", "con", "aux.png", "-1", "1" * 5000)  # fmt: skip
_FOLDERS = ("/", "/file=", "/file/", "/gradio_api/file=", "/gradio_api/proxy=", "/gradio_api/stream/", "/theme/", "/assets/",
            "/static/", "/gradio_api/upload_progress?upload_id=", "/docs/", "/sdapi/v1/", "/internal/", "/api/v1/",
            "/gradio_api/custom_component/", "/svelte/")  # fmt: skip


class Request(NamedTuple):
    """A request, and the name under which its answer is reported."""

    name: str
    method: str
    path: str
    body: bytes = b""


def encode_json(value: Any) -> bytes:
    """Return JSON, with NaN, half characters and integers of 400 digits."""
    return json.dumps(value).replace(f'"{_HUGE}"', "1" + "0" * 400).encode()


def field_requests(document: Mapping[str, Any], picture: str) -> Iterator[Request]:
    """Yield every POST route of the API's document with bad values.

    Args:
        document: /openapi.json.
        picture: A small one in base64.
    """
    for path, methods in document["paths"].items():
        if "post" not in methods or "{" in path or any(part in path for part in SKIPPED_ROUTES):
            continue
        base = _base(path, picture)
        for value in BAD_VALUES:
            body = encode_json({**base, **value} if isinstance(value, dict) else value)
            yield Request(f"{path} = {_shown(value)}", "POST", path, body)
        for name in dict.fromkeys([*_fields(document, methods["post"]), *base, "unknown"]):
            for value in BAD_VALUES:
                body = encode_json({**base, name: value})
                yield Request(f"{path} {name}={_shown(value)}", "POST", path, body)
        for depth in DEPTHS:
            nested = b"[" * depth + b"]" * depth
            body = encode_json({**base, "unknown": "@nested@"}).replace(b'"@nested@"', nested)
            yield Request(f"{path} nested {depth}", "POST", path, body)
    options = document["paths"].get("/sdapi/v1/options", {})
    for name in _fields(document, options["post"]) if "post" in options else ():
        for value in BAD_OPTIONS:
            body = encode_json({**SMALL, "override_settings": {name: value}})
            yield Request(f"option {name}={_shown(value)}", "POST", "/sdapi/v1/txt2img", body)


def _shown(value: Any) -> str:
    return ascii(value)[:40]


def _base(path: str, picture: str) -> dict[str, Any]:
    if path.endswith("/txt2img"):
        return SMALL
    if path.endswith("/img2img"):
        return {**SMALL, "init_images": [picture]}
    if path.endswith("/jobs"):
        return {**SMALL, "task": "txt2img"}
    if path.endswith("batch-images"):
        return {"imageList": [{"data": picture, "name": "a"}]}
    return {"image": picture} if path.endswith(("single-image", "png-info")) else {}


def _fields(document: Mapping[str, Any], route: Mapping[str, Any]) -> list[str]:
    content = route.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", {}))


def path_requests(document: Mapping[str, Any]) -> Iterator[Request]:
    """Yield paths that leave their folder or are no text, below every folder and for each parameter of a path."""
    endings = [
        step * depth + target for step in _STEPS for depth in (1, 4, 9) for target in _TARGETS
    ]
    folders = [*_FOLDERS]
    for path, methods in document["paths"].items():
        if "get" in methods and "{" in path and not any(part in path for part in SKIPPED_ROUTES):
            folders.append(path.partition("{")[0])
    for folder in dict.fromkeys(folders):
        for ending in (*endings, *_ODD, "/etc/passwd"):
            path = folder + ending.replace(" ", "%20")
            yield Request(f"GET {path[:100]}", "GET", path)

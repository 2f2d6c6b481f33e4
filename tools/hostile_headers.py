"""Safetensors files with hostile headers: alone, and as the demo checkpoint with one thing changed."""

from __future__ import annotations

import json
import struct
from functools import partial
from pathlib import Path
from typing import Any

from tools.hostile_opcodes import UNET_CONTEXT, UNET_INPUT, Cases

VOCABULARY = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
DEMO_CONTEXT = (
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"  # 96 wide
)
FOUR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
ODD = {**FOUR, "dtype": "Q"}  # an unknown dtype: its size is not compared with its shape
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
NAN, INFINITY = float("nan"), float("inf")


def make_safetensors(header: bytes, body: bytes = bytes(16), length: int | None = None) -> bytes:
    """Return a safetensors file.

    Args:
        header: Its JSON.
        body: The bytes of its tensors.
        length: What the file says of its header, by default the truth.
    """
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def header_cases() -> Cases:
    """Return files that contain nothing but a hostile header."""
    unet = {
        UNET_INPUT: {**ODD, "shape": [320, 4, 3, 3]},
        UNET_CONTEXT: {**ODD, "shape": [320, 768]},
    }
    headers: dict[str, Any] = {
        "nan-shape": {"a": {**FOUR, "shape": [NAN]}},
        "infinite-shape": {"a": {**FOUR, "shape": [INFINITY]}},
        "nan-offset": {"a": {**ODD, "data_offsets": [0, NAN]}},
        "infinite-offset": {"a": {**ODD, "data_offsets": [0, INFINITY]}},
        "float-offset": {"a": {**ODD, "data_offsets": [0, 1e308]}},
        "negative-shape": {"a": {**FOUR, "shape": [-4]}},
        "scalar": {"a": {**FOUR, "shape": []}},
        "overlap": {"a": FOUR, "b": FOUR},
        "past-end": {"a": {**FOUR, "data_offsets": [16, 32]}},
        "negative-offset": {"a": {**FOUR, "data_offsets": [-16, 0]}},
        "list": [1],
        "metadata-list": {"__metadata__": [1, 2], "a": FOUR},
        "metadata-text": {"__metadata__": "abc", "a": FOUR},
        "shape-text": {"a": {**FOUR, "shape": "1234"}},
        "shape-none": {"a": {**FOUR, "shape": None}},
        "shape-object": {"a": {**FOUR, "shape": {"4": 1}}},
        "dtype-list": {"a": {**FOUR, "dtype": ["F32"]}},
        "float-shape": {"a": {**ODD, "shape": [1.5, 2.5]}},
        "unet-float-shape": {**unet, UNET_INPUT: {**ODD, "shape": [320.0, 4.0, 3, 3]}},
        "unet-object-shape": {**unet, UNET_INPUT: {**ODD, "shape": [{"a": 1}]}},
        "context-list": {**unet, UNET_CONTEXT: {**ODD, "shape": [[1], [2]]}},
        "width-1e300": {**unet, VOCABULARY: {**ODD, "shape": [1, 1e300]}},
        "width-infinite": {**unet, VOCABULARY: {**ODD, "shape": [1, INFINITY]}},
        "shape-bool": {"a": {"dtype": "BOOL", "shape": [True], "data_offsets": [False, True]}},
        "three-offsets": {"a": {**FOUR, "data_offsets": [0, 16, 5]}},
        "huge-axes": {"a": {**EMPTY, "shape": [0] + [2**62] * 60}},
        "entry-integer": {"a": 5},
        "entry-none": {"a": None},
        "nothing": {},
        "name-html": {"<img src=x onerror=alert(1)>": FOUR},
        "name-half-character": {"\ud800": FOUR},
        "dtype-half-character": {UNET_INPUT: {**FOUR, "dtype": "\ud800"}},
        "many-tensors": {f"model.t{at}": EMPTY for at in range(200_000)},
    }
    item = b'{"a":{"dtype":"Q","shape":[%b],"data_offsets":[0,%b]}}'
    raw = {
        "length": b"{}",
        "large": b'{"a":[' + b"[]," * 33_000_000 + b"0]}",
        "twice": json.dumps({"a": FOUR})[:-1].encode()
        + b","
        + json.dumps({"a": FOUR})[1:].encode(),
        "big-shape": item % (b"1" + b"0" * 4000, b"16"),
        "bigger-shape": item % (b"1" + b"0" * 5000, b"16"),
        "big-offset": item % (b"1", b"1" + b"0" * 4000),
        "not-utf8": b'{"\xff\xfe":1}',
        "utf16": '{"a":1}'.encode("utf-16-le"),
        "byte-order-mark": b'\xef\xbb\xbf{"a":1}',
        "deep": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "deep-metadata": b'{"__metadata__":{"a":' + b'{"a":' * 900 + b"1" + b"}" * 902,
    }
    cases: Cases = {
        f"header-{name}.safetensors": partial(
            lambda it: make_safetensors(json.dumps(it).encode()), header
        )
        for name, header in headers.items()
    }
    for name, header in raw.items():
        length = 2**63 if name == "length" else None
        cases[f"header-{name}.safetensors"] = partial(make_safetensors, header, length=length)
    return cases


def demo_cases(demo: Path) -> Cases:
    """Return the demo checkpoint with one thing changed in each copy."""
    data = demo.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:start]), data[start:]
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "vocabulary-infinite": (VOCABULARY, {"dtype": "Q", "shape": [49408, INFINITY]}),
        "vocabulary-nan": (VOCABULARY, {"dtype": "Q", "shape": [49408, NAN]}),
        "vocabulary-1e300": (VOCABULARY, {"dtype": "Q", "shape": [49408, 1e300]}),
        "vocabulary-3d": (VOCABULARY, {"shape": [49408, 32, 1]}),
        "context-infinite": (DEMO_CONTEXT, {"dtype": "Q", "shape": [96, INFINITY]}),
        "dtype-unknown": (UNET_INPUT, {"dtype": "Q"}),
        "dtype-half-character": (UNET_INPUT, {"dtype": "\ud800"}),
        "f8": (UNET_INPUT, {"dtype": "F8_E4M3", "data_offsets": [0, 1152]}),
        "i64": (UNET_INPUT, {"dtype": "I64", "data_offsets": [0, 9216]}),
        "bool": (UNET_INPUT, {"dtype": "BOOL", "data_offsets": [0, 1152]}),
        "u16": (UNET_INPUT, {"dtype": "U16", "data_offsets": [0, 2304]}),
        "complex": (UNET_INPUT, {"dtype": "C64", "data_offsets": [0, 9216]}),
        "odd-offset": (UNET_INPUT, {"data_offsets": [1, 2305]}),
        "unet-3d": (UNET_INPUT, {"shape": [32, 4, 9]}),
    }
    layers = "cond_stage_model.transformer.text_model.encoder.layers"
    added: dict[str, dict[str, Any]] = {
        "empty-huge": {"model.x": {**EMPTY, "shape": [0, 2**62]}},
        "layers-1e9": {f"{layers}.999999999.x": EMPTY},
        "layers-1e20": {f"{layers}.99999999999999999999.x": EMPTY},
        "blocks-1e8": {"model.diffusion_model.input_blocks.99999999.x": EMPTY},
        "rest-half-character": {"\ud800bad": EMPTY},
        "unet-half-character": {"model.diffusion_model.\ud800bad": EMPTY},
        "unet-html": {"model.diffusion_model.<img src=x onerror=alert(1)>": EMPTY},
        "metadata": {
            "__metadata__": {"prediction_type": "<script>", "modelspec.title": "x" * 10**6}
        },
        "alphas": {"alphas_cumprod": {**FOUR, "shape": [1000], "data_offsets": [0, 4000]}},
        "alphas-bool": {
            "alphas_cumprod": {"dtype": "BOOL", "shape": [1000], "data_offsets": [0, 1000]}
        },
    }
    headers: dict[str, Any] = {name: {**header, **tensors} for name, tensors in added.items()}
    for name, (key, change) in changes.items():
        headers[name] = {**header, key: {**header[key], **change}}
    headers["no-context"] = {key: value for key, value in header.items() if key != DEMO_CONTEXT}
    cases: Cases = {
        f"demo-{name}.safetensors": partial(
            lambda it: make_safetensors(json.dumps(it).encode(), body), changed
        )
        for name, changed in headers.items()
    }
    first, last = header[UNET_INPUT]["data_offsets"]
    nan = b"\x00\x7e" if header[UNET_INPUT]["dtype"] == "F16" else b"\x00\x00\xc0\x7f"
    broken = body[:first] + nan * ((last - first) // len(nan)) + body[last:]
    cases["demo-nan-weights.safetensors"] = lambda: make_safetensors(
        json.dumps(header).encode(), broken
    )
    cases["demo-cut.safetensors"] = lambda: data[: len(data) // 2]
    return cases

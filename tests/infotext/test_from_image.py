from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules import infotext
from modules.images.metadata import Metadata
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.infotext.context import make_context

CONTEXT = make_context()
# Names that the readers look for, so that generated data get far into them.
KEYS = st.sampled_from(
    [
        "1",
        "2",
        "3",
        "class_type",
        "inputs",
        "nodes",
        "links",
        "id",
        "type",
        "widgets_values",
        "name",
        "link",
        "seed",
        "latent_image",
        "model",
        "positive",
        "negative",
        "text",
        "samples",
        "images",
        "width",
        "height",
        "loras",
        "positive_prompt",
        "vae",
        "prompt",
        "uc",
        "base_model",
        "sui_image_params",
        "full_prompt",
        "clip_skip",
        "steps",
    ]
)
STRINGS = st.sampled_from(
    ["KSampler", "SaveImage", "CLIPTextEncode", "VAEDecode", "1", "2", "3", "", "euler"]
)
LEAVES = st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | STRINGS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
NODES = st.fixed_dictionaries(
    {
        "class_type": STRINGS,
        "inputs": st.dictionaries(KEYS, st.lists(STRINGS, max_size=2) | LEAVES, max_size=6),
    }
)
GRAPHS = st.dictionaries(st.sampled_from("123"), NODES | VALUES, max_size=3)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


def read(items: dict[str, str]) -> infotext.InfotextResult:
    return infotext.interpret_infotext(
        infotext.extract_infotext(Metadata("PNG", (64, 64), items)), CONTEXT, Txt2ImgRequest
    )


@settings(deadline=None, max_examples=40)
@given(graph=GRAPHS | OBJECTS, workflow=OBJECTS, other=OBJECTS)
def test_any_metadata_are_read_without_failing(graph: Any, workflow: Any, other: Any):
    for items in (
        {"prompt": json.dumps(graph), "workflow": json.dumps(workflow)},
        {"workflow": json.dumps(workflow)},
        {"invokeai_metadata": json.dumps({"positive_prompt": "a", **other})},
        {"Software": "NovelAI", "Comment": json.dumps(other)},
        {"parameters": json.dumps({"base_model": "a", **other})},
    ):
        result = read(items)
        assert isinstance(result.report.messages(), list)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": ' * 100_000, "null", '{"1": 2}', ""])
def test_invalid_json_is_not_a_workflow(text: str):
    assert read({"prompt": text}).values == {}


def test_a1111s_infotext_takes_precedence_over_a_workflow():
    graph = json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 1}}})
    text = "a cat\nSteps: 3, Seed: 5, CFG scale: 7"
    assert read({"parameters": text, "prompt": graph}).values["seed"] == 5

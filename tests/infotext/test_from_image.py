from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules import infotext
from modules.images.metadata import Metadata
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.infotext.context import known

HERE = known()
# Names that the readers look for, so that what is drawn gets far into them.
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
WORDS = st.sampled_from(
    ["KSampler", "SaveImage", "CLIPTextEncode", "VAEDecode", "1", "2", "3", "", "euler"]
)
LEAVES = st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
NODES = st.fixed_dictionaries(
    {
        "class_type": WORDS,
        "inputs": st.dictionaries(KEYS, st.lists(WORDS, max_size=2) | LEAVES, max_size=6),
    }
)
GRAPHS = st.dictionaries(st.sampled_from("123"), NODES | VALUES, max_size=3)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


def read(items: dict[str, str]) -> infotext.InfotextResult:
    return infotext.interpret_infotext(
        infotext.extract_infotext(Metadata("PNG", (64, 64), items)), HERE, Txt2ImgRequest
    )


@settings(deadline=None, max_examples=40)
@given(graph=GRAPHS | OBJECTS, flow=OBJECTS, other=OBJECTS)
def test_whatever_a_file_holds_is_read_without_failing(graph: Any, flow: Any, other: Any):
    for items in (
        {"prompt": json.dumps(graph), "workflow": json.dumps(flow)},
        {"workflow": json.dumps(flow)},
        {"invokeai_metadata": json.dumps({"positive_prompt": "a", **other})},
        {"Software": "NovelAI", "Comment": json.dumps(other)},
        {"parameters": json.dumps({"base_model": "a", **other})},
    ):
        reading = read(items)
        assert isinstance(reading.report.messages(), list)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": ' * 100_000, "null", '{"1": 2}', ""])
def test_what_is_no_object_is_no_graph(text: str):
    assert read({"prompt": text}).values == {}


def test_a1111s_text_comes_before_a_graph():
    graph = json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 1}}})
    text = "a cat\nSteps: 3, Seed: 5, CFG scale: 7"
    assert read({"parameters": text, "prompt": graph}).values["seed"] == 5

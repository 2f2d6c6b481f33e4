from __future__ import annotations

import pytest

from modules.infotext.foreign.a1111_history import (
    backcompat_pairs,
    convert_first_pass_size,
    parse_version,
)
from modules.infotext.text_format import Infotext

EDITING, PADDING, DOWNCAST = (
    "Old prompt editing timelines",
    "Pad conds v0",
    "Downcast alphas_cumprod",
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.10.1", (1, 10, 1, 0)),
        ("1.6.0", (1, 6, 0, 0)),
        ("v1.7.0-224-gabcdef0", (1, 7, 0, 224)),
        ("v1.6.0-2-g4afaaf8a-dirty", (1, 6, 0, 2)),
        ("f2.0.1v1.10.1-previous-665-gae278f79", None),
        ("4a1b2c3", None),
        ("", None),
    ],
)
def test_versions_of_git_describe_are_parsed(text: str, version: object):
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("version", "prompt", "sampler", "options"),
    [
        ("v1.10.1", "[a:b:5]", "DDIM", []),
        ("v1.7.0-225-gabcdef0", "[a:b:5]", "DDIM", []),
        ("v1.7.0-224-gabcdef0", "[a:b:5]", "DDIM", [DOWNCAST]),
        ("v1.6.0", "[a:b:5]", "DDIM", [DOWNCAST]),
        ("v1.5.2", "[a:b:5]", "Euler", [EDITING, DOWNCAST]),
        ("v1.5.2", "a", "PLMS", [PADDING, DOWNCAST]),
        ("", "[a:b:5]", "DDIM", []),
    ],
)
def test_an_older_version_implies_its_options(
    version: str, prompt: str, sampler: str, options: list[str]
):
    pairs = backcompat_pairs(Infotext(prompt, "", {"Version": version, "Sampler": sampler}))
    assert pairs == dict.fromkeys(options, "True")


@pytest.mark.parametrize(
    ("size", "first", "pairs"),
    [
        ("1024x1024", "512x512", {"Size": "512x512", "Hires resize": "1024x1024"}),
        ("1024x1024", "0x0", {"Size": "512x512", "Hires resize": "1024x1024"}),
        ("1024x768", "0x0", {"Size": "640x448", "Hires resize": "1024x768"}),
    ],
)
def test_an_old_first_pass_size_becomes_the_size_and_the_size_the_hires_resize(
    size: str, first: str, pairs: dict[str, str]
):
    assert convert_first_pass_size({"Size": size, "First pass size": first}) == pairs

from __future__ import annotations

import argparse
import re

import pytest

from modules.core import flag_kinds as kinds


def test_values_are_read():
    assert kinds.port("7860") == 7860
    assert kinds.count(str(kinds.MOST_CHECKPOINTS)) == kinds.MOST_CHECKPOINTS
    assert kinds.subpath("/tools/sd/") == "tools/sd"
    assert kinds.pattern(r"https://.*\.example") == r"https://.*\.example"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kinds.port, "0"),
        (kinds.count, "0"),
        (kinds.gpu_number, "-1"),
        (kinds.pattern, "("),
        (kinds.subpath, "/"),
    ],
)
def test_what_cannot_be_read_is_named(kind, text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"'{text}'")):
        kind(text)

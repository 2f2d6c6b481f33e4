from __future__ import annotations

import pytest

from modules.prompt.extra_networks import ExtraNetwork, extract_networks
from tests.prompt.goldens import goldens


@pytest.mark.parametrize(("prompt", "rest", "labels"), goldens("networks"))
def test_networks_are_extracted_from_a_prompt(prompt: str, rest: str, labels: list[str]):
    text, networks = extract_networks(prompt)
    assert (text, [network.label for network in networks]) == (rest, labels)


def test_a_network_has_its_kind_and_arguments():
    assert extract_networks("<lora:x:0.8:te=1>")[1] == (ExtraNetwork("lora", ("x", "0.8", "te=1")),)

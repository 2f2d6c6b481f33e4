"""The LoRAs that an infotext names: found by hash before name, and told when they are others."""

from __future__ import annotations

import pytest

from modules.core.paths import Paths
from modules.infotext.network_lookup import find_networks
from modules.models.index import ModelIndex
from modules.models.networks.network_kinds import LORA
from tests.models.networks.lora_files import write_lora


@pytest.fixture
def models(paths: Paths) -> ModelIndex:
    folder = paths.data / "models" / "Lora"
    write_lora(folder / "ink.safetensors", metadata={"ss_output_name": "soft ink"}, fill=1)
    write_lora(folder / "wash.safetensors", fill=2)
    models = ModelIndex.from_paths(paths)
    for file in models.networks.files(LORA):
        models.networks.hash(file, 20)
    return models


def known(models: ModelIndex, name: str) -> str:
    file = models.networks.find(LORA, name)
    assert file is not None
    return models.networks.known_hash(file)[:12]


def test_a_name_of_elsewhere_becomes_the_one_of_the_same_file_here(models: ModelIndex):
    pairs = {"Lora hashes": f"pen v2: {known(models, 'ink')}, wash: {known(models, 'wash')}"}
    found = find_networks(
        {"prompt": "a <lora:pen v2:0.8> <lora:wash:1>", "hr_prompt": "<lyco:pen v2>"}, pairs, models
    )
    assert found.prompts == {
        "prompt": "a <lora:soft ink:0.8> <lora:wash:1>",
        "hr_prompt": "<lyco:soft ink>",
    }
    assert (found.missing, found.differences) == ((), ())


def test_another_file_of_the_same_name_is_told(models: ModelIndex):
    found = find_networks({"prompt": "<lora:ink:1>"}, {"Lora hashes": "ink: 0123456789ab"}, models)
    assert found.missing == ()
    assert found.differences == (
        f"The LoRA ink has the hash {known(models, 'ink')}, the picture was made with one of that name and the hash"
        " 0123456789ab.",
    )


def test_a_file_that_is_known_by_its_hash_gets_the_name_that_the_options_prefer(models: ModelIndex):
    pairs = {"Lora hashes": f"ink: {known(models, 'ink')}"}
    for by_alias, name in ((True, "soft ink"), (False, "ink")):
        found = find_networks({"prompt": "<lora:ink:1>"}, pairs, models, by_alias)
        assert found.prompts == {"prompt": f"<lora:{name}:1>"}

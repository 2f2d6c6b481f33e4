"""The networks that an infotext names: found by hash before name, and told when they are missing or others."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.core.paths import Paths
from modules.infotext.network_lookup import find_networks, missing_tags
from modules.models.index import ModelIndex
from modules.models.networks.network_kinds import LORA
from tests.conftest import write_listed_checkpoint
from tests.models.networks.lora_files import write_lora


@pytest.fixture
def models(paths: Paths) -> ModelIndex:
    folder = paths.data / "models" / "Lora"
    write_lora(folder / "ink.safetensors", metadata={"ss_output_name": "soft ink"}, fill=1)
    write_lora(folder / "wash.safetensors", fill=2)
    write_listed_checkpoint(paths.data / "embeddings" / "easy.pt", "", {"emb_params": [1, 4]})
    write_listed_checkpoint(paths.data / "models" / "hypernetworks" / "anime.pt", "", {"x": [1, 4]})
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


def test_what_is_missing_is_listed_with_its_hash(models: ModelIndex):
    pairs = {
        "Lora hashes": "pen: 0123456789ab",
        "TI hashes": "easy: 0123456789ab, hard: abcdef012345, word: pen",
    }
    found = find_networks(
        {"prompt": "<lora:pen:1> <hypernet:anime:1> <hypernet:x:1>"}, pairs, models
    )
    assert found.prompts == {"prompt": "<lora:pen:1> <hypernet:anime:1> <hypernet:x:1>"}
    assert found.missing == (
        "The picture was made with the LoRA pen [0123456789ab], which is not here. Put the file into models/Lora.",
        "The picture was made with the hypernetwork x, which is not here. Put the file into models/hypernetworks.",
        "The picture was made with the embedding hard [abcdef012345], which is not here. Put the file into embeddings.",
    )


def test_another_file_of_the_same_name_is_told(models: ModelIndex):
    found = find_networks({"prompt": "<lora:ink:1>"}, {"Lora hashes": "ink: 0123456789ab"}, models)
    assert found.missing == ()
    assert found.differences == (
        f"The LoRA ink has the hash {known(models, 'ink')}, the picture was made with one of that name and the hash"
        " 0123456789ab.",
    )


@pytest.mark.parametrize(
    ("pairs", "tags"),
    [
        ({}, ""),
        ({"Hypernet": "anime"}, "<hypernet:anime:1.0>"),
        ({"Hypernet": "anime", "Hypernet strength": "0.6"}, "<hypernet:anime:0.6>"),
        ({"Lora weights": "ink: 0.75, wash: -1"}, "<lora:wash:-1>"),
    ],
)
def test_pairs_of_other_programs_become_tags(pairs: dict[str, str], tags: str):
    assert missing_tags("a <lora:ink:0.5>", pairs) == tags


def test_without_files_everything_is_missing(tmp_path: Path):
    models = ModelIndex({}, tmp_path, tmp_path)
    assert len(find_networks({"prompt": "<lora:a><hypernet:b>"}, {}, models).missing) == 2

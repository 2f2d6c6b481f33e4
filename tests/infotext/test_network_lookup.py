"""Networks that an infotext names: found, missing, or another file of the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modules.infotext import interpret_infotext, parse_infotext
from modules.infotext.read import InfotextContext, InfotextResult
from modules.models.index import ModelIndex
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from tests.conftest import ROOT, write_listed_checkpoint
from tests.infotext.context import CHOICES, SAMPLERS, SCHEDULES

PAIRS = (
    "Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512"
)
LORA = {"lora_unet_x.lora_down.weight": [4, 4], "lora_unet_x.lora_up.weight": [4, 4]}


@pytest.fixture
def context(tmp_path: Path) -> InfotextContext:
    """A context with a LoRA, two embeddings and a hypernetwork."""
    kinds = {"LoRA": "Lora", "Embedding": "embeddings", "Hypernetwork": "hypernetworks"}
    folders = {kind: (tmp_path / name,) for kind, name in kinds.items()}
    write_listed_checkpoint(tmp_path / "Lora" / "ink.safetensors", "", LORA)
    for name in ("easy", "a, b"):
        path = tmp_path / "embeddings" / f"{name}.safetensors"
        write_listed_checkpoint(path, name, {"emb_params": [1, 4]})
    write_listed_checkpoint(
        tmp_path / "hypernetworks" / "anime.pt", "", {"8.0.linear.0.weight": [8, 8]}
    )
    models = ModelIndex(folders, ROOT / "configs", tmp_path / "cache")
    return InfotextContext(SAMPLERS, SCHEDULES, models, Settings(), lambda name: CHOICES[name])


def read(context: InfotextContext, prompt: str, pairs: str = "") -> InfotextResult:
    text = f"{prompt}\n{PAIRS}{', ' if pairs else ''}{pairs}"
    return interpret_infotext(parse_infotext(text), context, Txt2ImgRequest)


def embedding_hash(context: InfotextContext, name: str) -> str:
    file = next(one.file for one in context.models.embeddings.all() if one.name == name)
    return hashlib.sha256(file.path.read_bytes()).hexdigest()[:12]


def test_networks_that_are_here_are_no_subject_of_the_report(context: InfotextContext):
    easy, both = embedding_hash(context, "easy"), embedding_hash(context, "a, b")
    hashes = f'TI hashes: "easy: {easy}, a b: {both}, easy: {easy}"'
    result = read(context, "easy <lora:ink:1> <hypernet:anime:0.5>", hashes)
    assert result.report.messages() == []
    assert result.values["prompt"] == "easy <lora:ink:1> <hypernet:anime:0.5>"


def test_missing_networks_are_named_with_their_hashes(context: InfotextContext):
    hashes = 'Lora hashes: "pen: 0123456789ab", TI hashes: "neat: ba9876543210"'
    result = read(context, "neat <lora:pen:1> <lyco:pen:1> <hypernet:oil:0.5>", hashes)
    assert result.report.missing_files == (
        "The picture was made with the LoRA pen [0123456789ab], which is not here. Put the file into models/Lora.",
        "The picture was made with the hypernetwork oil, which is not here. Put the file into"
        " models/hypernetworks.",
        "The picture was made with the embedding neat [ba9876543210], which is not here. Put the file into"
        " embeddings.",
    )


def test_another_file_of_the_same_name_is_a_difference(context: InfotextContext):
    result = read(context, "easy", 'TI hashes: "easy: 0123456789ab"')
    assert result.report.missing_files == ()
    assert result.report.differences == (
        f"The embedding easy has the hash {embedding_hash(context, 'easy')}, the picture was made with one of that"
        " name and the hash 0123456789ab.",
    )


def test_an_embedding_of_a_lora_is_not_looked_for_by_itself(context: InfotextContext):
    result = read(context, "word <lora:ink:1>", 'TI hashes: "word: ink"')
    assert result.report.messages() == []


@pytest.mark.parametrize(
    ("pairs", "prompt"),
    [
        ("Hypernet: anime, Hypernet hash: 0123abcd", "a cat<hypernet:anime:1.0>"),
        ("Hypernet: anime, Hypernet strength: 0.6", "a cat<hypernet:anime:0.6>"),
        ("Hypernet: None", "a cat"),
        ('Lora weights: "ink: 0.75"', "a cat<lora:ink:0.75>"),
        (
            "AddNet Enabled: True, AddNet Module 1: LoRA, AddNet Model 1: ink(0123abcd), AddNet Weight A 1: 0.8,"
            " AddNet Weight B 1: 0.8",
            "a cat<lora:ink:0.8>",
        ),
        (
            "AddNet Module 2: LoRA, AddNet Model 2: ink(0123abcd), AddNet Weight A 2: 0.8, AddNet Weight B 2: 0.3",
            "a cat<lora:ink:0.3:0.8>",
        ),
    ],
)
def test_networks_in_pairs_become_tags(context: InfotextContext, pairs: str, prompt: str):
    result = read(context, "a cat", pairs)
    assert result.values["prompt"] == prompt
    assert result.report.messages() == []


def test_a_list_that_is_none_is_no_error(context: InfotextContext):
    result = read(context, "a cat", 'TI hashes: "nonsense", Lora hashes: ", : ,"')
    assert result.report.messages() == []


def test_networks_of_the_hires_prompt_are_looked_for(context: InfotextContext):
    pairs = 'Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent, Hires prompt: "a <lora:pen:1>"'
    result = read(context, "a cat", pairs)
    assert "The picture was made with the LoRA pen" in result.report.missing_files[0]

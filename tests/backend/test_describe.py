"""Captions by a real BLIP made tiny, whose last layer prefers one word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
)

from modules.backend.runner import Runner
from modules.core.errors import BadFile
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.plan.work import DescribeImage
from modules.prompt.tokens import ClipTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "a", "cat", "dog"]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
RED = ImageField.from_pil(Image.new("RGB", (40, 24), "red"))


def write_blip(folder: Path, word: str) -> Path:
    """Write a captioning model that says nothing but this word."""
    torch.manual_seed(0)
    numbers = {token: number for number, token in enumerate(WORDS)}
    text = {
        **SMALL,
        "vocab_size": len(WORDS),
        "encoder_hidden_size": SMALL["hidden_size"],
        "bos_token_id": numbers["[DEC]"],
        "eos_token_id": numbers["[PAD]"],
        "pad_token_id": numbers["[PAD]"],
        "sep_token_id": numbers["[SEP]"],
        "max_position_embeddings": 64,
    }
    vision = {**SMALL, "image_size": 16, "patch_size": 8}
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias[numbers[word]] = 100
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=numbers, additional_special_tokens=["[DEC]"])
    BlipProcessor(BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def runner(tokenizer: ClipTokenizer) -> Runner:
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


def test_an_image_is_described_in_words(runner: Runner, tmp_path: Path):
    folder = write_blip(tmp_path, "cat")
    assert set(runner.run(DescribeImage(folder, RED)).split()) == {"cat"}


def test_a_model_that_is_incomplete_is_named(runner: Runner, tmp_path: Path):
    folder = write_blip(tmp_path, "dog")
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(BadFile, match=f"captioning model in {folder} cannot be loaded"):
        runner.run(DescribeImage(folder, RED))

# ruff: noqa: RUF001 - look-alike characters are tested
from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from modules.prompt.tokens import ClipTokenizer

TEXTS = [
    "",
    "a red circle on a blue background",
    "It's 3 o'clock, isn't it? (don't:1.2) [x|y]",
    "Ünïcödé Größe ÉCLAIR e\u0301clair ſ İstanbul",
    "红色的圆在蓝色背景上，日本語テキスト、한국어",
    "👩‍🚀 on the 🌕!!! 🏳️‍🌈",
    "مرحبا שלום नमस्ते ก็",
    "tabs\tand\nnew\r\nlines \u3000 wide\u00a0spaces",
    "snake_case CamelCase 1234567890 1.5e-3 ½ Ⅻ ²",
    "<lora:name:0.8> #hash @at $5 %&* ~`^",
    "\u200b\u0000\ufffd\U0001f1e9\U0001f1ea",
]


@pytest.fixture(scope="module")
def transformers_tokenizer(root: Path) -> Any:
    """Return the tokenizer of transformers with the same vocabulary."""
    transformers = pytest.importorskip("transformers")
    vocabulary = root / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(vocabulary.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(line.split()[0], line.split()[1]) for line in lines]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in printable] + [
        chr(256 + i) for i in range(256 - len(printable))
    ]
    tokens = [*characters, *(c + "</w>" for c in characters), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=10**9
    )


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_match_the_tokenizer_of_transformers(
    tokenizer: ClipTokenizer, transformers_tokenizer: Any, text: str
):
    assert (
        tokenizer.encode(text) == transformers_tokenizer(text, add_special_tokens=False).input_ids
    )


def test_tokens_of_random_texts_match_the_tokenizer_of_transformers(
    tokenizer: ClipTokenizer, transformers_tokenizer: Any
):
    rng = random.Random(7)
    blocks = [
        (32, 127),
        (160, 0x250),
        (0x370, 0x600),
        (0x3040, 0x3100),
        (0x4E00, 0x5000),
        (0x1F300, 0x1F700),
    ]
    texts = [
        "".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(rng.randrange(1, 40)))
        for _ in range(300)
    ]
    token_ids = [tokenizer.encode(text) for text in texts]
    assert token_ids == transformers_tokenizer(texts, add_special_tokens=False).input_ids


def test_a_known_prompt_has_its_published_token_ids(tokenizer: ClipTokenizer):
    assert tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]

# ruff: noqa: RUF001 - letters that look alike are what is tested
from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompt.tokens import CHUNK_TOKENS, ClipTokenizer, TokenCount, split_at_commas

BEGIN, END, COMMA = 49406, 49407, 267
PICKED = [
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
def stock(root: Path) -> Any:
    """transformers' own tokenizer on the same vocabulary."""
    transformers = pytest.importorskip("transformers")
    vocabulary = root / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(vocabulary.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(line.split()[0], line.split()[1]) for line in lines]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=10**9
    )


@pytest.mark.parametrize("text", PICKED)
def test_tokens_are_those_of_the_stock_tokenizer(tokenizer: ClipTokenizer, stock: Any, text: str):
    assert tokenizer.encode(text) == stock(text, add_special_tokens=False).input_ids


def test_random_texts_get_the_tokens_of_the_stock_tokenizer(tokenizer: ClipTokenizer, stock: Any):
    draw = random.Random(7)
    blocks = [(32, 127), (160, 0x250), (0x370, 0x600), (0x3040, 0x3100), (0x4E00, 0x5000), (0x1F300, 0x1F700)]
    texts = [
        "".join(chr(draw.randrange(*draw.choice(blocks))) for _ in range(draw.randrange(1, 40)))
        for _ in range(300)
    ]
    ours = [tokenizer.encode(text) for text in texts]
    assert ours == stock(texts, add_special_tokens=False).input_ids


def test_a_known_prompt_has_its_published_numbers(tokenizer: ClipTokenizer):
    assert tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=400))
def test_any_text_gives_whole_chunks(tokenizer: ClipTokenizer, text: str):
    rows = tokenizer.chunks(text)
    assert rows
    assert all(len(row) == CHUNK_TOKENS + 2 for row in rows)
    assert all(row[0] == BEGIN and row[-1] == END for row in rows)


def test_an_empty_prompt_is_one_chunk_of_marks(tokenizer: ClipTokenizer):
    assert tokenizer.chunks("") == [[BEGIN, *[END] * 76]]


def test_a_short_prompt_is_padded_with_end_marks(tokenizer: ClipTokenizer):
    assert tokenizer.chunks("a cat") == [[BEGIN, 320, 2368, *[END] * 74]]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", TokenCount(0, 75)),
        ("a cat", TokenCount(2, 75)),
        ("cat " * 75, TokenCount(75, 75)),
        ("cat " * 76, TokenCount(76, 150)),
        ("cat " * 60 + ", " + "cat " * 20, TokenCount(81, 150)),
    ],
)
def test_the_count_tells_tokens_and_room(tokenizer: ClipTokenizer, text: str, count: TokenCount):
    assert tokenizer.count(text) == count


def test_seventy_five_tokens_fit_one_row():
    assert split_at_commas([1] * 75, COMMA) == [[1] * 75]
    assert split_at_commas([1] * 76, COMMA) == [[1] * 75, [1]]


@pytest.mark.parametrize("position", [55, 60, 74])
def test_a_full_row_ends_after_a_comma_at_most_twenty_tokens_back(position: int):
    tokens = [1] * 100
    tokens[position] = COMMA
    rows = split_at_commas(tokens, COMMA)
    assert [len(row) for row in rows] == [position + 1, 99 - position]
    assert rows[0][-1] == COMMA


def test_a_comma_further_back_does_not_break_the_row():
    tokens = [1] * 100
    tokens[54] = COMMA
    assert [len(row) for row in split_at_commas(tokens, COMMA)] == [75, 25]


def test_the_last_of_several_commas_breaks_the_row():
    tokens = [1] * 100
    tokens[58] = tokens[70] = COMMA
    assert [len(row) for row in split_at_commas(tokens, COMMA)] == [71, 29]


def test_a_comma_just_behind_a_full_row_begins_the_next():
    tokens = [1] * 100
    tokens[60] = tokens[75] = COMMA
    rows = split_at_commas(tokens, COMMA)
    assert [len(row) for row in rows] == [75, 25]
    assert rows[1][0] == COMMA


def test_no_token_is_lost_in_a_long_prompt():
    tokens = [COMMA if i % 17 == 0 else i for i in range(1000)]
    assert [token for row in split_at_commas(tokens, COMMA) for token in row] == tokens

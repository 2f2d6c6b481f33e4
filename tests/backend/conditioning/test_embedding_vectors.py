"""Vectors of embeddings in the place of tokens."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from modules.backend.components import TextEncoder
from modules.backend.conditioning.text import encode_texts, encode_with_all
from modules.prompt.chunks import Chunker
from modules.prompt.embeddings import EmbeddingWord, EmbeddingWords
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_modules
from tests.backend.tiny import with_trained_norm


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def text_encoder():
    return with_trained_norm(copy.deepcopy(tiny_modules()[2]))


def make_chunker(tokenizer: ClipTokenizer, **vector_counts: int) -> Chunker:
    words = [
        EmbeddingWord(name, tuple(tokenizer.encode(name)), count)
        for name, count in vector_counts.items()
    ]
    return Chunker(tokenizer, words=EmbeddingWords(tuple(words)))


def vectors_of(text_encoder, tokenizer: ClipTokenizer, text: str) -> torch.Tensor:
    """Return the token embeddings of a text."""
    return text_encoder.get_input_embeddings()(torch.tensor(tokenizer.encode(text)))


@pytest.mark.parametrize(
    ("named", "written"),
    [
        ("a qq circle", "a big red circle"),
        ("a (qq:1.4) circle", "a (big red:1.4) circle"),
        ("qq BREAK a qq", "big red BREAK a big red"),
        ("cat " * 74 + "qq", "cat " * 74 + "BREAK big red"),
    ],
)
def test_an_embedding_of_the_vectors_of_words_is_encoded_as_these_words(
    text_encoder, tokenizer: ClipTokenizer, named: str, written: str
):
    vectors = {"qq": vectors_of(text_encoder, tokenizer, "big red")}
    chunker = make_chunker(tokenizer, qq=2)
    encoder = TextEncoder(text_encoder)
    (cond,) = encode_texts(encoder, chunker, [named], 1, vectors).hidden
    (expected,) = encode_texts(encoder, Chunker(tokenizer), [written]).hidden
    assert torch.equal(cond, expected)


def test_nothing_stays_in_the_text_encoder(text_encoder, tokenizer: ClipTokenizer):
    encoder, plain = TextEncoder(text_encoder), Chunker(tokenizer)
    (before,) = encode_texts(encoder, plain, ["a qq"]).hidden
    chunker = make_chunker(tokenizer, qq=1)
    with pytest.raises(KeyError):
        encode_texts(encoder, chunker, ["a qq"], 1, {})
    encode_texts(encoder, chunker, ["a qq"], 1, {"qq": torch.ones(1, 32)})
    (after,) = encode_texts(encoder, plain, ["a qq"]).hidden
    assert torch.equal(before, after)


def test_vectors_beyond_the_end_of_a_chunk_are_cut_off(text_encoder, tokenizer: ClipTokenizer):
    chunker = make_chunker(tokenizer, qq=10)
    text = "cat " * 64 + ", qq cat"  # the embedding's tokens move on, and its vectors stay
    (cond,) = encode_texts(
        TextEncoder(text_encoder), chunker, [text], 1, {"qq": torch.ones(10, 32)}
    ).hidden
    assert cond.shape == (1, 154, 32)
    assert bool(torch.isfinite(cond).all())


def test_each_text_encoder_has_vectors_of_its_own(text_encoder, tokenizer: ClipTokenizer):
    other = TextEncoder(with_trained_norm(copy.deepcopy(tiny_modules(seed=1)[2])), pad_token_id=0)
    encoders = (TextEncoder(text_encoder), other)
    chunker = make_chunker(tokenizer, qq=1)
    chunkers = (chunker, replace(chunker, pad_token_id=0))
    parts = (torch.full((1, 32), 0.5), torch.full((1, 32), -0.5))
    (both,) = encode_with_all(encoders, chunkers, ["a qq"], (1, 1), {"qq": parts}).hidden
    alone = [
        encode_texts(encoder, one, ["a qq"], 1, {"qq": part}).hidden[0]
        for encoder, one, part in zip(encoders, chunkers, parts, strict=True)
    ]
    assert torch.equal(both, torch.cat(alone, dim=-1))

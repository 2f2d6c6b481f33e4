from __future__ import annotations

import copy

import pytest
import torch

from modules.backend.components import TextEncoder
from modules.backend.conditioning.text import Conditioning, encode_texts
from modules.core.errors import UserError
from modules.prompt.chunks import Chunker
from modules.prompt.emphasis import EMPHASES
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_modules
from tests.backend.tiny import with_trained_norm
from tests.tolerance import assert_alike, rounding


@pytest.fixture(scope="module")
def text_encoder():
    return with_trained_norm(copy.deepcopy(tiny_modules()[2]))


@pytest.fixture(scope="module")
def chunker(tokenizer: ClipTokenizer) -> Chunker:
    return Chunker(tokenizer)


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def encode(text_encoder, chunker: Chunker, texts: list[str], clip_skip: int = 1):
    """Return the conditioning of each text."""
    return encode_texts(TextEncoder(text_encoder), chunker, texts, clip_skip).hidden


def plain(text_encoder, chunker: Chunker, text: str) -> torch.Tensor:
    """Return the hidden states of each chunk, unweighted, [chunks, 77, hidden]."""
    ids = torch.tensor([chunk.token_ids for chunk in chunker.split_into_chunks(text)])
    return text_encoder(input_ids=ids).last_hidden_state


def test_a_prompt_is_the_text_encoders_output_for_its_tokens(text_encoder, chunker: Chunker):
    (cond,) = encode(text_encoder, chunker, ["a red circle"])
    assert cond.shape == (1, 77, 32)
    assert torch.equal(cond, plain(text_encoder, chunker, "a red circle"))


def test_a_long_prompt_is_encoded_chunk_by_chunk(text_encoder, chunker: Chunker):
    (cond,) = encode(text_encoder, chunker, ["cat " * 75 + "dog"])
    assert cond.shape == (1, 154, 32)
    (alone,) = encode(text_encoder, chunker, ["dog"])
    assert_alike(cond[:, 77:], alone, rounding(text_encoder))


def test_break_starts_a_new_chunk(text_encoder, chunker: Chunker):
    (cond,) = encode(text_encoder, chunker, ["a red circle BREAK dog"])
    (alone,) = encode(text_encoder, chunker, ["dog"])
    assert_alike(cond[:, 77:], alone, rounding(text_encoder))


@pytest.mark.parametrize("text", ["", "红色的圆", "👩‍🚀", "\n", "x" * 20_000])
def test_any_text_gives_finite_conditioning(text_encoder, chunker: Chunker, text: str):
    assert torch.isfinite(encode(text_encoder, chunker, [text])[0]).all()


def test_weights_multiply_and_the_mean_is_restored(text_encoder, chunker: Chunker):
    (cond,) = encode(text_encoder, chunker, ["a (red:1.5) circle"])
    z = plain(text_encoder, chunker, "a red circle")
    weighted = z.clone()
    weighted[:, 2] *= 1.5  # start token, a, red
    assert torch.allclose(cond, weighted * (z.mean() / weighted.mean()), atol=1e-6)
    assert not torch.allclose(cond, z, atol=1e-3)


def test_with_no_norm_the_mean_changes(text_encoder, tokenizer: ClipTokenizer, chunker: Chunker):
    (cond,) = encode(
        text_encoder, Chunker(tokenizer, EMPHASES.get("No norm")), ["a (red:1.5) circle"]
    )
    weighted = plain(text_encoder, chunker, "a red circle").clone()
    weighted[:, 2] *= 1.5
    assert torch.equal(cond, weighted)


def test_ignored_emphasis_is_the_prompt_without_brackets(
    text_encoder, tokenizer: ClipTokenizer, chunker: Chunker
):
    (cond,) = encode(
        text_encoder, Chunker(tokenizer, EMPHASES.get("Ignore")), ["a (red:1.5) circle"]
    )
    assert torch.allclose(cond, plain(text_encoder, chunker, "a red circle"), atol=1e-6)


def test_a_weight_of_one_changes_no_bit(text_encoder, chunker: Chunker):
    (with_brackets,) = encode(text_encoder, chunker, ["(a red circle:1.0) on a blue background"])
    (without,) = encode(text_encoder, chunker, ["a red circle on a blue background"])
    assert torch.equal(with_brackets, without)


def test_all_texts_of_a_prompt_share_one_mean_and_repeated_texts_count_repeatedly(
    text_encoder, chunker: Chunker
):
    texts = ["a cat", "a (dog:1.6)", "a cat"]
    cat, dog, again = encode(text_encoder, chunker, texts)
    z = torch.cat([plain(text_encoder, chunker, text) for text in ("a cat", "a dog", "a cat")])
    weighted = z.clone()
    weighted[1, 2] *= 1.6
    expected = weighted * (z.mean() / weighted.mean())
    assert_alike(torch.cat([cat, dog, again]), expected, rounding(text_encoder))
    assert cat is again


def test_each_chunk_has_its_own_mean(text_encoder, chunker: Chunker):
    (cond,) = encode(text_encoder, chunker, ["a cat BREAK a (dog:1.6)"])
    assert torch.equal(
        cond[:, :77], encode(text_encoder, chunker, ["a cat BREAK a dog"])[0][:, :77]
    )
    (alone,) = encode(text_encoder, chunker, ["a (dog:1.6)"])
    assert_alike(cond[:, 77:], alone, rounding(text_encoder))


def test_texts_of_one_prompt_have_the_length_of_the_longest(text_encoder, chunker: Chunker):
    short, long = encode(text_encoder, chunker, ["dog", "dog BREAK cat"])
    assert short.shape == long.shape == (1, 154, 32)
    (empty,) = encode(text_encoder, chunker, [""])
    assert_alike(short[:, 77:], empty, rounding(text_encoder))


def test_clip_skip_2_is_the_penultimate_layer_with_the_final_norm(text_encoder, chunker: Chunker):
    (cond,) = encode(text_encoder, chunker, ["a red circle"], clip_skip=2)
    outputs: list[torch.Tensor] = []
    hook = text_encoder.encoder.layers[-2].register_forward_hook(
        lambda _m, _i, out: outputs.append(out)
    )
    plain(text_encoder, chunker, "a red circle")
    hook.remove()
    penultimate = outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]
    expected = text_encoder.final_layer_norm(penultimate.reshape(1, 77, 32))
    assert torch.allclose(cond, expected, atol=1e-6)
    assert not torch.allclose(cond, plain(text_encoder, chunker, "a red circle"))


def test_a_clip_skip_beyond_the_layers_is_refused_with_their_number(text_encoder, chunker: Chunker):
    with pytest.raises(UserError) as caught:
        encode(text_encoder, chunker, ["a red circle"], clip_skip=3)
    assert str(caught.value) == (
        "Clip skip is 3, but this checkpoint's text encoder has 2 layers. Use at most 2."
    )


def test_a_conditioning_changes_with_the_evaluations():
    first, second = torch.zeros(1), torch.ones(1)
    conditioning = Conditioning((first, second), (2, 4))
    assert [conditioning.at_step(index) is second for index in range(5)] == [
        False,
        False,
        False,
        True,
        True,
    ]

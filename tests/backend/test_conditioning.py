from __future__ import annotations

import pytest
import torch

from modules.backend import conditioning
from modules.core.errors import UserError
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_modules


@pytest.fixture(scope="module")
def text_encoder():
    return tiny_modules()[2]


@torch.inference_mode()
def test_a_prompt_is_what_the_text_encoder_makes_of_its_tokens(text_encoder, tokenizer: ClipTokenizer):
    cond = conditioning.encode(text_encoder, tokenizer, "a red circle")
    ids = torch.tensor(tokenizer.chunks("a red circle"))
    assert cond.shape == (1, 77, 32)
    assert torch.equal(cond, text_encoder(input_ids=ids).last_hidden_state)


@torch.inference_mode()
def test_a_long_prompt_is_encoded_chunk_by_chunk(text_encoder, tokenizer: ClipTokenizer):
    text = "cat " * 75 + "dog"
    cond = conditioning.encode(text_encoder, tokenizer, text)
    assert cond.shape == (1, 154, 32)
    alone = conditioning.encode(text_encoder, tokenizer, "dog")
    assert torch.allclose(cond[:, 77:], alone, atol=1e-5)


@torch.inference_mode()
def test_different_words_steer_differently(text_encoder, tokenizer: ClipTokenizer):
    red = conditioning.encode(text_encoder, tokenizer, "red")
    blue = conditioning.encode(text_encoder, tokenizer, "blue")
    assert not torch.allclose(red, blue)


@pytest.mark.parametrize("text", ["", "红色的圆", "👩‍🚀", "\n", "x" * 20_000])
@torch.inference_mode()
def test_any_text_gives_finite_conditioning(text_encoder, tokenizer: ClipTokenizer, text: str):
    assert torch.isfinite(conditioning.encode(text_encoder, tokenizer, text)).all()


@torch.inference_mode()
def test_clip_skip_2_is_the_layer_before_the_last_with_the_final_norm(text_encoder, tokenizer: ClipTokenizer):
    cond = conditioning.encode(text_encoder, tokenizer, "a red circle", clip_skip=2)
    seen: list[torch.Tensor] = []
    hook = text_encoder.encoder.layers[-2].register_forward_hook(lambda _m, _i, out: seen.append(out))
    text_encoder(input_ids=torch.tensor(tokenizer.chunks("a red circle")))
    hook.remove()
    before_last = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    expected = text_encoder.final_layer_norm(before_last.reshape(1, 77, 32))
    assert torch.allclose(cond, expected, atol=1e-6)
    assert not torch.allclose(cond, conditioning.encode(text_encoder, tokenizer, "a red circle"))


def test_a_clip_skip_beyond_the_layers_is_refused_with_their_number(text_encoder, tokenizer: ClipTokenizer):
    with pytest.raises(UserError) as caught:
        conditioning.encode(text_encoder, tokenizer, "a red circle", clip_skip=3)
    assert str(caught.value) == (
        "Clip skip is 3, but this checkpoint's text encoder has 2 layers. Use at most 2."
    )

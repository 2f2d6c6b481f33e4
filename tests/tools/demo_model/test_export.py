"""A file in LDM layout gives the same weights back through diffusers' own converters."""

import random
from types import SimpleNamespace

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

from tests.tolerance import assert_alike, rounding
from tools.demo_model.architecture import make_unet
from tools.demo_model.checkpoint import read, unet_weights
from tools.demo_model.drawing import draw
from tools.demo_model.export import (
    full_text_weights,
    ldm_weights,
    model_config,
    padded_with_zero,
    write,
)
from tools.demo_model.latents import latents_of, to_tensor
from tools.demo_model.scenes import sample_landscape
from tools.demo_model.text_encoder import HIDDEN, make_text_encoder, text_states
from tools.demo_model.tokens import BOS, EOS, clip_tokenizer
from tools.demo_model.vae import built_vae


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    clip_ids = sorted(set(clip_tokenizer().encode("a red star on blue")))
    text = {
        "text_encoder": make_text_encoder(len(clip_ids) + 3).state_dict(),
        "clip_ids": clip_ids,
    }
    return make_unet(), built_vae(), text


@pytest.fixture(scope="module")
def read_back(models, tmp_path_factory):
    unet, vae, text = models
    file = tmp_path_factory.mktemp("export") / "tiny.safetensors"
    weights = ldm_weights(unet.state_dict(), vae.state_dict(), full_text_weights(text))
    write(file, weights, model_config(4))
    return read(file)


def largest_difference(model, other):
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def test_the_unet_comes_back(models, read_back):
    assert largest_difference(models[0], read_back.unet) < 1e-3


def test_the_vae_comes_back(models, read_back):
    assert largest_difference(models[1], read_back.vae) < 0.05  # constants of 80 in half precision


def test_the_text_encoder_comes_back(models, read_back):
    encoder = make_text_encoder(len(models[2]["clip_ids"]) + 3)
    encoder.load_state_dict(models[2]["text_encoder"])
    assert read_back.text.vocabulary.clip_ids == models[2]["clip_ids"]
    assert largest_difference(encoder, read_back.text.encoder) < 1e-3


def test_unknown_words_have_zero_rows(models):
    table = full_text_weights(models[2])["embeddings.token_embedding.weight"]
    used = {*models[2]["clip_ids"], BOS, EOS}
    assert set(table.abs().sum(1).nonzero()[:, 0].tolist()) == used


def test_the_built_encoder_computes_the_latents(models):
    scene = sample_landscape(random.Random(1))
    images = to_tensor(torch.from_numpy(draw(scene, 64, 64)[0])[None])
    with torch.no_grad():
        encoded = models[1].encode(images).latent_dist.mean
    assert torch.allclose(encoded, latents_of(images), atol=0.05)


def test_the_second_layout_carries_the_same_unet(models):
    unet, vae, text = models
    weights = ldm_weights(unet.state_dict(), vae.state_dict(), full_text_weights(text), "sd2")
    converted = unet_weights(weights)
    linear = make_unet(linear_projection=True)
    linear.load_state_dict(converted)
    same = {key: value.reshape(converted[key].shape) for key, value in unet.state_dict().items()}
    assert max((converted[key].float() - same[key]).abs().max() for key in same) < 1e-3


def test_the_second_layout_carries_the_same_text_encoder(models):
    unet, vae, text = models
    weights = ldm_weights(unet.state_dict(), vae.state_dict(), full_text_weights(text), "sd2")
    prefix = "cond_stage_model.model."
    encoder = SimpleNamespace(config=SimpleNamespace(hidden_size=HIDDEN))
    names = {key for key in weights if key.startswith(prefix)}
    converted = convert_open_clip_checkpoint(encoder, {k: weights[k] for k in names}, prefix)
    original = text["text_encoder"]["encoder.layers.1.self_attn.k_proj.weight"]
    found = converted["text_model.encoder.layers.1.self_attn.k_proj.weight"]
    assert torch.allclose(found.float(), original, atol=1e-3)


def test_token_zero_after_the_end_does_what_the_end_token_does(models):
    text = full_text_weights(models[2])
    sd1 = make_text_encoder(49408)
    sd1.load_state_dict(text)
    sd2 = make_text_encoder(49408)
    sd2.load_state_dict(padded_with_zero(text))
    words = [BOS, *clip_tokenizer().encode("a red star on blue"), EOS]
    ended, filled = (torch.tensor([[*words, *[pad] * (77 - len(words))]]) for pad in (EOS, 0))
    with torch.no_grad():
        expected, found = text_states(sd1, ended), text_states(sd2, filled)
    assert_alike(found, expected, rounding(sd1))
    assert not torch.allclose(text_states(sd1, filled), expected, atol=1e-2)

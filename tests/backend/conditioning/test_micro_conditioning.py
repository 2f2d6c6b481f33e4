"""What SDXL's UNet gets of a prompt: hidden states without final norms, pooled output, sizes, and zeros for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.components import Precision
from modules.backend.conditioning.micro_conditioning import make_time_ids
from modules.backend.conditioning.text import PromptConditioning
from modules.backend.loading.loader import load_components
from modules.backend.model import LoadedModel
from modules.params.settings import Settings
from modules.prompt.chunks import Chunker
from modules.prompt.schedule import StepTimeline
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_modules
from tests.backend.checkpoints_sdxl import CLIP_L_WIDTH, REFINER_UNET, tiny_clip_g, write_sdxl
from tests.tolerance import assert_alike, rounding

SIZE = (640, 512)
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: ClipTokenizer) -> LoadedModel:
    return load(tmp_path_factory.mktemp("sdxl"), tokenizer)


def load(folder: Path, tokenizer: ClipTokenizer, *config: Any) -> LoadedModel:
    path = write_sdxl(folder / "xl.safetensors", *config)
    float32 = Precision(torch.float32, torch.float32, torch.float32)
    return LoadedModel(load_components(path, path.with_suffix(".yaml"), float32), tokenizer)


def encode(
    model: LoadedModel, prompt: str, negative_prompt: str = "blurry", **settings: Any
) -> PromptConditioning:
    return model.encode_prompts(
        prompt, negative_prompt, StepTimeline(4), Settings(**settings), SIZE
    )


def ids_of(tokenizer: ClipTokenizer, text: str, pad: int | None) -> Tensor:
    chunk = Chunker(tokenizer, pad_token_id=pad).split_into_chunks(text)[0]
    return torch.tensor([chunk.token_ids])


def open_clip_states(ids: Tensor) -> list[Tensor]:
    """Return the hidden states of OpenCLIP after each layer, without the final norm, by its definition."""
    network = tiny_clip_g()
    states = [network.token_embedding(ids) + network.positional_embedding]
    future = torch.full((77, 77), float("-inf")).triu(1)
    for block in network.transformer.resblocks:
        states.append(block(states[-1], future))
    return states


def test_hidden_states_are_those_of_the_penultimate_layers_without_a_norm(
    model: LoadedModel, tokenizer: ClipTokenizer
):
    cond = encode(model, "a red circle").conds[0]
    clip_l = tiny_modules()[2]
    first = clip_l(ids_of(tokenizer, "a red circle", None), output_hidden_states=True)
    ids = ids_of(tokenizer, "a red circle", 0)
    second = open_clip_states(ids)
    expected = torch.cat([first.hidden_states[-2], second[-2]], dim=-1)
    assert_alike(cond.at_step(0), expected, rounding(clip_l))
    end = ids[0].tolist().index(tokenizer.eos_token_id)
    network = tiny_clip_g()
    pooled = network.ln_final(second[-1])[:, end] @ network.text_projection
    assert_alike(cond.pooled_at_step(0), pooled, rounding(network))


def test_pooled_is_that_of_the_first_chunk_without_weights(model: LoadedModel):
    plain = encode(model, "a red circle")
    weighted = encode(model, "a (red:1.5) circle BREAK a dog").conds[0]
    assert weighted.at_step(0).shape == (1, 154, 48)
    pooled = plain.conds[0].pooled_at_step(0)
    assert_alike(weighted.pooled_at_step(0), pooled, rounding(tiny_clip_g()))
    assert not torch.equal(weighted.at_step(0)[:, :77], plain.conds[0].at_step(0))


def test_clip_skip_counts_for_the_first_text_encoder_with_its_option_alone(model: LoadedModel):
    def both(**settings: Any) -> tuple[Tensor, Tensor]:
        hidden = encode(model, "a red circle", **settings).conds[0].at_step(0)
        return hidden[..., :CLIP_L_WIDTH], hidden[..., CLIP_L_WIDTH:]

    usual = both()
    assert all(map(torch.equal, both(CLIP_stop_at_last_layers=2), usual))
    option = {"sdxl_clip_l_skip": True}
    assert all(map(torch.equal, both(CLIP_stop_at_last_layers=2, **option), usual))
    last = both(**option)
    assert not torch.equal(last[0], usual[0])
    assert torch.equal(last[1], usual[1])


def test_an_empty_negative_prompt_is_zeros_and_an_empty_prompt_is_not(model: LoadedModel):
    empty = encode(model, "", "")
    assert not empty.uncond.at_step(0).any()
    assert not empty.uncond.pooled_at_step(0).any()
    assert empty.conds[0].at_step(0).any()
    assert encode(model, "", " ").uncond.at_step(0).any()
    assert encode(model, "", "[:blurry:0.5]").uncond.at_step(0).any()
    padded = encode(model, "", "", pad_cond_uncond=True)
    assert padded.empty_cond is not None
    assert padded.empty_cond.any()


def test_the_unet_is_told_the_size_of_the_image_and_the_crop_of_the_options(model: LoadedModel):
    told = encode(model, "a", sdxl_crop_top=8, sdxl_crop_left=16)
    assert told.conds[0].time_ids.tolist() == [[512, 640, 8, 16, 512, 640]]
    assert told.uncond.time_ids.tolist() == told.conds[0].time_ids.tolist()


def test_a_refiner_has_one_text_encoder_and_is_told_a_score(
    tmp_path: Path, tokenizer: ClipTokenizer
):
    refiner = load(tmp_path, tokenizer, REFINER_UNET)
    assert [encoder.name for encoder in refiner.components.text_encoders] == ["clip_g"]
    told = encode(refiner, "a", sdxl_refiner_high_aesthetic_score=7.5)
    assert told.conds[0].time_ids.tolist() == [[512, 640, 0, 0, 7.5]]
    assert told.uncond.time_ids.tolist() == [[512, 640, 0, 0, 2.5]]
    assert told.conds[0].at_step(0).shape == (1, 77, 16)


def test_other_families_are_told_no_sizes():
    assert make_time_ids("", SIZE, Settings(), CPU) is None

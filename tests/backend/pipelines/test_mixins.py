"""diffusers' own mixins work on our pipeline: its networks are the registered ones, and its loop calls them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from modules.backend.components import Components
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.backend.pipelines.stable_diffusion import SamplerPipeline, make_pipeline
from tests.backend.pipelines.runs import COND, MODEL_SIGMAS, SEEDS, UNCOND, make_plan
from tests.backend.tiny import make_noise, prompt_conditioning, tiny_components

RANK = 2


@pytest.fixture
def pipeline() -> SamplerPipeline:
    """A pipeline of networks that no other test uses: these tests change them."""
    components: Components = tiny_components()
    return make_pipeline(
        replace(
            components,
            unet=copy.deepcopy(components.unet),
            text_encoders=copy.deepcopy(components.text_encoders),
        )
    )


def random_tensor(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 4


def run(pipeline: SamplerPipeline, extensions: tuple[StepExtension, ...] = ()) -> Tensor:
    plan, conditioning = make_plan("Euler", 3), prompt_conditioning(COND, UNCOND)
    return pipeline(plan, MODEL_SIGMAS, conditioning, make_noise(SEEDS), extensions=extensions)


def test_a_lora_changes_the_picture_as_its_sum_with_the_weights_and_leaves_without_a_trace(
    pipeline: SamplerPipeline,
):
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    layer = pipeline.unet.get_submodule(name)
    down, up = random_tensor(1, RANK, layer.in_features), random_tensor(2, layer.out_features, RANK)
    plain = run(pipeline)
    lora = {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    pipeline.load_lora_weights(lora, adapter_name="tiny")
    with_lora = run(pipeline)
    pipeline.unload_lora_weights()
    assert torch.equal(run(pipeline), plain)
    layer.weight.data += up @ down
    assert not torch.allclose(with_lora, plain, atol=1e-3)
    assert torch.allclose(with_lora, run(pipeline), atol=1e-4)


def test_textual_inversion_adds_its_vector_to_the_text_encoder(pipeline: SamplerPipeline):
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "c</w>": 2, "a</w>": 3}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    pipeline.register_modules(tokenizer=tokenizer)
    vector = random_tensor(3, pipeline.text_encoder.config.hidden_size)
    pipeline.load_textual_inversion({"<tiny>": vector})
    (token,) = tokenizer.convert_tokens_to_ids(["<tiny>"])
    embeddings = pipeline.text_encoder.get_input_embeddings().weight
    assert torch.equal(embeddings[token], vector)


class ImagePrompt(StepExtension):
    """Passes an image's embedding to the IP-Adapter in the UNet.

    Args:
        embedding: [1, images, dimension].
    """

    def __init__(self, embedding: Tensor) -> None:
        self._embedding = embedding

    def unet_call(self, call: UNetCall) -> UNetCall:
        rows = self._embedding.expand(len(call.sample), -1, -1)
        return replace(call, kwargs={"added_cond_kwargs": {"image_embeds": [rows]}})


def ip_adapter_of(unet: nn.Module, dimension: int) -> dict[str, dict[str, Tensor]]:
    """Return a tiny IP-Adapter in the layout of its authors."""
    width, tokens = unet.config.cross_attention_dim, 4
    layers: dict[str, Tensor] = {}
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn2.processor"):
            hidden = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for part in ("to_k_ip", "to_v_ip"):
                layers[f"{number}.{part}.weight"] = random_tensor(number, hidden, width)
            number += 2
    projection = {
        "proj.weight": random_tensor(7, tokens * width, dimension),
        "proj.bias": torch.zeros(tokens * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    return {"image_proj": projection, "ip_adapter": layers}


@torch.no_grad()
def test_an_ip_adapter_reaches_the_loop_by_a_step_extension(pipeline: SamplerPipeline):
    plain = run(pipeline)
    adapter = ip_adapter_of(pipeline.unet, dimension=16)
    pipeline.load_ip_adapter(adapter, subfolder="", weight_name="", image_encoder_folder=None)
    red, blue = (ImagePrompt(random_tensor(seed, 1, 1, 16)) for seed in (8, 9))
    pipeline.set_ip_adapter_scale(1.0)
    assert not torch.allclose(run(pipeline, (red,)), plain, atol=1e-3)
    assert not torch.allclose(run(pipeline, (red,)), run(pipeline, (blue,)), atol=1e-3)
    pipeline.set_ip_adapter_scale(0.0)
    assert torch.allclose(run(pipeline, (red,)), plain, atol=1e-5)
    pipeline.unload_ip_adapter()
    assert torch.allclose(run(pipeline), plain, atol=1e-5)


def test_the_offload_hooks_bring_the_unet_to_the_device_and_take_it_away(pipeline: SamplerPipeline):
    plain = run(pipeline)
    pipeline.enable_model_cpu_offload(device="cpu")
    assert {hook.hook.execution_device.type for hook in pipeline._all_hooks} == {"cpu"}
    assert hasattr(pipeline.unet, "_hf_hook")
    assert torch.equal(run(pipeline), plain)
    assert hasattr(pipeline.unet, "_hf_hook"), "the next run needs it again"
    pipeline.remove_all_hooks()
    assert torch.equal(run(pipeline), plain)

"""Compiled blocks of a tiny real UNet. PyTorch's tracer is the real one; most tests need no C++ compiler behind it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.backend.denoise import compiled_blocks
from modules.backend.denoise.compiled_blocks import (
    CompilationReporter,
    CompiledBlocks,
    count_graphs,
    has_changed_blocks,
)
from modules.backend.denoise.deep_cache import DeepCache, remember_deep_layers
from modules.backend.denoise.hypertile import TileOptions, tile_unet
from modules.backend.denoise.step_extensions import UNetCall
from modules.backend.denoise.token_merging import merge_tokens
from tests.backend.checkpoints import tiny_modules
from tests.backend.tiny import RecordingListener

# "eager" runs the traced graphs as they are: tracing and guards are those of any other backend.
TRACED = {"backend": "eager"}


@pytest.fixture(autouse=True)
def no_graphs() -> None:
    torch._dynamo.reset()


@pytest.fixture
def unet() -> Any:
    return copy.deepcopy(tiny_modules()[0]).requires_grad_(False)


@torch.inference_mode()
def call(unet: Any, rows: int = 2, size: tuple[int, int] = (8, 8), tokens: int = 77) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn((rows, 4, *size), generator=generator)
    text = torch.randn((rows, tokens, 32), generator=generator)
    return unet(sample, torch.full((), 500.0), encoder_hidden_states=text, return_dict=False)[0]


def graphs_of(unet: Any, *args: Any) -> int:
    before = count_graphs()
    call(unet, *args)
    return count_graphs() - before


def test_compiled_blocks_compute_the_same_and_leave_the_network_as_it_was(unet: Any):
    expected, compiled = call(unet), CompiledBlocks(**TRACED)
    with compiled.use(unet):
        torch.testing.assert_close(call(unet), expected, rtol=1e-5, atol=1e-5)
    assert count_graphs()
    assert graphs_of(unet, 2, (16, 16)) == 0
    assert torch.equal(call(unet), expected)


def test_other_sizes_batches_and_prompts_compile_nothing_anew(unet: Any):
    with CompiledBlocks(**TRACED).use(unet):
        assert graphs_of(unet) == 1, "the blocks of one width share a graph"
        others = [(2, (8, 12)), (2, (16, 16)), (2, (8, 8), 154), (4, (12, 8), 231), (3,)]
        assert [graphs_of(unet, *one) for one in others] == [0] * 5
        assert graphs_of(unet, 1) == 1, "a single row is a case of its own"
        assert graphs_of(unet, 1, (16, 8), 154) == 0


def test_weights_that_are_written_in_place_compile_nothing_anew(unet: Any):
    """As a LoRA is folded."""
    compiled = CompiledBlocks(**TRACED)
    with compiled.use(unet):
        before = call(unet)
    block = unet.mid_block.attentions[0].transformer_blocks[0]
    with torch.inference_mode():
        for layer in (block.attn1.to_q, block.attn2.to_v, block.ff.net[2]):
            layer.weight.copy_(layer.weight * 1.5)
    expected = call(unet)
    with compiled.use(unet):
        assert graphs_of(unet) == 0
        torch.testing.assert_close(call(unet), expected, rtol=1e-5, atol=1e-5)
    assert (expected - before).abs().max() > 1e-3


def test_deep_cache_goes_together_with_it(unet: Any):
    compiled, cache = CompiledBlocks(**TRACED), DeepCache(2)
    with compiled.use(unet):
        call(unet)
    with remember_deep_layers(unet, cache), compiled.use(unet):
        assert not has_changed_blocks(unet)
        cache.unet_call(UNetCall(torch.empty(2), torch.empty(()), torch.empty(2), 0))
        assert graphs_of(unet) == 0


def test_what_hooks_into_the_blocks_is_seen(unet: Any):
    assert not has_changed_blocks(unet)
    with merge_tokens(unet, 0.5):
        assert has_changed_blocks(unet)
    with tile_unet(
        unet, (64, 64), TileOptions(128, 3), draws=None
    ):  # nothing is drawn before a call
        assert not has_changed_blocks(unet), "only the layers of depth 0 are tiled"
    with tile_unet(unet, (64, 64), TileOptions(128, 3, max_depth=3), draws=None):
        assert has_changed_blocks(unet)
    assert not has_changed_blocks(unet)


def test_a_run_tells_that_it_compiles_and_how_long_it_took(unet: Any):
    compiled, listener = CompiledBlocks(**TRACED), RecordingListener()
    reporter = CompilationReporter(compiled, listener, "Sampling")
    one = UNetCall(torch.empty(2, 4, 8, 8), torch.empty(()), torch.empty(2, 77, 32), 0)
    with compiled.use(unet):
        for _ in range(2):
            reporter.unet_call(one)
            call(unet)
            reporter.on_step(None)
    assert listener.phases == ["Compiling the network, once for this model", "Sampling"]
    (note,) = listener.notes
    assert note.startswith("The network was compiled in ")


def test_the_obstacles_of_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert compiled_blocks.find_obstacle(torch.device("cpu")) == "there is no C++ compiler"
    assert compiled_blocks.find_obstacle(torch.device("mps"))


@pytest.mark.slow
@pytest.mark.skipif(
    bool(compiled_blocks.find_obstacle(torch.device("cpu"))), reason="nothing can be compiled here"
)
def test_the_compiler_of_this_machine_computes_the_same(unet: Any):
    expected = call(unet)
    with CompiledBlocks().use(unet):
        torch.testing.assert_close(call(unet), expected, rtol=1e-4, atol=1e-4)

"""Compiles the repeated blocks of a UNet: diffusers' regional compilation, in place for the time of a run.

The transformer blocks of a UNet are one class, and those of one width share a compiled graph. Sizes are symbols in it:
measured on the CPU, thirteen calls of other sizes, batches and prompt lengths made two graphs for the two widths and two
more for calls of a single row, which PyTorch always compiles by themselves; sizes that become symbols when they change made
9, fixed ones 35. Weights are inputs of a graph, so that a LoRA that is folded into them compiles nothing anew.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from torch._dynamo.utils import counters

from modules.backend.denoise.step_extensions import StepExtension, StepState, UNetCall
from modules.backend.memory.offload import execution_device
from modules.params.events import Note, Phase, Sink

# torch's own limit of 8 is for all models of a process together, and what exceeds it would silently not be compiled.
_MOST_GRAPHS = 64
_CPP_COMPILERS = ("g++", "clang++", "cl")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def find_obstacle(device: torch.device) -> str:
    """Return why nothing can be compiled for a device, as the rest of a sentence; "" where it can."""
    if device.type in ("cuda", "xpu"):
        return "" if find_spec("triton") else "the package triton is not installed"
    if device.type == "mps":
        return "PyTorch compiles little for Apple's GPU yet"
    named = os.environ.get("CXX")
    if not any(map(shutil.which, (named,) if named else _CPP_COMPILERS)):
        return "there is no C++ compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "the header files of Python are not installed"
    return ""


def _blocks(unet: UNet2DConditionModel) -> list[nn.Module]:
    """Return the blocks that diffusers compiles."""
    names = unet._repeated_blocks or ()
    return [block for block in unet.modules() if type(block).__name__ in names]


def has_changed_blocks(unet: UNet2DConditionModel) -> bool:
    """Return whether something takes part in the blocks by hooks or lets their weights come and go.

    Hooks are other functions in each run, with which everything would be compiled anew.
    """
    device = execution_device(unet)
    is_offloaded = hasattr(unet, "_hf_hook")  # as a whole, before any block runs
    return any(
        getattr(part, hooks, None)
        for block in _blocks(unet)
        for part in block.modules()
        for hooks in (*_HOOKS, "_diffusers_hook")
    ) or any(one.device != device for one in unet.parameters() if not is_offloaded)


class CompiledBlocks:
    """The compiled blocks of one UNet, made when they are first used.

    Args:
        options: Further arguments of `torch.compile`.

    Attributes:
        called: Dtypes of the samples for which the blocks were called, and whether with one sample.
        obstacle: Why they cannot be compiled, once that is known; "" before.
    """

    def __init__(self, **options: Any) -> None:  # Any: torch's
        self._options = {"dynamic": True, "recompile_limit": _MOST_GRAPHS, **options}
        self._compiled: dict[nn.Module, Callable[..., Any]] = {}
        self.called: set[tuple[object, ...]] = set()
        self.obstacle = ""

    @contextmanager
    def use(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Let a UNet compute its blocks compiled.

        Args:
            unet: Always the same one.
        """
        if not self._compiled:
            unet.compile_repeated_blocks(**self._options)
            self._compiled = {block: _implementation(block) for block in _blocks(unet)}
        try:
            for block, compiled in self._compiled.items():
                _set_implementation(block, compiled)
            yield
        finally:
            for block in self._compiled:
                _set_implementation(block, None)


# nn.Module.compile documents that it compiles in place and not how; this attribute is what its call looks at.
def _implementation(block: nn.Module) -> Callable[..., Any]:
    compiled: Any = block._compiled_call_impl
    return compiled


def _set_implementation(block: nn.Module, compiled: Callable[..., Any] | None) -> None:
    block._compiled_call_impl = compiled  # pyright: ignore[reportAttributeAccessIssue]


def count_graphs() -> int:
    """Return how many graphs this process has compiled."""
    return counters["stats"]["unique_graphs"]


class CompilationReporter(StepExtension):
    """Tells that a network is being compiled, and how long it took.

    Args:
        compiled: The blocks.
        sink: Receives what is going on.
        phase: Goes on after it.
    """

    def __init__(self, compiled: CompiledBlocks, sink: Sink, phase: str) -> None:
        self._compiled = compiled
        self._sink = sink
        self._phase = phase
        self._started: tuple[float, int] | None = None

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Look whether the call is one for which there may be no graph yet."""
        kind = call.sample.dtype, len(call.sample) == 1
        if kind not in self._compiled.called:
            self._compiled.called.add(kind)
            self._started = self._started or (time.perf_counter(), count_graphs())
            self._sink(Phase("Compiling the network, once for this model"))
        return call

    def on_step(self, state: StepState) -> None:
        """Report what has been compiled in the step; the time is that of the program, which nothing has to wait for."""
        del state
        if self._started is None:
            return
        (started_at, graphs), self._started = self._started, None
        if count_graphs() > graphs:
            seconds = time.perf_counter() - started_at
            self._sink(Note(f"The network was compiled in {seconds:.0f} s, once for this model."))
        self._sink(Phase(self._phase))

"""The rows of `tools/benchmark.py peers`: one program computing pictures of one full-size model, in this process alone.

    python -m tools.peers_rows ours-full /tmp/folder/model.safetensors 4 256 512

prints a line of JSON for each size after pictures of 4 steps: seconds a step, of the VAE's decode and of the whole picture, and the peak memory.
Next to the checkpoint is the folder `config` that diffusers needs (`tools.load_benchmark config`).
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from modules.launch.environment import set_env_defaults

ROOT = Path(__file__).resolve().parent.parent
NEGATIVE, CFG_SCALE, SEED = "blurry", 7.0, 1
WARM_UP, MEASURED = "a tree on a hill", "a red circle on a blue background"


class Missing(Exception):
    """Why a row cannot be measured here, in a sentence."""


@dataclass
class Clock:
    """Notes when steps and the picture are done.

    Attributes:
        steps: Times at which a step ended.
    """

    started_at: float = field(default_factory=time.perf_counter)
    steps: list[float] = field(default_factory=list[float])

    def end_step(self) -> None:
        """Note that a step ended."""
        self.steps.append(time.perf_counter())

    def figures(self) -> dict[str, float]:
        """Return the figures of a picture that is done now."""
        ended_at = time.perf_counter()
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return {
            "step": statistics.median(after - before for before, after in pairs),
            "decode": ended_at - self.steps[-1],
            "whole": ended_at - self.started_at,
        }


# Computes a picture of a side in pixels from a prompt in so many steps, and notes their ends.
Picture = Callable[[str, int, int, Clock], None]


def ours(path: Path, *, precision: str, accelerator: str = "PyTorch") -> Picture:
    """Return this program, from a request to the picture."""
    from modules.backend.openvino import graph
    from modules.backend.runner import Runner
    from modules.models.index import ModelIndex
    from modules.params.device_options import DeviceOptions
    from modules.params.events import Note, Progress
    from modules.params.param import validate
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.params.settings import Settings
    from modules.plan.planner import make_plan
    from modules.prompt.tokens import ClipTokenizer

    if accelerator == "OpenVINO" and not graph.is_installed():
        raise Missing("openvino is not installed (requirements-openvino.txt)")
    index = ModelIndex({"Checkpoint": [path.parent]}, ROOT / "configs", path.parent / "cache")
    bpe = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    runner = Runner(DeviceOptions(use_cpu=True), ClipTokenizer(bpe), path.parent / "cache")
    # Converted weights would be written while the steps are measured.
    options = {"precision": precision, "accelerator": accelerator, "converted_weights_gb": 0}
    settings = validate(Settings, options)

    def picture(prompt: str, side: int, steps: int, clock: Clock) -> None:
        request = Txt2ImgRequest(
            prompt=prompt, negative_prompt=NEGATIVE, width=side, height=side, steps=steps,
            cfg_scale=CFG_SCALE, sampler_name="Euler", seed=SEED,
        )  # fmt: skip

        def receive(event: Any) -> None:
            if isinstance(event, Progress) and event.step > len(clock.steps):
                clock.end_step()
            if isinstance(event, Note) and "instead of OpenVINO" in event.text:
                raise Missing(event.text)

        runner.run(make_plan(request, index, index.find_checkpoint(path.stem), settings), receive)

    return picture


def bare_diffusers(path: Path, *, dtype: str) -> Picture:
    """Return the stock pipeline of diffusers with all its networks in one dtype."""
    import torch
    from diffusers import EulerDiscreteScheduler

    from tools.load_benchmark import stock_pipeline

    pipeline = stock_pipeline(path, getattr(torch, dtype))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def picture(prompt: str, side: int, steps: int, clock: Clock) -> None:
        def end_step(_pipeline: Any, _step: int, _time: Any, values: dict[str, Any]) -> Any:
            clock.end_step()
            return values

        pipeline(
            prompt, negative_prompt=NEGATIVE, width=side, height=side, num_inference_steps=steps,
            guidance_scale=CFG_SCALE, callback_on_step_end=end_step,
            generator=torch.Generator().manual_seed(SEED),
        )  # fmt: skip

    return picture


def stable_diffusion_cpp(path: Path) -> Picture:
    """Return stable-diffusion.cpp as the package cyllama has it, with the weights of the file as they are."""
    try:
        cpp: Any = importlib.import_module("cyllama.sd")
    except ImportError as error:
        raise Missing(
            "cyllama is not installed (pip install --no-deps --target FOLDER cyllama, PYTHONPATH=FOLDER)"
        ) from error
    clocks: list[tuple[int, Clock]] = []

    def report(step: int, count: int, _seconds: float) -> None:
        steps, clock = clocks[-1] if clocks else (0, Clock())
        if count == steps and step > len(clock.steps):  # other counts: loading and decoding
            clock.end_step()

    cpp.set_progress_callback(report)
    params = cpp.SDContextParams(model_path=str(path))
    params.n_threads = os.cpu_count() or 1
    params.free_params_immediately = False  # a second picture would find no weights
    context = cpp.SDContext(params)

    def picture(prompt: str, side: int, steps: int, clock: Clock) -> None:
        clocks.append((steps, clock))
        images = context.generate(
            prompt=prompt, negative_prompt=NEGATIVE, width=side, height=side, seed=SEED,
            sample_steps=steps, cfg_scale=CFG_SCALE, sample_method=cpp.SampleMethod.EULER,
        )  # fmt: skip
        assert images, "it has made no picture"

    return picture


ROWS: dict[str, Callable[[Path], Picture]] = {
    "ours-full": partial(ours, precision="Full"),
    "ours-half": partial(ours, precision="Half"),
    "ours-openvino": partial(ours, precision="Automatic", accelerator="OpenVINO"),
    "ours-openvino-full": partial(ours, precision="Full", accelerator="OpenVINO"),
    "diffusers-fp32": partial(bare_diffusers, dtype="float32"),
    "diffusers-bf16": partial(bare_diffusers, dtype="bfloat16"),
    "stable-diffusion.cpp": stable_diffusion_cpp,
}


# It compiles for each size. The others get what they need once with the first size; the step that begins a picture of
# another one is not counted.
COMPILED_BY_SIZE = ("ours-openvino", "ours-openvino-full")


def main() -> None:
    """Measure one row and print a line for each size, the smaller sizes first, since the peak never falls."""
    name, path, steps, *sides = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
    set_env_defaults(os.environ)
    try:
        picture = ROWS[name](path)
        for number, side in enumerate(sorted(sides)):
            if number == 0 or name in COMPILED_BY_SIZE:
                picture(WARM_UP, side, 1, Clock())
            clock = Clock()
            picture(MEASURED, side, steps, clock)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(json.dumps({"side": side, **clock.figures(), "peak": peak}), flush=True)
    except Missing as error:
        print(json.dumps({"reason": str(error)}), flush=True)


if __name__ == "__main__":
    main()

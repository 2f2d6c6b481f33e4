"""A sampling step of a full-size model: our loop over the stock pipeline's with the same components, in 32 and 16 bits."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import full_size

_PROMPT = "a red circle on a blue background"
_SIDE = 512
Compare = Callable[
    [Callable[[], float], Callable[[], float], int], tuple[list[float], list[float], list[float]]
]


def run(rounds: int, family: str, compare: Compare) -> None:
    """Print seconds per step and the ratio for each precision."""
    medians: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        full_size.write(family, Path(folder) / "model.safetensors")
        for precision in ("Full", "Half"):
            ours, bare = _sides(Path(folder), precision)
            ratios, our_times, bare_times = compare(ours, bare, rounds)
            medians[precision] = statistics.median(our_times)
            print(
                f"{family}, {precision}: {medians[precision]:.2f} s a step at {_SIDE}x{_SIDE}, the bare stock pipeline"
                f" {statistics.median(bare_times):.2f} s; ratio, median of {rounds} pairs: {statistics.median(ratios):.3f}"
                f" (from {min(ratios):.3f} to {max(ratios):.3f})"
            )
    print(f"a step in 16 bits over one in 32: {medians['Half'] / medians['Full']:.3f}")


@dataclass(frozen=True)
class Sides:
    """The denoising loop of this program and that of the stock pipeline, with the same components.

    Args:
        ours: Runs ours and returns the seconds.
        bare: Runs the other and returns the seconds.
        model: The loaded checkpoint.
        sample: Runs ours and returns the latents.
    """

    ours: Callable[[], float]
    bare: Callable[[], float]
    model: Any
    sample: Callable[[], Any]


def _sides(folder: Path, precision: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return the two sides, one step each with prompt and negative prompt; neither encodes nor decodes."""
    import torch

    from modules.backend.runner import Runner
    from modules.models.index import ModelIndex
    from modules.params.device_options import DeviceOptions
    from modules.params.settings import Settings
    from modules.prompt.tokens import ClipTokenizer

    configs = full_size.ROOT / "configs"
    index = ModelIndex({"Checkpoint": [folder]}, configs, folder / "cache")
    tokenizer = ClipTokenizer(configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    runner = Runner(DeviceOptions(use_cpu=not torch.cuda.is_available()), tokenizer)
    sides = make_sides(runner, index, "model", Settings(precision=precision))
    return sides.ours, sides.bare


def make_sides(
    runner: Any, index: Any, name: str, settings: Any, steps: int = 1, side: int = _SIDE
) -> Sides:
    """Return the two loops of a checkpoint.

    Args:
        runner: Loads it.
        index: Lists it.
        name: The checkpoint's.
        settings: Of the program.
        steps: Of each run.
        side: Of the image in pixels.
    """
    import torch
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
    )

    from modules.backend.noise.noise import ImageNoise, noise_options
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.plan.planner import make_plan

    request = Txt2ImgRequest(
        prompt=_PROMPT, width=side, height=side, steps=steps, sampler_name="Euler", seed=1
    )
    plan = make_plan(request, index, index.find_checkpoint(name), settings)
    model = runner.models.acquire(plan.model)
    components, device = model.components, runner.device.torch_device
    with torch.inference_mode():
        conditioning = model.encode_prompts(
            _PROMPT, "blurry", plan.timeline, settings, (side, side)
        )
    latent_format = components.latent_format
    shape = latent_format.shape(side, side)
    latents = torch.randn((1, *shape), generator=torch.Generator().manual_seed(1))
    networks = {encoder.name: encoder.network for encoder in components.text_encoders}
    scheduler: Any = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=components.prediction_type,
    )
    common: dict[str, Any] = {"vae": components.vae, "unet": components.unet, "tokenizer": None}
    if components.micro_conditioning:
        stock: Any = StableDiffusionXLPipeline(
            **common,
            scheduler=scheduler,
            text_encoder=networks["clip_l"],
            text_encoder_2=networks["clip_g"],
            tokenizer_2=None,
            add_watermarker=False,
        )
    else:
        stock = StableDiffusionPipeline(
            **common,
            scheduler=scheduler,
            text_encoder=components.text_encoders[0].network,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    stock.set_progress_bar_config(disable=True)
    cond, uncond = conditioning.conds[0], conditioning.uncond
    prompts = {
        "prompt_embeds": cond.at_step(0),
        "negative_prompt_embeds": uncond.at_step(0),
        "pooled_prompt_embeds": cond.pooled_at_step(0),
        "negative_pooled_prompt_embeds": uncond.pooled_at_step(0),
    }
    stated = {name: tensor for name, tensor in prompts.items() if tensor is not None}
    dtype = components.unet.dtype

    def sample() -> Any:
        noise = ImageNoise(plan.batches[0], shape, device, noise_options(plan, latent_format))
        with torch.inference_mode():
            return model.pipeline(plan, model.model_sigmas, conditioning, noise)

    def ours() -> float:
        started_at = time.perf_counter()
        sample()
        return _elapsed(device, started_at)

    def bare() -> float:
        started_at = time.perf_counter()
        stock(
            **stated,
            latents=latents.to(device, dtype),
            width=side,
            height=side,
            num_inference_steps=steps,
            guidance_scale=7.0,
            output_type="latent",
        )
        return _elapsed(device, started_at)

    return Sides(ours, bare, model, sample)


def _elapsed(device: Any, started_at: float) -> float:
    """Return the seconds since a moment, once the device has nothing left to do."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_at

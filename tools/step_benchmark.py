"""A sampling step of a full-size model: our loop over the stock pipeline's with the same components, in 32 and 16 bits."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
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


def _sides(folder: Path, precision: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return the two sides, one step each with prompt and negative prompt; neither encodes nor decodes."""
    import torch
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
    )

    from modules.backend.noise.noise import ImageNoise, noise_options
    from modules.backend.runner import Runner
    from modules.models.index import ModelIndex
    from modules.params.device_options import DeviceOptions
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.params.settings import Settings
    from modules.plan.planner import make_plan
    from modules.prompt.tokens import ClipTokenizer

    configs = full_size.ROOT / "configs"
    index = ModelIndex({"Checkpoint": [folder]}, configs, folder / "cache")
    request = Txt2ImgRequest(
        prompt=_PROMPT, width=_SIDE, height=_SIDE, steps=1, sampler_name="Euler", seed=1
    )
    settings = Settings(precision=precision)
    plan = make_plan(request, index, index.find_checkpoint("model"), settings)
    tokenizer = ClipTokenizer(configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    runner = Runner(DeviceOptions(use_cpu=not torch.cuda.is_available()), tokenizer)
    model = runner.models.acquire(plan.model)
    components, device = model.components, runner.device.torch_device
    with torch.inference_mode():
        conditioning = model.encode_prompts(
            _PROMPT, "blurry", plan.timeline, settings, (_SIDE, _SIDE)
        )
    latent_format = components.latent_format
    shape = latent_format.shape(_SIDE, _SIDE)
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

    def ours() -> float:
        noise = ImageNoise(plan.batches[0], shape, device, noise_options(plan, latent_format))
        started_at = time.perf_counter()
        with torch.inference_mode():
            model.pipeline(plan, model.model_sigmas, conditioning, noise)
        return _elapsed(device, started_at)

    def bare() -> float:
        started_at = time.perf_counter()
        stock(
            **stated,
            latents=latents.to(device, dtype),
            width=_SIDE,
            height=_SIDE,
            num_inference_steps=1,
            guidance_scale=7.0,
            output_type="latent",
        )
        return _elapsed(device, started_at)

    return ours, bare


def _elapsed(device: Any, started_at: float) -> float:
    """Return the seconds since a moment, once the device has nothing left to do."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_at

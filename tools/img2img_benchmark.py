"""What repainting costs beside the bare stock pipelines, and how soon a photo with a mask reaches the device.

Each pair holds the same components and evaluates the network as often: at a strength of 1 both make every step. What this
program remembers of the last picture is dropped before each run, for the stock pipelines remember nothing.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE, STEPS, CFG = 256, 20, 7.0
PROMPT = "a red circle on the left on a gray background"
PHOTO = (4000, 3000)
TASKS = (
    ("img2img", "demo"),
    ("inpaint, 4 channels", "demo"),
    ("inpaint, 9 channels", "demo-inpainting"),
    ("depth", "demo-depth"),
)


class PhaseClock:
    """A listener that takes the time of each phase, and keeps the pictures."""

    def __init__(self) -> None:
        """Start the clock."""
        self.seconds: dict[str, float] = {}
        self.images: list[Image.Image] = []
        self._phase, self._since = "", time.perf_counter()

    def on_phase(self, text: str) -> None:
        """End a phase and begin another."""
        now = time.perf_counter()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0) + now - self._since
        self._phase, self._since = text.split(" demo")[0], now

    def on_image(self, index: int, image: Image.Image) -> None:
        """Keep a picture and end the last phase."""
        del index
        self.images.append(image)
        self.on_phase("")

    def __getattr__(self, name: str) -> Callable[..., bool]:
        """Answer all else that a listener is told or asked: no."""
        return lambda *_: False


def run(rounds: int, compare: Callable[..., tuple[list[float], list[float], list[float]]]) -> None:
    """Print the ratio of each task, then the way of a 12-megapixel photo, stage by stage."""
    from modules.app import make_engine, make_paths
    from modules.core.flags import parse_flags

    with tempfile.TemporaryDirectory() as data:
        flags = parse_flags(["--data-dir", data, "--use-cpu", "all"])
        engine = make_engine(flags, make_paths(flags))
        for task, name in TASKS:
            ours, bare = _sides(engine, task, f"demo/{name}.safetensors")
            work: dict[str, list[float]] = {"ours": [], "bare": []}
            ratios, our_times, bare_times = compare(
                _noting(ours, work["ours"]), _noting(bare, work["bare"]), rounds
            )
            print(
                f"{task}: {statistics.median(our_times):.3f} s; bare pipeline {statistics.median(bare_times):.3f} s;"
                f" median ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}),"
                f" of the processor's time {statistics.median(work['ours']) / statistics.median(work['bare']):.3f}"
            )
        _report_photo(engine, min(rounds, 5))
        engine.stop()


def _noting(side: Callable[[], float], work: list[float]) -> Callable[[], float]:
    """Return the side, noting the processor's time too: on a busy machine it says more."""

    def timed() -> float:
        began = time.process_time()
        wall = side()
        work.append(time.process_time() - began)
        return wall

    return timed


def _request(task: str, checkpoint: str, size: tuple[int, int] = (SIDE, SIDE), **more: Any) -> Any:
    from modules.params.image import ImageField
    from modules.params.image_kinds import DEPTH, MASK
    from modules.params.requests.depth import DepthRequest
    from modules.params.requests.img2img import Img2ImgRequest

    fields: dict[str, Any] = {
        "init_image": ImageField.from_pil(photo(size)), "prompt": PROMPT, "width": SIDE, "height": SIDE, "seed": 1,
        "steps": STEPS, "cfg_scale": CFG, "sampler_name": "Euler", "denoising_strength": 1, **more,
        "sd_model_checkpoint": checkpoint,
    }  # fmt: skip
    if task == "depth":
        ramp = Image.linear_gradient("L").resize(size)
        return DepthRequest(depth_map=ImageField.from_pil(ramp, DEPTH), **fields)
    if task != "img2img":
        fields["mask"] = ImageField.from_pil(mask(size), MASK)
    return Img2ImgRequest(**fields)


def photo(size: tuple[int, int]) -> Image.Image:
    """Return a picture with as much detail as a photo has, so that it packs like one."""
    grain = np.random.default_rng(0).integers(
        0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8
    )
    soft = np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC)).astype(
        np.int16
    )
    noise = np.random.default_rng(1).integers(-4, 5, soft.shape, dtype=np.int16)
    return Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8))


def mask(size: tuple[int, int]) -> Image.Image:
    """Return a mask of an eighth of the picture, round."""
    made = Image.new("L", size)
    width, height = size
    ImageDraw.Draw(made).ellipse((width // 10, height // 4, width // 2, 3 * height // 4), fill=255)
    return made


def _sides(
    engine: Any, task: str, checkpoint: str
) -> tuple[Callable[[], float], Callable[[], float]]:
    import torch

    from modules.backend.runner import Runner
    from modules.params.device import DeviceOptions

    runner = Runner(DeviceOptions(use_cpu=True), engine.tokenizer)
    request = _request(task, checkpoint)
    plan = engine.plan(request, engine.settings)
    runner.load(plan.model)
    model = runner._acquire(plan.model)
    parts = model.components
    with torch.inference_mode():
        steering = model.encode_prompts(PROMPT, "", plan.timeline, plan.settings)
    cond, uncond = steering.conds[0].at_step(0), steering.uncond.at_step(0)
    pipeline, inputs = _bare(task, parts, request)

    def ours() -> float:
        model._init_image = None
        began = time.perf_counter()
        runner.run(plan, PhaseClock())
        return time.perf_counter() - began

    def bare() -> float:
        began = time.perf_counter()
        pipeline(
            prompt_embeds=cond, negative_prompt_embeds=uncond, strength=1.0, guidance_scale=CFG,
            num_inference_steps=STEPS, generator=torch.Generator().manual_seed(1), **inputs,
        )  # fmt: skip
        return time.perf_counter() - began

    return ours, bare


def _bare(task: str, parts: Any, request: Any) -> tuple[Any, dict[str, Any]]:
    """Return the stock pipeline of a task and what it is given besides the prompt."""
    import torch
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionDepth2ImgPipeline,
        StableDiffusionImg2ImgPipeline,
        StableDiffusionInpaintPipeline,
    )

    shared = {
        "vae": parts.vae, "text_encoder": parts.text_encoder, "tokenizer": None, "unet": parts.unet,
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            prediction_type=parts.prediction_type, steps_offset=1,
        ),
    }  # fmt: skip
    unchecked = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    inputs: dict[str, Any] = {"image": request.init_image.to_pil()}
    if task == "depth":
        pipeline: Any = StableDiffusionDepth2ImgPipeline(
            **shared, depth_estimator=parts.depth_estimator, feature_extractor=None
        )
        levels = np.asarray(request.depth_map.to_pil()).astype(np.float32) / 65535
        inputs["depth_map"] = torch.from_numpy(levels)[None]
    elif task == "img2img":
        pipeline = StableDiffusionImg2ImgPipeline(**shared, **unchecked)
    else:
        pipeline = StableDiffusionInpaintPipeline(**shared, **unchecked)
        inputs |= {"mask_image": request.mask.to_pil(), "width": SIDE, "height": SIDE}
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, inputs


def _report_photo(engine: Any, rounds: int) -> None:
    """Press Generate with a photo and a mask as files: how long until the device has it, and what each stage costs."""
    import threading

    from modules.backend.runner import Runner
    from modules.engine.jobs.job import Job
    from modules.params.device import DeviceOptions
    from modules.params.image import ImageField
    from modules.params.image_kinds import MASK

    files = [io.BytesIO(), io.BytesIO()]
    photo(PHOTO).save(files[0], format="JPEG", quality=92)
    mask(PHOTO).save(files[1], format="PNG")
    engine.start()
    small = _request("inpaint", "demo/demo.safetensors", steps=1)
    engine.submit(small).wait()
    reached: list[float] = []
    shares: list[dict[str, float]] = []
    for number in range(rounds):
        on_device = threading.Event()
        began = time.perf_counter()
        picture = ImageField.from_bytes(files[0].getvalue())
        covered = ImageField.from_bytes(files[1].getvalue(), MASK)
        decoded = time.perf_counter()
        request = small.replace(
            init_image=picture, mask=covered, inpaint_full_res=True, seed=number
        )
        own_phase = Job.on_phase

        def on_phase(job: Job, text: str, own: Any = own_phase, done: Any = on_device) -> None:
            own(job, text)
            done.set()

        Job.on_phase = on_phase  # type: ignore[method-assign]
        try:
            job = engine.submit(request)
            on_device.wait()
            reached.append(time.perf_counter() - began)
        finally:
            Job.on_phase = own_phase  # type: ignore[method-assign]
        job.wait()
        shares.append(
            {
                "reading the files": decoded - began,
                "planning and storing": reached[-1] - (decoded - began),
            }
        )
    print(
        f"{PHOTO[0]}x{PHOTO[1]} photo and mask on the device {statistics.median(reached):.2f} s after Generate"
        f" (at most {max(reached):.2f} s): {_stages(shares)}"
    )
    _report_stages(
        engine,
        small.replace(init_image=picture, mask=covered, inpaint_full_res=True),
        Runner,
        DeviceOptions,
    )


def _report_stages(engine: Any, request: Any, runner_type: Any, options: Any) -> None:
    """Print what each stage of the run costs beside the denoising, and saving the picture."""
    runner = runner_type(options(use_cpu=True), engine.tokenizer)
    plan = engine.plan(request.replace(steps=STEPS), engine.settings)
    for _ in range(2):  # the first one loads
        runner._acquire(plan.model)._picture = None
        clock = PhaseClock()
        runner.run(plan, clock)
    began = time.perf_counter()
    engine.image_saver.save(plan, 0, clock.images[0])
    saving = time.perf_counter() - began
    print(f"stages of the run: {_stages([{**clock.seconds, 'saving': saving}])}")


def _stages(shares: list[dict[str, float]]) -> str:
    return ", ".join(
        f"{name} {statistics.median(share[name] for share in shares):.2f} s" for name in shares[0]
    )

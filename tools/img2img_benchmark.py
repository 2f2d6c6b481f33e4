"""The overhead of img2img over the bare stock pipelines, and the time until a photo with a mask reaches the device.

Each pair uses the same components and number of network evaluations: at a strength of 1 both run every step. The cached
init image is dropped before each run, since the stock pipelines cache nothing.
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
    """A sink that measures each phase and collects the images."""

    def __init__(self) -> None:
        """Start the clock."""
        self.seconds: dict[str, float] = {}
        self.images: list[Image.Image] = []
        self._phase, self._started_at = "", time.perf_counter()

    def __call__(self, event: Any) -> None:
        """Start a phase, or collect an image; ignore other events."""
        from modules.params.events import Output, Phase

        match event:
            case Phase(text):
                self._start_phase(text)
            case Output("image", image):
                self.images.append(image)
                self._start_phase("")

    def _start_phase(self, text: str) -> None:
        now = time.perf_counter()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0) + now - self._started_at
        self._phase, self._started_at = text.split(" demo")[0], now


def run(rounds: int, compare: Callable[..., tuple[list[float], list[float], list[float]]]) -> None:
    """Print the ratio of each task, then the stages of a job with a 12-megapixel photo."""
    from modules.app import make_engine, make_paths
    from modules.core.command_line import parse_flags

    with tempfile.TemporaryDirectory() as data:
        flags = parse_flags(["--data-dir", data, "--use-cpu", "all"])
        engine = make_engine(flags, make_paths(flags))
        for task, name in TASKS:
            ours, bare = _sides(engine, task, f"demo/{name}.safetensors")
            cpu_times: dict[str, list[float]] = {"ours": [], "bare": []}
            ratios, our_times, bare_times = compare(
                _record_cpu_time(ours, cpu_times["ours"]),
                _record_cpu_time(bare, cpu_times["bare"]),
                rounds,
            )
            print(
                f"{task}: {statistics.median(our_times):.3f} s; bare pipeline {statistics.median(bare_times):.3f} s;"
                f" median ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}),"
                f" of CPU time {statistics.median(cpu_times['ours']) / statistics.median(cpu_times['bare']):.3f}"
            )
        _report_photo(engine, min(rounds, 5))
        engine.stop()


def _record_cpu_time(side: Callable[[], float], cpu_times: list[float]) -> Callable[[], float]:
    """Return the side, recording its CPU time too, which is more reliable on a busy machine."""

    def timed() -> float:
        started_at = time.process_time()
        wall_time = side()
        cpu_times.append(time.process_time() - started_at)
        return wall_time

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
    """Return an image with as much detail as a photo, so that it compresses like one."""
    grain = np.random.default_rng(0).integers(
        0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8
    )
    soft = np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC)).astype(
        np.int16
    )
    noise = np.random.default_rng(1).integers(-4, 5, soft.shape, dtype=np.int16)
    return Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8))


def mask(size: tuple[int, int]) -> Image.Image:
    """Return an elliptical mask of an eighth of the image."""
    image = Image.new("L", size)
    width, height = size
    ImageDraw.Draw(image).ellipse((width // 10, height // 4, width // 2, 3 * height // 4), fill=255)
    return image


def _sides(
    engine: Any, task: str, checkpoint: str
) -> tuple[Callable[[], float], Callable[[], float]]:
    import torch

    from modules.backend.runner import Runner
    from modules.params.device_options import DeviceOptions
    from modules.plan.work import LoadModel

    runner = Runner(DeviceOptions(use_cpu=True), engine.tokenizer)
    request = _request(task, checkpoint)
    plan = engine.planner.plan(request, engine.settings)
    runner.run(LoadModel(plan.model))
    model = runner.models.acquire(plan.model)
    components = model.components
    with torch.inference_mode():
        conditioning = model.encode_prompts(
            PROMPT, "", plan.timeline, plan.settings, (plan.request.width, plan.request.height)
        )
    cond, uncond = conditioning.conds[0].at_step(0), conditioning.uncond.at_step(0)
    pipeline, inputs = _bare(task, components, request)

    def ours() -> float:
        model._init_image = None
        started_at = time.perf_counter()
        runner.run(plan, PhaseClock())
        return time.perf_counter() - started_at

    def bare() -> float:
        started_at = time.perf_counter()
        pipeline(
            prompt_embeds=cond, negative_prompt_embeds=uncond, strength=1.0, guidance_scale=CFG,
            num_inference_steps=STEPS, generator=torch.Generator().manual_seed(1), **inputs,
        )  # fmt: skip
        return time.perf_counter() - started_at

    return ours, bare


def _bare(task: str, components: Any, request: Any) -> tuple[Any, dict[str, Any]]:
    """Return the stock pipeline of a task and its inputs other than the prompt."""
    import torch
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionDepth2ImgPipeline,
        StableDiffusionImg2ImgPipeline,
        StableDiffusionInpaintPipeline,
    )

    shared = {
        "vae": components.vae, "text_encoder": components.text_encoders[0].network, "tokenizer": None, "unet": components.unet,
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            prediction_type=components.prediction_type, steps_offset=1,
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
            **shared, depth_estimator=components.depth_estimator, feature_extractor=None
        )
        depth = np.asarray(request.depth_map.to_pil()).astype(np.float32) / 65535
        inputs["depth_map"] = torch.from_numpy(depth)[None]
    elif task == "img2img":
        pipeline = StableDiffusionImg2ImgPipeline(**shared, **unchecked)
    else:
        pipeline = StableDiffusionInpaintPipeline(**shared, **unchecked)
        inputs |= {"mask_image": request.mask.to_pil(), "width": SIDE, "height": SIDE}
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, inputs


def _report_photo(engine: Any, rounds: int) -> None:
    """Submit a photo and a mask as files; print the time until the job reaches the device, and that of each stage."""
    import threading

    from modules.backend.runner import Runner
    from modules.engine.jobs.job import Job
    from modules.params.device_options import DeviceOptions
    from modules.params.image import ImageField
    from modules.params.image_kinds import MASK

    files = [io.BytesIO(), io.BytesIO()]
    photo(PHOTO).save(files[0], format="JPEG", quality=92)
    mask(PHOTO).save(files[1], format="PNG")
    engine.start()
    small = _request("inpaint", "demo/demo.safetensors", steps=1)
    engine.submit(small).wait()
    times_to_device: list[float] = []
    stage_times: list[dict[str, float]] = []
    for number in range(rounds):
        on_device = threading.Event()
        started_at = time.perf_counter()
        init_image = ImageField.from_bytes(files[0].getvalue())
        mask_image = ImageField.from_bytes(files[1].getvalue(), MASK)
        decoded = time.perf_counter()
        request = small.replace(
            init_image=init_image, mask=mask_image, inpaint_full_res=True, seed=number
        )
        original = Job.receive

        def receive(job: Job, event: Any, method: Any = original, started: Any = on_device) -> None:
            method(job, event)
            started.set()

        Job.receive = receive  # type: ignore[method-assign]
        try:
            job = engine.submit(request)
            on_device.wait()
            times_to_device.append(time.perf_counter() - started_at)
        finally:
            Job.receive = original  # type: ignore[method-assign]
        job.wait()
        stage_times.append(
            {
                "reading the files": decoded - started_at,
                "planning and storing": times_to_device[-1] - (decoded - started_at),
            }
        )
    print(
        f"{PHOTO[0]}x{PHOTO[1]} photo and mask on the device {statistics.median(times_to_device):.2f} s after Generate"
        f" (at most {max(times_to_device):.2f} s): {_stages(stage_times)}"
    )
    _report_stages(
        engine,
        small.replace(init_image=init_image, mask=mask_image, inpaint_full_res=True),
        Runner,
        DeviceOptions,
    )


def _report_stages(engine: Any, request: Any, runner_type: Any, options: Any) -> None:
    """Print the time of each stage of the run, and of saving the image."""
    runner = runner_type(options(use_cpu=True), engine.tokenizer)
    plan = engine.planner.plan(request.replace(steps=STEPS), engine.settings)
    for _ in range(2):  # the first run loads the model
        runner.models.acquire(plan.model)._init_image = None
        clock = PhaseClock()
        runner.run(plan, clock)
    started_at = time.perf_counter()
    engine.image_saver.save(plan, 0, clock.images[0], lambda _: None)
    saving = time.perf_counter() - started_at
    print(f"stages of the run: {_stages([{**clock.seconds, 'saving': saving}])}")


def _stages(stage_times: list[dict[str, float]]) -> str:
    return ", ".join(
        f"{name} {statistics.median(times[name] for times in stage_times):.2f} s"
        for name in stage_times[0]
    )

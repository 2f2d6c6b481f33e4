"""The parts of tools/gpu_check.py that compare pictures of the demo model, and what happens when something goes wrong."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.gpu_check import Check

_PROMPT = "a red circle on a blue background"
# Decibels: three of four pictures in 16 bits have about 50 and one tips over to 28 (docs/performance.md); kernels of
# other devices differ in the last digits alone.
_LEAST_HALF, _LEAST_FULL = 22.0, 40.0


def _request(side: int, steps: int) -> Any:
    from modules.params.requests.txt2img import Txt2ImgRequest

    request = Txt2ImgRequest(prompt=_PROMPT, width=side, height=side, steps=steps, seed=1)
    return request.replace(sampler_name="DPM++ 2M", cfg_scale=5.0)


def make_pictures(
    check: Check,
    name: str = "demo",
    runner: Any = None,
    side: int = 0,
    steps: int = 0,
    **options: Any,
) -> tuple[list[Any], list[str]]:
    """Return the pictures of a job and its notes.

    Args:
        check: Where it runs.
        name: The checkpoint's.
        runner: Instead of the device's.
        side: Of the picture in pixels; 0 for a size of the demo model.
        steps: Of the run; 0 likewise.
        options: Settings.
    """
    from modules.params.events import Event, Note, Output
    from modules.params.settings import Settings
    from modules.plan.planner import make_plan

    # Noise of the processor: it is the same on every device.
    settings = Settings(randn_source="CPU", **options)
    usual_side, usual_steps = (64, 4) if check.is_tiny else (256, 20)
    request = _request(side or usual_side, steps or usual_steps)
    plan = make_plan(request, check.index, check.index.find_checkpoint(name), settings)
    events: list[Event] = []
    (runner or check.runner).run(plan, events.append)
    images = [event.data for event in events if isinstance(event, Output)]
    return images, [event.text for event in events if isinstance(event, Note)]


def decibels(one: Any, other: Any) -> float:
    """Return the peak signal-to-noise ratio of two pictures; infinity for the same."""
    import numpy as np

    difference = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    error = float((difference**2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def check_precisions(check: Check) -> None:
    """Compare each precision of the device with 32 bits on the processor, and the retry after an overflow."""
    (expected,), _ = make_pictures(check, runner=check.processor, precision="Full")
    for option, least in (("Full", _LEAST_FULL), ("Half", _LEAST_HALF)):
        (found,), _ = make_pictures(check, precision=option)
        (again,), _ = make_pictures(check, precision=option)
        distance = decibels(expected, found)
        text = f"{distance:.1f} dB to 32 bits on the processor"
        check.add(f"Picture, Precision: {option}", text, distance >= least)
        is_same = found.tobytes() == again.tobytes()
        check.add(f"The same again, Precision: {option}", f"same bytes: {is_same}", is_same)
    _check_overflow(check)


def _check_overflow(check: Check) -> None:
    """Let a network overflow 16 bits, and see that the picture is made in more."""
    from safetensors.torch import load_file, save_file

    source = check.index.find_checkpoint("demo").path
    weights = load_file(source)
    first = "model.diffusion_model.input_blocks.0.0.weight"
    weight = weights[first].float()
    weights[first] = weight * (
        5e4 / weight.abs().max()
    )  # each fits into 16 bits, and their sums do not
    save_file(weights, check.folder / "overflowing.safetensors")
    config = source.with_suffix(".yaml")
    if config.exists():
        (check.folder / "overflowing.yaml").write_bytes(config.read_bytes())
    check.index.refresh("Checkpoint")
    images, notes = make_pictures(check, "overflowing", precision="Half")
    retries = [note for note in notes if "overflowed in half precision" in note]
    check.add(
        "Overflow of 16 bits",
        f"{len(retries)} retries, {len(images)} picture",
        bool(retries) and len(images) == 1,
    )


def check_memory(check: Check) -> None:
    """Compare the memory policies, and let the memory run out."""
    from modules.backend.memory.policies import POLICIES

    first: Any = None
    for policy in POLICIES:
        (image,), _ = make_pictures(check, memory_policy=policy.name)
        first = first or image
        distance = decibels(first, image)
        text = f"{distance:.1f} dB to all on the device"
        check.add(f"Memory: {policy.name}", text, distance >= _LEAST_FULL)
    check.runner.models.clear()


def check_lack_of_memory(check: Check) -> None:
    """Take a little less memory than the steps of SD 1.5 need with all on the device."""
    import torch

    if "sd1" not in check.peak_of_steps:
        check.add("Lack of memory", "can be brought about on CUDA alone")
        return
    check.runner.models.clear()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(check.device).total_memory
    # Without the VAE and the text encoder, which take 0.6 GB, they fit.
    limit = check.peak_of_steps["sd1"] - 300_000_000
    try:
        torch.cuda.set_per_process_memory_fraction(limit / total, check.device)
        images, notes = make_pictures(check, "sd1", precision="Half", side=512, steps=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, check.device)
        check.runner.models.clear()
    retries = [note for note in notes if "ran out of memory and runs again" in note]
    text = f"{len(retries)} retries, {len(images)} picture"
    check.add("Lack of memory", text, bool(retries) and len(images) == 1)


def check_attentions(check: Check) -> None:
    """Compare the ways to compute attention that are there."""
    from modules.params.attentions import list_attentions

    (expected,), _ = make_pictures(check, precision="Half")
    for name in list_attentions()[1:]:
        (image,), notes = make_pictures(check, precision="Half", cross_attention_optimization=name)
        obstacle = [note for note in notes if "instead of" in note]
        distance = decibels(expected, image)
        result = obstacle[0] if obstacle else f"{distance:.1f} dB to PyTorch's choice"
        check.add(f"Attention: {name}", result, distance >= _LEAST_HALF)


def check_interrupt(check: Check) -> None:
    """Measure how long a running job takes to stop."""
    from modules.core.errors import Cancelled
    from modules.params.events import CancelToken, Event, Progress
    from modules.params.settings import Settings
    from modules.plan.planner import make_plan

    name = "demo" if check.is_tiny else "sd1"
    plan = make_plan(
        _request(64 if check.is_tiny else 512, 50),
        check.index,
        check.index.find_checkpoint(name),
        Settings(),
    )
    cancel, asked_at = CancelToken(), 0.0
    timer_started = threading.Event()

    def interrupt() -> None:
        nonlocal asked_at
        asked_at = time.perf_counter()
        cancel.interrupt()

    timer = threading.Timer(0.2, interrupt)

    def receive(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 5 and not timer_started.is_set():
            timer_started.set()
            timer.start()

    try:
        check.runner.run(plan, receive, cancel)
    except Cancelled:
        check.synchronize()
        seconds = time.perf_counter() - asked_at
        check.add("Interrupt", f"stopped after {seconds * 1000:.0f} ms", seconds < 2)
    else:
        timer.cancel()
        check.add("Interrupt", "the job had ended before it was interrupted")

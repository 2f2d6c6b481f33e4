"""The parts of tools/gpu_check.py that measure: steps over the bare pipeline, compiled blocks, memory, switches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tools import full_size, step_benchmark

if TYPE_CHECKING:
    from tools.gpu_check import Check

_SWITCHES = 20


def describe(check: Check) -> None:
    """Name the device and its settings for computing."""
    import diffusers
    import torch

    from modules.backend.tuning import find_tuning

    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    check.add("Device", f"{check.runner.device.label}; {versions}")
    for name, choice in vars(find_tuning(check.device)).items():
        if name != "kind":
            check.add(f"Tuning: {name}", f"{choice.value}: {choice.reason}")


def measure_sd1(check: Check) -> None:
    """Measure SD 1.5 at 512x512, and whether a step waits for the card."""
    sides = _measure_steps(check, "sd1", "SD 1.5", 512)
    _check_waiting(check, sides)
    _measure_layout(check, sides)
    _measure_prompt(check, sides.model)
    _measure_overlap(check)
    _measure_noise(check)


def measure_sdxl(check: Check) -> None:
    """Measure SDXL at 1024x1024."""
    _measure_steps(check, "sdxl", "SDXL", 1024)


def _name(check: Check, family: str) -> str:
    """Return the name of a checkpoint, which is written when it is first asked for."""
    if check.is_tiny:
        return "demo"
    path = check.folder / f"{family}.safetensors"
    if not path.exists():
        full_size.write(family, path)
        check.index.refresh("Checkpoint")
    return family


def _make_sides(check: Check, family: str, side: int) -> tuple[step_benchmark.Sides, int]:
    from modules.params.settings import Settings

    steps, side = (2, 64) if check.is_tiny else (20, side)
    name = _name(check, family)
    settings = Settings(precision="Half")
    sides = step_benchmark.make_sides(check.runner, check.index, name, settings, steps, side)
    return sides, steps


def _measure_steps(check: Check, family: str, title: str, side: int) -> step_benchmark.Sides:
    import torch

    check.runner.models.clear()
    started_at = time.perf_counter()
    sides, steps = _make_sides(check, family, side)
    check.add(f"{title}: written and loaded", f"{time.perf_counter() - started_at:.1f} s")
    if check.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(check.device)
    sides.ours()  # the libraries choose their kernels
    sides.bare()
    pairs = [(sides.ours(), sides.bare()) for _ in range(1 if check.is_tiny else 3)]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    check.add(
        f"{title} at {64 if check.is_tiny else side}, prompt and negative prompt",
        f"{steps / ours:.2f} it/s, bare diffusers {steps / bare:.2f} it/s, time over it {ratio:.3f}",
    )
    if check.device.type == "cuda":
        peak = check.peak_of_steps[family] = torch.cuda.max_memory_allocated(check.device)
        check.add(f"{title}: peak memory of its steps", f"{peak / 1e9:.2f} GB")
    return sides


def _check_waiting(check: Check, sides: step_benchmark.Sides) -> None:
    """Run the steps where torch raises at every wait; noise is copied before them."""
    import torch

    if check.device.type != "cuda":
        check.add("Steps wait for the device", "torch reports it on CUDA alone")
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        sides.sample()
        check.add("Steps wait for the device", "never", is_right=True)
    except RuntimeError as error:
        check.add("Steps wait for the device", str(error).splitlines()[0], is_right=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _measure_layout(check: Check, sides: step_benchmark.Sides) -> None:
    """Compare the layout of the kernels that TUNINGS asks for with the other one."""
    import torch

    from modules.backend.tuning import find_tuning

    unet, chosen = sides.model.components.unet, find_tuning(check.device).channels_last.value
    layouts = {False: torch.contiguous_format, True: torch.channels_last}
    before = _best(sides.ours)
    unet.to(memory_format=layouts[not chosen])
    sides.ours()
    other = _best(sides.ours)
    unet.to(memory_format=layouts[chosen])
    check.add("Layout of kernels: chosen over the other", f"{before / other:.3f} of its time")


def _measure_prompt(check: Check, model: Any) -> None:
    import torch

    from modules.params.settings import Settings
    from modules.prompt.schedule import StepTimeline

    def encode() -> float:
        started_at = time.perf_counter()
        with torch.inference_mode():
            model.encode_prompts("a cat", "a dog", StepTimeline(20), Settings(), (512, 512))
        check.synchronize()
        return time.perf_counter() - started_at

    encode()
    check.runner.models.forget_prompts()
    anew, remembered = encode(), encode()
    text = f"{anew * 1000:.1f} ms anew, {remembered * 1000:.2f} ms remembered"
    check.add("Prompt and negative prompt", text)


def _measure_overlap(check: Check) -> None:
    """Measure a job of three batches with images decoded during the next batch, and after each."""
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.params.settings import Settings
    from modules.plan.planner import make_plan

    side, steps = (64, 2) if check.is_tiny else (512, 10)
    request = Txt2ImgRequest(prompt="a cat", width=side, height=side, steps=steps, seed=1, n_iter=3)
    checkpoint = check.index.find_checkpoint(_name(check, "sd1"))
    plan = make_plan(request, check.index, checkpoint, Settings(precision="Half"))

    def run() -> float:
        started_at = time.perf_counter()
        check.runner.run(plan)
        return time.perf_counter() - started_at

    models = check.runner.models
    overlapped_s, overlap = _best(run), models.overlap
    if overlap is None:
        check.add("Three pictures", f"{overlapped_s:.2f} s; this device decodes after each batch")
        return
    models.overlap = None
    after = _best(run)
    models.overlap = overlap
    check.add(
        "Three pictures", f"{overlapped_s:.2f} s, {after:.2f} s without decoding during the steps"
    )


def _measure_noise(check: Check) -> None:
    """Measure what the steps of an SDE sampler wait for their noise, which is drawn in a thread."""
    from modules.sampling.samplers import SAMPLERS
    from tools.sampler_benchmark import measure_waits

    name = "DPM++ 2M SDE"
    walls, owns = zip(*measure_waits(SAMPLERS.get(name), check.device), strict=True)
    check.add(
        f"Noise of {name}",
        f"a step waits {statistics.median(walls):.2f} ms, and its thread works {statistics.mean(owns):.2f} ms",
        statistics.mean(owns) <= 1,
    )


def measure_compile(check: Check) -> None:
    """Measure compiled blocks: with symbolic sizes as the option has them, with fixed ones, and with CUDA graphs."""
    from modules.backend.denoise import compiled_blocks

    obstacle = compiled_blocks.find_obstacle(check.device)
    if obstacle:
        check.add("Compile", f"not here: {obstacle}")
        return
    sides, steps = _make_sides(check, "sd1", 512)
    plain, expected = _best(sides.ours), sides.sample()
    variants: list[tuple[str, dict[str, Any]]] = [("sizes as symbols (the option)", {})]
    if check.is_tiny:  # the compiler itself takes longer than this check has
        variants = [("traced alone", {"backend": "eager"})]
    elif check.device.type == "cuda":
        variants += [
            ("fixed sizes", {"dynamic": False}),
            ("CUDA graphs", {"dynamic": False, "mode": "reduce-overhead"}),
        ]
    for name, options in variants:
        if check.has_time(20 if check.is_tiny else 40):
            _measure_variant(check, sides, name, options, plain / steps, expected)


def _measure_variant(
    check: Check,
    sides: step_benchmark.Sides,
    name: str,
    options: dict[str, Any],
    plain: float,
    expected: Any,
) -> None:
    """Measure one way to compile; `plain` is the seconds of a step without."""
    import torch

    from modules.backend.denoise.compiled_blocks import CompiledBlocks

    torch._dynamo.reset()
    steps = 2 if check.is_tiny else 20
    try:
        with CompiledBlocks(**options).use(sides.model.components.unet):
            first = sides.ours()
            best, found = _best(sides.ours), sides.sample()
    except RuntimeError as error:
        check.add(f"Compile: {name}", str(error).splitlines()[0])
        return
    scale = float(expected.std())
    error = float((found - expected).square().mean().sqrt()) / scale
    check.add(
        f"Compile: {name}",
        f"{first:.1f} s the first time, then {best / steps / plain:.3f} of a step's time; latents differ by {error:.1e}",
        error < 0.1,
    )


def measure_switches(check: Check) -> None:
    """Switch between two checkpoints, and see that no memory stays behind."""
    import torch

    from modules.models.model_spec import make_model_spec
    from modules.params.settings import Settings

    names = (
        ("demo", "overflowing") if check.is_tiny else (_name(check, "sd1"), _name(check, "sdxl"))
    )
    specs = [
        make_model_spec(check.index, check.index.find_checkpoint(name), Settings())
        for name in names
    ]
    times: list[float] = []
    allocated: list[int] = []
    for number in range(6 if check.is_tiny else _SWITCHES):
        if not check.has_time(3):
            break
        started_at = time.perf_counter()
        check.runner.models.acquire(specs[number % 2])
        check.synchronize()
        times.append(time.perf_counter() - started_at)
        is_cuda = check.device.type == "cuda"
        allocated.append(torch.cuda.memory_allocated(check.device) if is_cuda else 0)
    if len(times) < 4:
        check.add("Switches", "left out: no time")
        return
    grown = max(allocated[-2:]) - max(allocated[:2])
    check.add(
        f"{len(times)} switches of checkpoint",
        f"{statistics.median(times):.2f} s each, {grown / 1e6:+.1f} MB at the end",
        grown < 50e6,
    )


def _best(run: Callable[[], float], count: int = 2) -> float:
    """Return the least of some runs: whatever else the machine does makes them longer alone."""
    return min(run() for _ in range(count))

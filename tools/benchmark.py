"""Benchmarks: the overhead of this program over the bare libraries, as ratios measured in one run.

python tools/benchmark.py startup     process start to the page's first response, over `import gradio`
python tools/benchmark.py txt2img     20 steps on the demo model, over the bare stock pipeline
python tools/benchmark.py img2img     img2img, inpainting and depth, over their bare stock pipelines; stages of a photo
python tools/benchmark.py load        a full-size SD 1.5 checkpoint, over diffusers' own loading and a plain read;
                                      with --family sdxl one of SDXL
python tools/benchmark.py api         the queue and the HTTP API: round trip, latency while generating, load, restart
python tools/benchmark.py page        the page in Chromium, over a page of one text box of the same Gradio
python tools/benchmark.py gallery     the Gallery tab with 10,000 pictures: first paint, scrolling, search (a part of page, too)
python tools/benchmark.py networks-page  2,000 LoRA files as cards: how soon they are listed, visible and found
python tools/benchmark.py merge       two full-size SD 1.5 checkpoints merged, over copying one; memory
python tools/benchmark.py networks    LoRAs on a full-size SD 1.5 checkpoint, over a plain read of their file; 2,000 files listed
python tools/benchmark.py controlnet  a step with a ControlNet of full size, over the bare stock pipeline's, and one without a unit, over
                                      the loop alone: in turn, block by block, in processor time; its loading, over a plain read
python tools/benchmark.py step        a step of a full-size model in 32 and 16 bits, over the bare stock pipeline; --family sdxl
python tools/benchmark.py upscale     the shipped upscaler in tiles, over spandrel's call on the whole picture; peak memory
python tools/benchmark.py plot        an X/Y/Z plot of 100 cells, over the same plans given to the device alone
python tools/benchmark.py cluster     two workers of one thread each, over one; what Ray costs a picture, its start and memory;
                                      a simulation of 64 workers and 10,000 jobs
python tools/benchmark.py peers       pictures of full-size models compared with bare diffusers and stable-diffusion.cpp;
                                      --only ours-full,diffusers-fp32 --sizes 256 --models sd15 for a part
python tools/benchmark.py samplers    each sampler's own milliseconds per step, and those of diffusers' scheduler

Any of them with --compare FILE, which holds what it printed before (`python tools/benchmark.py step > FILE`, of any commit),
also tells which figures are more than 2 % above or below.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from modules.launch.environment import set_env_defaults  # noqa: E402 - importable only after the line above
from tools import (  # noqa: E402
    api_benchmark,
    benchmark_comparison,
    cluster_benchmark,
    control_benchmark,
    gallery_benchmark,
    img2img_benchmark,
    load_benchmark,
    merge_benchmark,
    network_benchmark,
    networks_page_benchmark,
    page_benchmark,
    peers_benchmark,
    plot_benchmark,
    sampler_benchmark,
    step_benchmark,
    upscale_benchmark,
)

_SIDE = 256
_STEPS = 20
_PROMPT = "a red circle on a blue background"


def main() -> None:
    """Run one benchmark and print its ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = (
        *("startup", "txt2img", "img2img", "load", "api", "page", "gallery"),
        *("merge", "networks", "networks-page", "plot", "peers", "samplers", "step", "upscale"),
        *("controlnet", "cluster"),
    )
    parser.add_argument("what", choices=names)
    parser.add_argument("--rounds", type=int, default=7, help="how often each side is measured")
    parser.add_argument(
        "--family", choices=tuple(load_benchmark.CONFIGS), default="sd1", help="of what is loaded"
    )
    peers = peers_benchmark.Choice()
    parser.add_argument("--only", default=",".join(peers.rows), help="rows of peers")
    parser.add_argument("--models", default=",".join(peers.models), help="models of peers")
    parser.add_argument("--sizes", default=",".join(map(str, peers.sides)), help="sides for peers")
    parser.add_argument("--row-minutes", type=float, default=peers.row_minutes, help="for peers")
    parser.add_argument("--minutes", type=float, default=peers.minutes, help="of all peers")
    parser.add_argument("--steps", type=int, default=peers.steps, help="of a picture of peers")
    parser.add_argument("--compare", type=Path, help="an earlier output to compare with")
    args = parser.parse_args()
    set_env_defaults(os.environ)
    with benchmark_comparison.comparison(args.compare):
        _run(args)


def _run(args: argparse.Namespace) -> None:
    runs: dict[str, Callable[[], None]] = {
        "load": lambda: load_benchmark.run(min(args.rounds, 3), args.family),
        "img2img": lambda: img2img_benchmark.run(args.rounds, compare),
        "api": lambda: api_benchmark.run(args.rounds),
        "page": lambda: page_benchmark.run(args.rounds),
        "gallery": lambda: gallery_benchmark.run(args.rounds),
        "merge": lambda: merge_benchmark.run(min(args.rounds, 3)),
        "networks": lambda: network_benchmark.run(min(args.rounds, 3)),
        "networks-page": lambda: networks_page_benchmark.run(args.rounds),
        "upscale": lambda: upscale_benchmark.run(args.rounds, compare),
        "peers": lambda: peers_benchmark.run(_choose_peers(args)),
        "plot": lambda: plot_benchmark.run(args.rounds),
        "samplers": lambda: sampler_benchmark.run(args.rounds),
        "controlnet": lambda: control_benchmark.run(args.rounds, compare),
        "cluster": lambda: cluster_benchmark.run(min(args.rounds, 5)),
        "step": lambda: step_benchmark.run(min(args.rounds, 3), args.family, compare),
    }
    if args.what in runs:
        runs[args.what]()
        return
    ours, bare, label = {"startup": startup, "txt2img": txt2img}[args.what]()
    ratios, our_times, bare_times = compare(ours, bare, args.rounds)
    print(
        f"{args.what}: {statistics.median(our_times):.3f} s; {label}: {statistics.median(bare_times):.3f} s"
    )
    print(
        f"ratio, median of {len(ratios)} pairs: {statistics.median(ratios):.3f}"
        f" (from {min(ratios):.3f} to {max(ratios):.3f})"
    )


def _choose_peers(args: argparse.Namespace) -> peers_benchmark.Choice:
    """Return what of the table of peers the command line asks for."""
    rows, models = args.only.split(","), args.models.split(",")
    unknown = [name for name in rows if name not in peers_benchmark.LABELS]
    unknown += [name for name in models if name not in peers_benchmark.MODELS]
    if unknown:
        known = ", ".join([*peers_benchmark.LABELS, *peers_benchmark.MODELS])
        raise SystemExit(f"'{unknown[0]}' is none of {known}.")
    sides = [int(side) for side in args.sizes.split(",")]
    return peers_benchmark.Choice(
        rows, models, sides, args.row_minutes, args.minutes, max(2, args.steps)
    )


def compare(
    ours: Callable[[], float], bare: Callable[[], float], rounds: int
) -> tuple[list[float], list[float], list[float]]:
    """Return the ratio of each pair and the times; the order within a pair alternates."""
    ours()
    bare()
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            second, first = bare(), ours()
        else:
            first, second = ours(), bare()
        pairs.append((first, second))
    return [a / b for a, b in pairs], [a for a, _ in pairs], [b for _, b in pairs]


def startup() -> tuple[Callable[[], float], Callable[[], float], str]:
    """Return the two sides of the start-up benchmark."""
    return _time_page_start, _time_gradio_import, "import gradio"


def _time_page_start() -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        started_at = time.perf_counter()
        command = [sys.executable, "-m", "modules", "--port", str(port), "--data-dir", data]
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_compiled_once(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _responds(f"http://127.0.0.1:{port}/"):
                if time.perf_counter() - started_at > 120:
                    raise SystemExit("The page did not answer within two minutes.")
                time.sleep(0.01)
            return time.perf_counter() - started_at
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(10)


def _compiled_once() -> dict[str, str]:
    """Return the environment of a user, whose second start compiles no source; here it may be turned off."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "webui-benchmark-pyc")}


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200 and b"gradio" in response.read())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _time_gradio_import() -> float:
    started_at = time.perf_counter()
    command = [sys.executable, "-c", "import gradio"]
    subprocess.run(command, cwd=ROOT, env=_compiled_once(), check=True)
    return time.perf_counter() - started_at


def txt2img() -> tuple[Callable[[], float], Callable[[], float], str]:
    """Return the two sides of the generation benchmark; both hold the same components."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    from modules.app import make_engine, make_paths
    from modules.backend.runner import Runner
    from modules.core.command_line import parse_flags
    from modules.engine.jobs.job import Job
    from modules.params.device_options import DeviceOptions
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.params.results import GeneratedImage
    from modules.plan.planner import make_plan
    from modules.plan.work import LoadModel

    data = tempfile.mkdtemp()
    flags = parse_flags(["--data-dir", data])
    engine = make_engine(flags, make_paths(flags))
    runner = Runner(DeviceOptions(), engine.tokenizer)
    checkpoint = engine.models.find_checkpoint("demo/demo.safetensors")
    request = Txt2ImgRequest(
        prompt=_PROMPT, width=_SIDE, height=_SIDE, steps=_STEPS, sampler_name="Euler", seed=1
    )
    plan = make_plan(request, engine.models, checkpoint, engine.settings)
    runner.run(LoadModel(plan.model))

    def save(_plan: Any, index: int, _image: Any, _announce: Any) -> GeneratedImage:
        return GeneratedImage(index, request.seed, "", Path(data))

    model = runner.models.acquire(plan.model)
    components = model.components
    with torch.inference_mode():
        conditioning = model.encode_prompts(
            _PROMPT, "", plan.timeline, plan.settings, (plan.request.width, plan.request.height)
        )
    cond, uncond = conditioning.conds[0].at_step(0), conditioning.uncond.at_step(0)
    latents = torch.randn(
        (1, 4, _SIDE // 8, _SIDE // 8), generator=torch.Generator().manual_seed(1)
    )
    pipeline = StableDiffusionPipeline(
        vae=components.vae,
        text_encoder=components.text_encoders[0].network,
        tokenizer=None,
        unet=components.unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=components.prediction_type,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    def ours() -> float:
        started_at = time.perf_counter()
        runner.run(plan, Job(plan, save).receive)
        return time.perf_counter() - started_at

    def bare() -> float:
        started_at = time.perf_counter()
        pipeline(
            prompt_embeds=cond,
            negative_prompt_embeds=uncond,
            latents=latents,
            width=_SIDE,
            height=_SIDE,
            num_inference_steps=_STEPS,
            guidance_scale=7.0,
        )
        return time.perf_counter() - started_at

    return ours, bare, "bare StableDiffusionPipeline with the same components"


if __name__ == "__main__":
    main()

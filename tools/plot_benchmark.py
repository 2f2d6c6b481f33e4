"""Benchmarks an X/Y/Z plot: what a cell costs in addition to the work of the device.

Wall time on a machine that has nothing else to do, and the processor's time of this process, which other processes
change less.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

SIDE = 64
VALUES = "1-10"  # of both axes: 100 cells
LIMIT_MS = 30


def run(rounds: int) -> None:
    """Print the milliseconds per cell of a plot of 100 cells, over the same plans given to the device alone.

    Args:
        rounds: How often each side is measured; the order alternates.
    """
    from modules.app import make_engine, make_paths
    from modules.core.command_line import parse_flags
    from modules.engine.engine import Engine
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.plan.plan import Plan

    axes = {"x_type": "Seed", "x_values": VALUES, "y_type": "CFG Scale", "y_values": VALUES}
    request = Txt2ImgRequest(
        prompt="a red circle", width=SIDE, height=SIDE, steps=1, sampler_name="Euler", seed=1
    )

    def plot(engine: Engine) -> None:
        group = engine.run_script("X/Y/Z plot", request, axes)
        group.wait()
        if group.status().state != "done":
            raise SystemExit(group.status().error)

    def bare(engine: Engine, plans: list[Plan]) -> None:
        for plan in plans:
            engine.executor.submit(plan).result()

    with tempfile.TemporaryDirectory() as data:
        flags = parse_flags(["--data-dir", data, "--nowebui"])
        engine = make_engine(flags, make_paths(flags))
        engine.start()
        while engine.device_status.phase != "ready":
            time.sleep(0.05)
        requests = [
            request.replace(seed=seed, cfg_scale=scale)
            for scale in range(1, 11)
            for seed in range(1, 11)
        ]
        plans = [engine.queue.make_plan(one, engine.settings) for one in requests]
        overheads: list[tuple[float, float]] = []
        sides = (lambda: bare(engine, plans), lambda: plot(engine))
        for number in range(rounds):
            order = (0, 1) if number % 2 else (1, 0)
            times = {side: _time(sides[side]) for side in order}
            overheads.append(
                tuple((b - a) / len(plans) * 1000 for a, b in zip(times[0], times[1], strict=True))  # pyright: ignore[reportArgumentType]
            )
            print(
                f"plot {times[1][0]:.2f} s ({times[1][1]:.2f} s of the processor), device alone {times[0][0]:.2f} s"
                f" ({times[0][1]:.2f} s)",
                flush=True,
            )
        engine.stop()
    wall, processor = (statistics.median(values) for values in zip(*overheads, strict=True))
    print(
        f"plot: {wall:.1f} ms per cell beside the device, {processor:.1f} ms of the processor (at most {LIMIT_MS})"
    )


def _time(run: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that a run takes, by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor

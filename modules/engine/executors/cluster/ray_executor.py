"""RayExecutor: the pool whose workers Ray starts, one for each device."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from modules.engine.executors import DeviceInfo, WorkerStatus
from modules.engine.executors.cluster.device_worker import WorkerOptions
from modules.engine.executors.cluster.program import machine_id, program_facts
from modules.engine.executors.cluster.ray_cluster import Node, RayCluster
from modules.engine.executors.cluster.ray_link import Placement, RayLink, Transfers
from modules.engine.executors.pool import WorkerPool
from modules.engine.executors.pool_worker import PoolTimes
from modules.engine.executors.worker_link import WorkerLost
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken, Sink, ignore_events
from modules.plan.work import Work

R = TypeVar("R")
logger = logging.getLogger(__name__)

# How often machines that have joined the cluster are looked for.
_LOOK_EVERY_S = 15.0
_ALL = "all"


@dataclass(frozen=True)
class RayOptions:
    """Which workers there are.

    Args:
        devices: Of this machine, such as "cuda:1" or "cpu"; "all" for each of its cards.
        address: Of a running cluster instead; "auto" for the one of this machine.
        cpus_per_worker: How many processors a worker on the CPU has; 0 shares those of a machine out evenly, and uses
            cards where a cluster has any.
    """

    devices: tuple[str, ...] = ()
    address: str = ""
    cpus_per_worker: int = 0


class RayExecutor:
    """Runs work on several devices. Ray is imported when it is started, not before.

    Args:
        options: Which workers there are.
        device: Device options of the command line, for each of them.
        root: The folder of the program.
        cache_folder: What was measured about checkpoints, and hashes.
        prepare: Called in each worker of this machine before its first work; must be picklable.
        times: How long the pool waits for what.
    """

    def __init__(
        self,
        options: RayOptions,
        device: DeviceOptions,
        root: Path,
        cache_folder: Path,
        prepare: Callable[[], object] | None = None,
        times: PoolTimes | None = None,
    ) -> None:
        self._options = options
        self._setup = WorkerOptions(device, prepare, machine_id(root), cache_folder)
        self._cluster = RayCluster(options.address, max(1, len(options.devices), _cpu_count()))
        self._transfers = Transfers(cache_folder, lambda: program_facts(root))
        self._pool = WorkerPool((), times)
        self._known: set[str] = set()  # names of the workers that there are
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def slots(self) -> int:
        """Return the number of workers that can be used."""
        return self._pool.slots

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        """Connect to Ray and start the workers in the background."""
        self._pool.start(on_ready)
        thread = threading.Thread(target=self._serve, args=(on_ready,), name="ray", daemon=True)
        thread.start()
        self._thread = thread

    def submit(
        self,
        work: Work[R],
        sink: Sink = ignore_events,
        cancel: CancelToken | None = None,
        job_id: str = "",
    ) -> Future[R]:
        """Queue some work."""
        return self._pool.submit(work, sink, cancel, job_id)

    def memory(self) -> dict[str, Any]:
        """Return the memory of the first worker."""
        return self._pool.memory()

    def workers(self) -> Sequence[WorkerStatus]:
        """Return what each worker is doing."""
        return self._pool.workers()

    def stop(self, timeout_s: float) -> bool:
        """End the workers, and the Ray that was started for them."""
        self._stopped.set()
        has_ended = self._pool.stop(timeout_s)
        self._cluster.close()
        return has_ended

    def _serve(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        has_reported, problem = False, ""
        while not self._stopped.is_set():
            try:
                self._add_workers()
                problem = ""
            except WorkerLost as error:
                if str(error) != problem:  # a cluster may be away for days
                    logger.warning("%s.", error)
                problem = str(error)
                if not self._known and not has_reported:
                    has_reported = True
                    on_ready(None, f"{problem}.")
            except Exception:  # the workers that there are go on
                logger.exception("An unexpected error while Ray's machines were listed.")
            if self._options.devices and self._known:
                return
            self._stopped.wait(_LOOK_EVERY_S)

    def _add_workers(self) -> None:
        placements = self._placements()
        new = [one for one in placements if one[0].name not in self._known]
        names = {placement.name for placement, _ in placements}
        self._pool.retire(self._known - names)
        self._known = names
        self._pool.add(
            *(
                RayLink(
                    self._cluster, placement, replace(self._setup, device=device), self._transfers
                )
                for placement, device in new
            )
        )

    def _placements(self) -> list[tuple[Placement, DeviceOptions]]:
        nodes = self._cluster.nodes()
        if self._options.devices:
            return place_devices(self._options, self._setup.device, nodes[0])
        return place_on_nodes(self._options, self._setup.device, nodes)


def place_devices(
    options: RayOptions, device: DeviceOptions, node: Node
) -> list[tuple[Placement, DeviceOptions]]:
    """Return where the workers of one machine run and how their devices are opened."""
    names = list(options.devices)
    if _ALL in names:
        names = [f"cuda:{index}" for index in range(node.gpus)] or ["cpu"]
    threads = options.cpus_per_worker or max(1, node.cpus // len(names))
    placed: list[tuple[Placement, DeviceOptions]] = []
    for number, name in enumerate(names, 1):
        kind, _, index = name.partition(":")
        opened = replace(
            device,
            kind=kind,
            index=int(index or 0),
            use_cpu=kind == "cpu",
            threads=threads,
        )
        shown = name if names.count(name) == 1 else f"{name} {number}"
        # A processor is no more than a number to Ray: there are as many as it is configured with.
        placed.append((Placement(shown, node.machine, {"num_cpus": 0}), opened))
    return placed


def place_on_nodes(
    options: RayOptions, device: DeviceOptions, nodes: Sequence[Node]
) -> list[tuple[Placement, DeviceOptions]]:
    """Return where the workers of a cluster run: one for each card, or for each so many processors."""
    has_cards = any(node.gpus for node in nodes) and not options.cpus_per_worker
    placed: list[tuple[Placement, DeviceOptions]] = []
    for node in nodes:
        cpus = options.cpus_per_worker or max(1, node.cpus)
        count = node.gpus if has_cards else node.cpus // cpus
        for number in range(1, count + 1):
            name = f"{node.machine} {node.id[:6]} {number}"
            if has_cards:
                actor = {"num_gpus": 1, "num_cpus": 0}
                opened = replace(device, kind="gpu", index=0, use_cpu=False)
            else:
                actor = {"num_cpus": cpus}
                opened = replace(device, kind="cpu", index=0, use_cpu=True, threads=cpus)
            placed.append((Placement(name, node.machine, actor, node.id), opened))
    return placed


def _cpu_count() -> int:
    return os.cpu_count() or 1

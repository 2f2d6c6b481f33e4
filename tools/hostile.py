"""Tries hostile model files, pictures, fields and paths on a server of its own, and counts what it cannot bear.

python tools/hostile.py                       all of it, in about ten minutes
python tools/hostile.py --only '^bomb-'       the cases whose name matches
python tools/hostile.py --every 20            a sample

Every case is served in words, or it is one of three faults: an answer of 500 or above (or none, or a file of the system
in it, or code that ran), more than 2 s at the second try too, or memory grown by more than 300 MB. 1 unless there are none.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.hostile_configs import config_cases  # noqa: E402 - found through the line above
from tools.hostile_headers import demo_cases, header_cases  # noqa: E402
from tools.hostile_opcodes import Cases, code_cases  # noqa: E402
from tools.hostile_pickles import archive_cases, bomb_cases, size_cases  # noqa: E402
from tools.hostile_pictures import picture_cases, png  # noqa: E402
from tools.hostile_requests import SMALL, encode_json, field_requests, path_requests  # noqa: E402
from tools.hostile_server import DEAD, SECRET, Answer, HostileServer  # noqa: E402

DEMO = ROOT / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
SLOW_S, GROWN_MIB, ERROR = 2.0, 300, 500
FAULTS = ("5xx", "slow", "memory")
LARGEST_INIT_IMAGE = 10_000  # bytes: larger pictures only have their metadata read


class Step(NamedTuple):
    """One case: its name, and what it does to the server."""

    name: str
    run: Callable[[HostileServer], Answer]


@dataclass
class Report:
    """What was tried, and what of it the server could not bear.

    Args:
        tried: Section to the number of its cases.
        left: Section to the number of cases for which there was no time.
        faults: (Fault, name of the case, what happened).
    """

    tried: Counter[str] = field(default_factory=Counter[str])
    left: Counter[str] = field(default_factory=Counter[str])
    faults: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    def lines(self) -> list[str]:
        """Return it as text."""
        bad = {name for _, name, _ in self.faults}
        counts = ", ".join(f"{count} {section}" for section, count in self.tried.items())
        found = Counter(kind for kind, _, _ in self.faults)
        return [
            f"tried: {counts}; without time: {sum(self.left.values())}",
            f"served in words: {sum(self.tried.values()) - len(bad)}",
            f"5xx: {found['5xx']}",
            f"slower than {SLOW_S:.0f} s: {found['slow']}",
            f"memory above {GROWN_MIB} MB: {found['memory']}",
        ]


def steps(server: HostileServer, canary: Path) -> dict[str, list[Step]]:
    """Return every case, by its section; nothing hostile is made yet."""
    files = code_cases(canary) | size_cases() | archive_cases() | bomb_cases()
    files |= header_cases() | demo_cases(DEMO)
    document = json.loads(server.call("GET", "/openapi.json", whole=True).text)
    picture = base64.b64encode(png()).decode()
    return {
        "files": [
            *_file_steps(files),
            *_config_steps(config_cases(DEMO.with_suffix(".yaml"), canary)),
        ],
        "pictures": _picture_steps(picture_cases()),
        "fields": [_request_step(request) for request in field_requests(document, picture)],
        "paths": [_request_step(request) for request in path_requests(document)],
    }


def try_all(
    server: HostileServer, sections: dict[str, list[Step]], seconds: float, canary: Path
) -> Report:
    """Try every case.

    Args:
        server: A running one.
        sections: As `steps` returns them.
        seconds: The time that each section has.
        canary: A file that exists as soon as code of a case ran.
    """
    report = Report()
    for section, cases in sections.items():
        end = time.monotonic() + seconds
        for position, step in enumerate(cases):
            if time.monotonic() > end:
                report.left[section] = len(cases) - position
                break
            report.tried[section] += 1
            for kind, detail in _faults(server, step, canary):
                report.faults.append((kind, step.name, detail))
                print(f"{kind}: {step.name!a}: {detail}", flush=True)
    return report


def _faults(server: HostileServer, step: Step, canary: Path) -> Iterable[tuple[str, str]]:
    answer, seconds, grown = _measured(server, step)
    is_late = answer.status == DEAD and b"timed out" in answer.text
    if (answer.status < ERROR or is_late) and (seconds > SLOW_S or is_late):
        # The machine may have been busy.
        answer, seconds, grown = _measured(server, step)
    if canary.exists():
        canary.unlink()
        yield "5xx", "its code ran"
    elif SECRET in answer.text:
        yield "5xx", "it showed a file of the system"
    elif answer.status >= ERROR and answer.status != 503:  # 503 asks to try again later
        yield "5xx", f"{answer.status} {answer.text[:200]!r}"
    if seconds > SLOW_S:
        yield "slow", f"{seconds:.1f} s"
    if grown > GROWN_MIB:
        yield "memory", f"{grown} MB"
    if answer.status == DEAD and server.revive():
        print(f"The server was started again after {step.name!a}.", flush=True)


def _measured(server: HostileServer, step: Step) -> tuple[Answer, float, int]:
    """Return what a case costs; time in which other programs had the machine is not the server's."""
    before, busy, start = server.reset_peak(), server.busy_s(), time.monotonic()
    answer = step.run(server)
    seconds = time.monotonic() - start - server.take_preparation_s()
    return answer, min(seconds, server.busy_s() - busy), server.peak_mib() - before


def _file_steps(files: Cases) -> list[Step]:
    yaml = DEMO.with_suffix(".yaml")
    return [
        Step(name, lambda server, name=name, make=make: _load(server, name, make, yaml.read_bytes))
        for name, make in files.items()
    ]


def _config_steps(configs: Cases) -> list[Step]:
    return [
        Step(name, lambda server, name=name, make=make: _load(
            server, Path(name).with_suffix(".safetensors").name, DEMO.read_bytes, make))
        for name, make in configs.items()
    ]  # fmt: skip


def _load(
    server: HostileServer, name: str, model: Callable[[], bytes], config: Callable[[], bytes]
) -> Answer:
    """List a checkpoint and make an image with it; next to it is its .yaml, and among the VAEs its other name."""
    folder, vaes = server.data / "models" / "Stable-diffusion", server.data / "models" / "VAE"
    paths = [folder / name, (folder / name).with_suffix(".yaml"), vaes / name]
    with server.preparing():
        folder.mkdir(parents=True, exist_ok=True)
        vaes.mkdir(parents=True, exist_ok=True)
        paths[0].write_bytes(model())
        if not name.startswith(("header-", "size-")):
            paths[1].write_bytes(config())
        os.link(paths[0], paths[2])
    body = encode_json({**SMALL, "override_settings": {"sd_model_checkpoint": name}})
    try:
        return _worst(
            server.call("POST", "/sdapi/v1/refresh-checkpoints"),
            server.call("POST", "/sdapi/v1/refresh-vae"),
            server.call("GET", "/sdapi/v1/sd-models"),
            server.call("POST", "/sdapi/v1/txt2img", body),
        )
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _picture_steps(pictures: Cases) -> list[Step]:
    return [
        Step(name, lambda server, make=make: _show(server, make)) for name, make in pictures.items()
    ]


def _show(server: HostileServer, make: Callable[[], bytes]) -> Answer:
    with server.preparing():
        content = make()
        image = base64.b64encode(content).decode()
        bodies: list[tuple[str, dict[str, Any]]] = [("/sdapi/v1/png-info", {"image": image})]
        if len(content) < LARGEST_INIT_IMAGE:
            bodies.append(("/sdapi/v1/img2img", {**SMALL, "init_images": [image]}))
    return _worst(*[server.call("POST", path, encode_json(body)) for path, body in bodies])


def _request_step(request: Any) -> Step:
    return Step(
        request.name, lambda server: server.call(request.method, request.path, request.body)
    )


def _worst(*answers: Answer) -> Answer:
    return max(answers, key=lambda answer: answer.status)


def _chosen(cases: list[Step], pattern: str, every: int) -> list[Step]:
    """Return some cases, always in the same mixed order: what there is time for is a fair sample."""
    matching = [case for case in cases if re.search(pattern, case.name)][::every]
    random.Random(len(matching)).shuffle(matching)
    return matching


def main() -> None:
    """Read the command line, try the cases, print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="a pattern that the names of the cases contain")
    parser.add_argument("--every", type=int, default=1, help="take one case of so many")
    parser.add_argument("--seconds", type=float, default=300, help="for each of the four sections")
    parser.add_argument("--flag", action="append", default=[], help="a flag of the server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        server, canary = HostileServer(Path(folder), tuple(options.flag)), Path(folder) / "canary"
        server.start()
        try:
            sections = {
                section: _chosen(cases, options.only, options.every)
                for section, cases in steps(server, canary).items()
            }
            with server.pulse():
                report = try_all(server, sections, options.seconds, canary)
        finally:
            server.stop()
    print(
        *report.lines(),
        f"slowest answer of the server meanwhile: {server.slowest_page_s:.1f} s",
        sep="\n",
    )
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()

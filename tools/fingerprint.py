"""Proves that a change of the code left every image and infotext the same, to the byte.

python tools/fingerprint.py > before.tsv                 record the repository as it is, some 840 cases
python tools/fingerprint.py --against before.tsv         run them again; 1 and the cases that differ, or 0
python tools/fingerprint.py --root DIR --only '^hires/'  some of the cases, on another copy of the repository

It starts the server of that copy on the CPU with one thread and a data folder of its own, and uses its HTTP API alone.
A line is a case: its name, the SHA-256 of what was made, and the infotexts or the JSON, with tabs between. A request that
is refused has its status in the second place and the error in the third.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.fingerprint_case import CHECKPOINTS, STYLES, VAE, Case, Names  # noqa: E402 - found through the line above
from tools.fingerprint_cases import all_cases  # noqa: E402
from tools.fingerprint_images import fill_in  # noqa: E402

_START_TIMEOUT_S = 180
_LONGEST_JSON = 2000
# Besides what the API's document lists.
_INTERNAL_ROUTES = ("ping", "state", "settings", "quicksettings-hint", "pending-tasks", "queue")
_CHANGING_ROUTES = ("/sdapi/v1/memory",)
_CHANGING_FLAGS = ("port",)


@dataclass(frozen=True)
class Line:
    """The result of a case.

    Args:
        name: Of the case.
        digest: The SHA-256 of what was made, or "refused" with the status.
        text: A JSON string or JSON, without tabs or line breaks.
    """

    name: str
    digest: str
    text: str

    def __str__(self) -> str:
        """Return the line of the file."""
        return f"{self.name}\t{self.digest}\t{self.text}"


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Server:
    """A running server of a copy of the repository."""

    root: Path
    data: Path
    port: int

    def call(self, path: str, body: Any = None) -> Any:
        """Return the JSON that a GET, or a POST of a body, answers.

        Raises:
            Refused: it answers with an error.
        """
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", sent, {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, _detail(error.read())) from None

    def without_paths(self, text: str) -> str:
        """Return JSON with placeholders where it names a folder of this run."""
        for path, placeholder in ((self.data, "<data>"), (self.root, "<root>")):
            text = text.replace(json.dumps(str(path))[1:-1], placeholder)
        return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, or compare and return whether anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the copy whose server is started")
    parser.add_argument(
        "--only", type=re.compile, default=re.compile(""), help="cases whose name this matches"
    )
    parser.add_argument("--against", type=Path, help="an earlier output to compare with")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    expected = None if options.against is None else read_lines(options.against)
    with (
        tempfile.TemporaryDirectory() as data,
        serving(options.root.resolve(), Path(data)) as server,
    ):
        lines = record(server, options.only)
    print(f"{len(lines)} cases in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if expected is None:
        print("\n".join(map(str, lines)))
        return 0
    report, count = compare([line for line in expected if options.only.search(line.name)], lines)
    print("\n".join(report))
    return 1 if count else 0


def record(server: Server, only: re.Pattern[str]) -> list[Line]:
    """Return the lines of all cases whose name matches, sorted."""
    cases = [one for one in all_cases(names_of(server)) if only.search(one.name)]
    if len({one.name for one in cases}) < len(cases):
        raise SystemExit("Two cases have the same name.")
    return sorted((run(server, one) for one in cases), key=lambda line: line.name)


def run(server: Server, case: Case) -> Line:
    """Return what comes of a case."""
    try:
        made = ""
        if case.made_by is not None:
            made = server.call(case.made_by.path, fill_in(case.made_by.body))["images"][0]
        answer = server.call(case.path, fill_in(case.body, made))
    except Refused as error:
        text = server.without_paths(json.dumps(str(error), ensure_ascii=False))
        return Line(case.name, f"refused {error.status}", text)
    if case.reads == "image":
        return Line(case.name, digest_pixels([answer["image"]]), '""')
    if case.reads == "images":
        infotexts = json.loads(answer["info"])["infotexts"] if "info" in answer else []
        text = json.dumps("\n\n".join(infotexts), ensure_ascii=False)
        return Line(case.name, digest_pixels(answer["images"]), text)
    if case.reads == "answer":
        info = {k: v for k, v in json.loads(answer["info"]).items() if k != "job_timestamp"}
        answer = {**answer, "info": info, "images": len(answer["images"])}
    if case.path.endswith("/cmd-flags"):
        answer = {**answer, **dict.fromkeys(_CHANGING_FLAGS, "changes")}
    return Line(case.name, *digest_json(server, answer))


def digest_pixels(images: Iterable[str]) -> str:
    """Return the SHA-256 of the sizes and RGB bytes of images in base64, whatever their files' format."""
    digest = hashlib.sha256()
    for coded in images:
        with Image.open(io.BytesIO(base64.b64decode(coded))) as image:
            digest.update(f"{image.width}x{image.height}\n".encode())
            digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()


def digest_json(server: Server, value: Any) -> tuple[str, str]:
    """Return the SHA-256 of JSON without the run's folders, and the JSON, or the SHA-256 again if it is long."""
    text = server.without_paths(json.dumps(value, ensure_ascii=False, sort_keys=True))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return digest, text if len(text) <= _LONGEST_JSON else digest


def read_lines(path: Path) -> list[Line]:
    """Return the lines of an earlier output."""
    rows = path.read_text(encoding="utf-8").split("\n")
    return [Line(*row.split("\t")) for row in rows if row]


def compare(expected: Sequence[Line], got: Sequence[Line]) -> tuple[list[str], int]:
    """Return the differing cases as a unified diff with a count behind them, and how many they are."""
    before, now = ({line.name: line for line in lines} for lines in (expected, got))
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    report = ["--- expected", "+++ got"] if names else []
    for name in names:
        report += [f"-{before[name]}"] if name in before else []
        report += [f"+{now[name]}"] if name in now else []
    return [*report, f"{len(names)} of {len({*before, *now})} cases differ."], len(names)


def names_of(server: Server) -> Names:
    """Return what the server lists."""

    def listed(route: str, key: str = "name") -> tuple[str, ...]:
        return tuple(row[key] for row in server.call(f"/sdapi/v1/{route}"))

    paths = server.call("/openapi.json")["paths"]
    readable = [path for path, methods in paths.items() if "get" in methods and "{" not in path]
    return Names(
        routes=(
            "/openapi.json",
            *(path for path in readable if path not in _CHANGING_ROUTES),
            *(
                f"/internal/{name}"
                for name in _INTERNAL_ROUTES
                if f"/internal/{name}" not in readable
            ),
        ),
        samplers=listed("samplers"),
        schedules=listed("schedulers", "label"),
        upscalers=listed("upscalers"),
        latent_modes=listed("latent-upscale-modes"),
    )


@contextmanager
def serving(root: Path, data: Path) -> Iterator[Server]:
    """Start the server of a copy of the repository, wait until its checkpoint is loaded, and stop it in the end.

    Args:
        root: The copy, with the demo checkpoints.
        data: An empty folder, which gets styles and a VAE.
    """
    _furnish(root, data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--nowebui", "--use-cpu", "all", "--port", str(port), "--data-dir", str(data)]
    flags += ["--ckpt", "demo.safetensors", "--sd-checkpoints-limit", str(len(CHECKPOINTS))]
    # A sum's order, and with it the last bit, depends on the number of threads.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    log = data / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "modules", *flags],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(root, data, port)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _is_ready(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The server did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(server: Server) -> bool:
    """Return whether the answering server is ours, has loaded its checkpoint, and knows all hashes."""
    try:
        ours = server.call("/sdapi/v1/cmd-flags")["data_dir"] == str(server.data)
        loaded = server.call("/internal/state")["phase"] == "ready"
        return ours and loaded and all(row["hash"] for row in server.call("/sdapi/v1/sd-models"))
    except (OSError, Refused):  # nobody answers yet
        return False


def _furnish(root: Path, data: Path) -> None:
    """Write styles, and a VAE of its own: that of the demo checkpoint with half the contrast."""
    from safetensors.numpy import load_file, save_file

    (data / "styles.csv").write_text(STYLES, encoding="utf-8")
    weights = load_file(root / "models" / "Stable-diffusion" / "demo" / "demo.safetensors")
    prefix, scaled = "first_stage_model.", "decoder.conv_out.weight"
    vae = {k.removeprefix(prefix): array for k, array in weights.items() if k.startswith(prefix)}
    vae[scaled] = vae[scaled] * vae[scaled].dtype.type(0.5)
    (data / "models" / "VAE").mkdir(parents=True)
    save_file(vae, data / "models" / "VAE" / VAE)


def _detail(body: bytes) -> str:
    """Return the sentence of an error's body."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main())

"""The smoke test: run inside the new environment, it computes on the device and compares with the CPU.

Prints one JSON object per finding; the last word on each key counts. What goes wrong raises.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 600


@dataclass(frozen=True)
class SmokeReport:
    """What the test found.

    Args:
        torch: Version of PyTorch; empty when it could not be imported.
        device: What it computed on: "cuda", "xpu", "mps" or "cpu".
        problem: Why that cannot be used; empty when all is well.
        remark: What works less well than it could.
    """

    torch: str = ""
    device: str = ""
    problem: str = ""
    remark: str = ""


def run(python: Path, root: Path, device: str, index: int = 0) -> SmokeReport:
    """Run the test in another Python and return what it found.

    Args:
        python: The environment's interpreter.
        root: The repository.
        device: "cuda", "xpu", "mps", "cpu", or "auto" for the best that is there.
        index: Number of the GPU.
    """
    command = [str(python), "-m", "modules.launch.smoke", device, str(index)]
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return SmokeReport(device=device, problem=f"it did not answer within {TIMEOUT_S} s")
    found: dict[str, str] = {"device": device}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found.update(json.loads(line))
    if done.returncode != 0 and "problem" not in found:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        found["problem"] = last[0]
    return SmokeReport(**found)


def main(argv: list[str]) -> int:
    """Test the device named in `argv` and print the findings."""
    # Any: PyTorch exists only where this runs, not where it is checked.
    torch: Any = importlib.import_module("torch")
    print(json.dumps({"torch": str(torch.__version__)}), flush=True)
    kind = _best(torch) if argv[0] == "auto" else argv[0]
    print(json.dumps({"device": kind}), flush=True)
    index = int(argv[1])
    problem = "" if kind == "cpu" else _why_absent(torch, kind, index)
    if problem:
        print(json.dumps({"problem": problem}), flush=True)
        return 1
    device = kind if kind in ("cpu", "mps") else f"{kind}:{index}"
    if not _agrees(torch, device, torch.float32):
        print(json.dumps({"problem": "its results are wrong"}), flush=True)
        return 1
    if kind != "cpu" and not _agrees(torch, device, torch.float16):
        print(json.dumps({"remark": "its results in 16-bit floats are wrong"}), flush=True)
    return 0


def supports_capability(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Return whether code for one of the architectures runs on a compute capability.

    Machine code (`sm_86`) runs on the same major version and a minor one at least as high;
    intermediate code (`compute_90`) is compiled for anything later.
    """
    for architecture in architectures:
        kind, _, number = architecture.partition("_")
        digits = "".join(c for c in number if c.isdecimal())
        if not digits:
            continue
        built = (int(digits[:-1] or 0), int(digits[-1]))
        if kind == "compute" and built <= capability:
            return True
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
    return False


def _best(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.xpu.is_available():
        return "xpu"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _why_absent(torch: Any, kind: str, index: int) -> str:
    backend = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    if not backend.is_available():
        return f"PyTorch {torch.__version__} finds no {kind} device"
    if kind == "mps":
        return ""
    if index >= backend.device_count():
        return f"there is no GPU number {index}; there are {backend.device_count()}"
    if kind != "cuda":
        return ""
    built = list(torch.cuda.get_arch_list())
    if torch.version.hip:
        target = torch.cuda.get_device_properties(index).gcnArchName.partition(":")[0]
        known = target in built or "HSA_OVERRIDE_GFX_VERSION" in os.environ
    else:
        capability = torch.cuda.get_device_capability(index)
        target = f"compute capability {capability[0]}.{capability[1]}"
        known = supports_capability(built, capability)
    return "" if known else f"PyTorch has no code for {target}, only for {', '.join(built)}"


def _agrees(torch: Any, device: str, dtype: Any) -> bool:
    """Return whether a matrix product and a convolution come out as on the CPU."""
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.rand(64, 64, generator=draw) for _ in range(2))
    image, kernel = torch.rand(1, 4, 32, 32, generator=draw), torch.rand(8, 4, 3, 3, generator=draw)
    there = [tensor.to(device, dtype) for tensor in (a, b, image, kernel)]
    conv2d = torch.nn.functional.conv2d
    pairs = [(there[0] @ there[1], a @ b), (conv2d(there[2], there[3]), conv2d(image, kernel))]
    return all(
        bool(torch.allclose(got.float().cpu(), expected, rtol=0.02, atol=0.02))
        for got, expected in pairs
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The smoke test: run inside the new environment, it computes on the device and compares with the CPU.

Prints one JSON object per finding; the last value of each key counts. Errors are raised.
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
    """Result of the smoke test.

    Args:
        torch: Version of PyTorch; empty when it could not be imported.
        device: Device of the test: "cuda", "xpu", "mps" or "cpu".
        problem: Why the device cannot be used; empty when it can.
        remark: A limitation, such as wrong results in 16-bit floats.
    """

    torch: str = ""
    device: str = ""
    problem: str = ""
    remark: str = ""


def run(python: Path, root: Path, device: str, index: int = 0) -> SmokeReport:
    """Run the test in another Python and return its result.

    Args:
        python: The environment's interpreter.
        root: The repository.
        device: "cuda", "xpu", "mps", "cpu", or "auto" for the best available.
        index: Index of the GPU.
    """
    command = [str(python), "-m", "modules.launch.smoke", device, str(index)]
    try:
        process = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return SmokeReport(device=device, problem=f"it did not answer within {TIMEOUT_S} s")
    findings: dict[str, str] = {"device": device}
    for line in process.stdout.splitlines():
        if line.startswith("{"):
            findings.update(json.loads(line))
    if process.returncode != 0 and "problem" not in findings:
        last_line = process.stderr.strip().splitlines()[-1:]
        findings["problem"] = (last_line or [f"it ended with status {process.returncode}"])[0]
    return SmokeReport(**findings)


def main(argv: list[str]) -> int:
    """Test the device named in `argv` and print the findings."""
    # Any: PyTorch is installed where this runs, but not always where types are checked.
    torch: Any = importlib.import_module("torch")
    print(json.dumps({"torch": str(torch.__version__)}), flush=True)
    kind = _best_device(torch) if argv[0] == "auto" else argv[0]
    print(json.dumps({"device": kind}), flush=True)
    index = int(argv[1])
    problem = "" if kind == "cpu" else _availability_problem(torch, kind, index)
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

    Machine code (`sm_86`) runs on the same major version with the same or a higher minor version;
    intermediate code (`compute_90`) is compiled for any later capability.
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


def _best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.xpu.is_available():
        return "xpu"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _availability_problem(torch: Any, kind: str, index: int) -> str:
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
    """Return whether a matrix product and a convolution have the same results as on the CPU."""
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(64, 64, generator=rng) for _ in range(2))
    image, kernel = torch.rand(1, 4, 32, 32, generator=rng), torch.rand(8, 4, 3, 3, generator=rng)
    moved = [tensor.to(device, dtype) for tensor in (a, b, image, kernel)]
    conv2d = torch.nn.functional.conv2d
    pairs = [(moved[0] @ moved[1], a @ b), (conv2d(moved[2], moved[3]), conv2d(image, kernel))]
    return all(
        bool(torch.allclose(result.float().cpu(), expected, rtol=0.02, atol=0.02))
        for result, expected in pairs
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

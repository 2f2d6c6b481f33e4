"""Memory, flags and versions of the server. Reveals no secret."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

import psutil
from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.core.flags import Flags
from modules.engine.engine import Engine

_PACKAGES = ("torch", "diffusers", "transformers", "gradio", "fastapi", "pydantic", "pillow")


def system_router(engine: Engine, flags: Flags) -> APIRouter:
    """Return the routes that report memory, flags and versions."""
    router = CheckedRouter()

    @router.get("/sdapi/v1/cmd-flags")
    def cmd_flags() -> dict[str, Any]:
        """Return every flag; of a secret, only whether it is set."""
        return flags.redacted_dict()

    @router.get("/sdapi/v1/memory")
    def memory() -> dict[str, Any]:
        """Return RAM and device memory in bytes; `ram.used` is what this process uses."""
        machine = psutil.virtual_memory()
        used = psutil.Process().memory_info().rss
        ram = {"free": machine.total - used, "used": used, "total": machine.total}
        return {"ram": ram, "cuda": engine.executor.memory()}

    @router.get("/internal/sysinfo", include_in_schema=False)
    def sysinfo() -> dict[str, Any]:
        """Return what a bug report needs."""
        return {
            "Platform": platform.platform(),
            "Python": sys.version,
            "Device": engine.device_status.device,
            "Checkpoint": engine.device_status.checkpoint,
            "Flags": {k: v for k, v in flags.redacted_dict().items() if v not in (None, False)},
            "Options": engine.settings.model_dump(exclude_defaults=True),
            "CPU": {"count": os.cpu_count(), "architecture": platform.machine()},
            "RAM": {"total": psutil.virtual_memory().total},
            "Packages": {name: metadata.version(name) for name in _PACKAGES},
        }

    return router

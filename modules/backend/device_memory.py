"""How much memory a graphics card has and how much is in use, in the form of A1111's `/memory`."""

from __future__ import annotations

from typing import Any

import torch

# What `torch.cuda.memory_stats` counts, under A1111's names.
_POOLS = {
    "active": "active_bytes",
    "allocated": "allocated_bytes",
    "reserved": "reserved_bytes",
    "inactive": "inactive_split_bytes",
}


def device_memory(device: torch.device) -> dict[str, Any]:
    """Return bytes by pool, or `error` with the reason why there are none to tell."""
    if device.type != "cuda":
        return {"error": f"The device is {device.type}, which has no memory of its own to tell of."}
    free, total = torch.cuda.mem_get_info(device)
    stats = torch.cuda.memory_stats(device)
    pools = {
        name: {key: int(stats.get(f"{pool}.all.{key}", 0)) for key in ("current", "peak")}
        for name, pool in _POOLS.items()
    }
    return {
        "system": {"free": free, "used": total - free, "total": total},
        **pools,
        "events": {
            "retries": int(stats.get("num_alloc_retries", 0)),
            "oom": int(stats.get("num_ooms", 0)),
        },
    }

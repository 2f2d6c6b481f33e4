"""Environment variables of the server process: no telemetry, no model hub, no proxy for loopback."""

from __future__ import annotations

from collections.abc import MutableMapping

# Defaults; variables set by the user are kept.
ENV_DEFAULTS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Their warnings are about deliberate choices, such as the missing torchvision.
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    # Threads that spin while waiting take CPU time from the page on small machines.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Operations that Apple's GPU does not support run on the CPU instead of failing.
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def set_env_defaults(env: MutableMapping[str, str]) -> None:
    """Set the defaults in `env` and let loopback addresses bypass any proxy."""
    for name, value in ENV_DEFAULTS.items():
        env.setdefault(name, value)
    no_proxy = env.get("no_proxy") or env.get("NO_PROXY") or ""
    hosts = [host.strip() for host in no_proxy.split(",") if host.strip()]
    hosts += [host for host in LOOPBACK if host not in hosts]
    env["NO_PROXY"] = env["no_proxy"] = ",".join(hosts)

"""What the server's process finds in its environment: nothing calls home, loopback needs no proxy."""

from __future__ import annotations

from collections.abc import MutableMapping

# Defaults; what the user has set stays.
ENV_DEFAULTS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Their warnings are about choices made here on purpose, such as doing without torchvision.
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    # Threads that spin while they wait steal time from the page on small machines.
    "OMP_WAIT_POLICY": "PASSIVE",
    # What Apple's GPU cannot do runs on the CPU instead of failing.
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def set_env_defaults(env: MutableMapping[str, str]) -> None:
    """Set the defaults in `env` and let loopback addresses bypass any proxy."""
    for name, value in ENV_DEFAULTS.items():
        env.setdefault(name, value)
    given = env.get("no_proxy") or env.get("NO_PROXY") or ""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    hosts += [host for host in LOOPBACK if host not in hosts]
    env["NO_PROXY"] = env["no_proxy"] = ",".join(hosts)

"""Flags of A1111's WebUI that are accepted without effect or refused, and the reasons shown to the user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IgnoredFlags:
    """Flags of A1111's WebUI that are accepted without effect.

    Args:
        names: The flags, separated by spaces.
        reason: What this version does instead.
        takes_value: Whether a value follows.
    """

    names: str
    reason: str
    takes_value: bool = False


IGNORED_FLAGS = (
    IgnoredFlags(
        "--opt-split-attention --opt-split-attention-invokeai --opt-split-attention-v1 "
        "--opt-sub-quad-attention --opt-sdp-attention --disable-opt-split-attention",
        "PyTorch's own fast attention is used where no other is asked for",
    ),
    IgnoredFlags(
        "--sub-quad-q-chunk-size --sub-quad-kv-chunk-size --sub-quad-chunk-threshold",
        "PyTorch's own fast attention is used where no other is asked for",
        takes_value=True,
    ),
    IgnoredFlags(
        "--reinstall-xformers --force-enable-xformers --xformers-flash-attention",
        "xformers is used with --xformers once it is installed with pip",
    ),
    IgnoredFlags(
        "--no-half-vae --upcast-sampling --opt-channelslast",
        "precision is chosen for the device, and raised when a picture comes out broken",
    ),
    IgnoredFlags(
        "--disable-nan-check", "every picture is checked; the check takes hardly any time"
    ),
    IgnoredFlags("--lowram", "memory is not tuned by a flag"),
    IgnoredFlags(
        "--always-batch-cond-uncond",
        "prompt and negative prompt share a call wherever the memory has room",
    ),
    IgnoredFlags(
        "--disable-safe-unpickle --weights-only",
        "files that could run code are always refused, and no flag disables that",
    ),
    IgnoredFlags("--no-hashing", "checkpoints are hashed in the background, which delays nothing"),
    IgnoredFlags(
        "--disable-model-loading-ram-optimization", "weights are read straight from the file"
    ),
    IgnoredFlags(
        "--skip-version-check --skip-load-model-at-start --update-check --update-all-extensions "
        "--no-download-sd-model --do-not-download-clip --dump-sysinfo",
        "nothing is checked for or downloaded at start, and the page does not wait for a model",
    ),
    IgnoredFlags(
        "--no-gradio-queue --gradio-queue --gradio-debug --ui-debug-mode --no-progressbar-hiding "
        "--show-negative-prompt --use-textbox-seed --disable-console-progressbars "
        "--enable-console-prompts --hide-ui-dir-config --freeze-settings "
        "--disable-gpu-warning --unload-gfpgan --deepdanbooru --webui-is-non-local",
        "this version has no such switch",
    ),
    IgnoredFlags(
        "--gradio-img2img-tool --gradio-inpaint-tool --max-batch-count "
        "--ui-config-file --ui-settings-file --styles-file --timeout-keep-alive --localizations-dir",
        "this version has no such setting",
        takes_value=True,
    ),
    IgnoredFlags(
        "--allow-code --administrator -f",
        "the page runs no code",
    ),
    IgnoredFlags(
        "--config --vae-dir --vae-path --textual-inversion-templates-dir "
        "--lyco-dir --gfpgan-dir --gfpgan-model "
        "--codeformer-models-path --gfpgan-models-path "
        "--ldsr-models-path --clip-models-path --models-dir",
        "files are looked up in the folders under models/",
        takes_value=True,
    ),
    IgnoredFlags(
        "--test-server --no-tests --log-startup --disable-tls-verify", "it has no use here"
    ),
)

REFUSED_FLAGS = {
    "--share": "would open this server to strangers through somebody else's machine, so it is not "
    "supported: use --listen, which requires a password, or your own tunnel",
    "--ngrok": "would open this server to strangers, so it is not supported: use --listen or your "
    "own tunnel",
    "--tls-keyfile": "is not supported: put a reverse proxy with TLS in front of the server",
    "--tls-certfile": "is not supported: put a reverse proxy with TLS in front of the server",
}

"""The flags of the command line: one frozen `Flags`, from whose fields `command_line` makes the parser and its help."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from modules.core import flag_types
from modules.core.credentials import Credential, parse_credentials
from modules.core.errors import UserError
from modules.core.flag_types import flag, folder_flag
from modules.core.text import escape

# Settings that a flag overrides for one run: name of the setting and field of the flag.
SETTING_FLAGS = {
    "sd_model_checkpoint": "ckpt",
    "sd_checkpoints_limit": "sd_checkpoints_limit",
    "converted_weights_gb": "converted_weights_gb",
}
GROUPS = ("Server", "Folders", "Models", "Extensions", "Page", "Setting up")


@dataclass(frozen=True)
class Flags:
    """The parsed command line. Names and meanings are those of A1111's WebUI."""

    port: int | None = flag(
        None,
        "Server",
        "port to serve on; default: 7860 or the next free one",
        type=flag_types.port,
    )
    listen: bool = flag(False, "Server", "serve the whole network; a password is then required")
    server_name: str | None = flag(None, "Server", "address to serve on", metavar="ADDRESS")
    gradio_auth: str | None = flag(
        None,
        "Server",
        "logins for the page and the API, separated by commas",
        metavar="USER:PASSWORD",
        secret=True,
    )
    gradio_auth_path: Path | None = flag(  # noqa: RUF009  flag() is field()
        None,
        "Server",
        "file with lines of USER:PASSWORD",
        type=flag_types.user_path,
        metavar="FILE",
        secret=True,
    )
    api_auth: str | None = flag(
        None, "Server", "further logins for the HTTP API", metavar="USER:PASSWORD", secret=True
    )
    api: bool = flag(False, "Server", "serve the HTTP API and the page, which is the default")
    no_api: bool = flag(False, "Server", "serve only the page, without the HTTP API")
    nowebui: bool = flag(False, "Server", "serve only the HTTP API, without the page")
    cors_allow_origins: str | None = flag(
        None,
        "Server",
        "origins whose web pages may call the HTTP API, separated by commas",
        metavar="ORIGINS",
    )
    cors_allow_origins_regex: str | None = flag(
        None,
        "Server",
        "the same as a regular expression",
        type=flag_types.regex,
        metavar="PATTERN",
    )
    subpath: str | None = flag(
        None,
        "Server",
        "path under which a reverse proxy serves the WebUI",
        type=flag_types.subpath,
        metavar="PATH",
    )
    api_log: bool = flag(False, "Server", "log every request")
    api_server_stop: bool = flag(False, "Server", "let the HTTP API stop and restart the server")
    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = flag(
        "INFO",
        "Server",
        "how much is logged",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    )

    data_dir: Path | None = folder_flag("folder of models, outputs and settings")  # noqa: RUF009
    ckpt_dir: Path | None = folder_flag("an additional folder with checkpoints")  # noqa: RUF009
    lora_dir: Path | None = folder_flag("an additional folder with LoRA files")  # noqa: RUF009
    embeddings_dir: Path | None = folder_flag("folder of embeddings, instead of embeddings/")  # noqa: RUF009
    hypernetwork_dir: Path | None = folder_flag(  # noqa: RUF009
        "folder of hypernetworks, instead of models/hypernetworks"
    )
    esrgan_models_path: Path | None = folder_flag("an additional folder with upscalers")  # noqa: RUF009
    realesrgan_models_path: Path | None = folder_flag("likewise")  # noqa: RUF009
    bsrgan_models_path: Path | None = folder_flag("likewise")  # noqa: RUF009
    swinir_models_path: Path | None = folder_flag("likewise")  # noqa: RUF009
    scunet_models_path: Path | None = folder_flag("likewise")  # noqa: RUF009
    dat_models_path: Path | None = folder_flag("likewise")  # noqa: RUF009
    controlnet_dir: Path | None = folder_flag("an additional folder with ControlNet models")  # noqa: RUF009
    gradio_allowed_path: tuple[Path, ...] = flag(
        (),
        "Folders",
        "an additional folder whose pictures a batch may read; can be repeated",
        type=flag_types.user_path,
        metavar="FOLDER",
        action="append",
    )

    ckpt: str | None = flag(
        None,
        "Models",
        "checkpoint to load at start: its name in the list, or its path in one of the folders",
        metavar="NAME",
    )
    sd_checkpoints_limit: int | None = flag(
        None,
        "Models",
        "how many checkpoints may stay loaded",
        type=flag_types.checkpoint_count,
        metavar="NUMBER",
    )
    converted_weights_gb: float | None = flag(
        None,
        "Models",
        "disk space for weights that a processor has converted; 0 keeps none",
        type=flag_types.gigabytes,
        metavar="NUMBER",
    )
    device_id: int | None = flag(
        None, "Models", "number of the GPU to use", type=flag_types.gpu_index, metavar="NUMBER"
    )
    devices: tuple[str, ...] = flag(
        (),
        "Models",
        "work on several devices at once, such as cuda:0,cuda:1, or all cards; installs Ray if need be",
        type=flag_types.devices,
        metavar="DEVICES",
    )
    ray: str | None = flag(
        None,
        "Models",
        "work on the devices of a Ray cluster, by its address or auto; installs Ray if need be",
        metavar="ADDRESS",
    )
    ray_cpus_per_worker: int | None = flag(
        None,
        "Models",
        "let the workers of --ray and --devices compute on so many processors each",
        type=flag_types.processor_count,
        metavar="NUMBER",
    )
    use_cpu: bool = flag(
        False, "Models", "work on the CPU; any value means the same", nargs="*", metavar="all"
    )
    no_half: bool = flag(False, "Models", "work in 32-bit floats")
    precision: Literal["full", "half", "autocast"] = flag(
        "autocast",
        "Models",
        "full is the same as --no-half; the others let the device decide",
        choices=("full", "half", "autocast"),
    )

    accelerator: Literal["openvino"] | None = flag(
        None,
        "Models",
        "install OpenVINO if need be, and let it compute instead of PyTorch",
        type=str.lower,
        choices=tuple(flag_types.ACCELERATORS),
    )
    medvram: bool = flag(False, "Models", "keep idle parts of a model off the GPU")
    medvram_sdxl: bool = flag(False, "Models", "the same, for SDXL alone")
    lowvram: bool = flag(False, "Models", "and move the UNet to the GPU block by block: slow")
    xformers: bool = flag(False, "Models", "compute attention with xformers, if it is installed")
    opt_sdp_no_mem_attention: bool = flag(
        False, "Models", "compute attention without PyTorch's memory-efficient kernel"
    )
    no_downloads: bool = flag(
        False, "Models", "let nobody download models by the page, such as on a shared server"
    )

    disable_all_extensions: bool = flag(False, "Extensions", "start without the extensions")
    disable_extra_extensions: bool = flag(
        False, "Extensions", "the same: what is built in is no extension"
    )
    enable_insecure_extension_access: bool = flag(
        False,
        "Extensions",
        "let other machines install, enable and remove extensions, which run any code",
    )

    theme: Literal["light", "dark"] | None = flag(
        None,
        "Page",
        "colours of the page; default: those of the browser",
        choices=("light", "dark"),
    )
    autolaunch: bool = flag(False, "Page", "open the page in the browser when it is ready")

    exit: bool = flag(False, "Setting up", "exit after the set-up")
    skip_prepare_environment: bool = flag(False, "Setting up", "start without checking any package")
    skip_install: bool = flag(False, "Setting up", "install nothing; check the rest")
    skip_python_version_check: bool = flag(False, "Setting up", "accept any Python")
    skip_torch_cuda_test: bool = flag(False, "Setting up", "do not try the GPU after installing")
    reinstall_torch: bool = flag(
        False, "Setting up", "choose and install PyTorch again, such as after a change of GPU"
    )
    run_tests: tuple[str, ...] | None = flag(
        None,
        "Setting up",
        "run the tests; all following arguments are passed to pytest",
        nargs=argparse.REMAINDER,
        metavar="...",
    )

    notes: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The address to bind."""
        return self.server_name or ("0.0.0.0" if self.listen else "127.0.0.1")

    @property
    def upscaler_dirs(self) -> tuple[Path, ...]:
        """The additional folders with upscalers."""
        folders = (
            self.esrgan_models_path,
            self.realesrgan_models_path,
            self.bsrgan_models_path,
            self.swinir_models_path,
            self.scunet_models_path,
            self.dat_models_path,
        )
        return tuple(filter(None, folders))

    @property
    def root_path(self) -> str:
        """The path of `--subpath` with a slash before it, or nothing."""
        return f"/{self.subpath}" if self.subpath else ""

    @property
    def serves_api(self) -> bool:
        """Whether the HTTP API is served."""
        return not self.no_api

    @property
    def loads_extensions(self) -> bool:
        """Whether extensions are loaded."""
        return not (self.disable_all_extensions or self.disable_extra_extensions)

    @property
    def uses_ray(self) -> bool:
        """Whether the work is done by the workers of Ray."""
        return bool(self.devices or self.ray)

    @property
    def full_precision(self) -> bool:
        """Whether to use 32-bit floats throughout."""
        return self.no_half or self.precision == "full"

    def redacted_dict(self) -> dict[str, Any]:
        """Return every flag by name with a JSON-compatible value; of a secret only "given" or None."""
        values: dict[str, Any] = {}
        for declared in fields(self):
            if "flag" in declared.metadata:
                value = getattr(self, declared.name)
                if not declared.repr:
                    value = None if value is None else "given"
                shown = str(value) if isinstance(value, Path) else value
                values[declared.name] = escape(shown) if isinstance(shown, str) else shown
        return values

    def setting_overrides(self) -> dict[str, Any]:
        """Return the settings that the command line overrides for this run, by name."""
        values = {name: getattr(self, flag) for name, flag in SETTING_FLAGS.items()}
        values |= flag_types.chosen_options(vars(self))
        values["accelerator"] = flag_types.ACCELERATORS.get(self.accelerator or "")
        return {name: value for name, value in values.items() if value not in (None, "")}

    def credentials(self) -> tuple[Credential, ...]:
        """Return the logins of `--gradio-auth` and of the file of `--gradio-auth-path`.

        Raises:
            UserError: an entry is not USER:PASSWORD, or the file cannot be read.
        """
        credentials = parse_credentials(self.gradio_auth or "", "--gradio-auth")
        if self.gradio_auth_path is None:
            return credentials
        try:
            text = self.gradio_auth_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The file of --gradio-auth-path, {self.gradio_auth_path}, cannot be read: {error}."
            ) from error
        return credentials + parse_credentials(text.replace("\n", ","), "--gradio-auth-path")

    def api_credentials(self) -> tuple[Credential, ...]:
        """Return the further logins for the HTTP API, from `--api-auth`."""
        return parse_credentials(self.api_auth or "", "--api-auth")

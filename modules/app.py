"""Builds engine, page and API from the flags and serves them until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from modules import builtin
from modules.api.page_files import PageCompression, page_files_router
from modules.api.routes import add_routes
from modules.api.security.cors import Origins
from modules.api.security.guard import LOOPBACK_NAMES, add_guards
from modules.api.security.header_timeout import HeaderTimeoutProtocol
from modules.api.security.subpath import Subpath
from modules.core.command_line import parse_flags
from modules.core.credentials import Credential, split_commas
from modules.core.errors import UserError, WebUIError
from modules.core.flags import Flags
from modules.core.log_limit import RepetitionFilter
from modules.core.paths import Paths
from modules.core.private import close_to_others
from modules.engine.downloads.web_proxy import WebProxy, proxy_of
from modules.engine.engine import Engine
from modules.engine.executors import Executor
from modules.engine.executors.local import LocalExecutor
from modules.engine.extensions.choice import ExtensionChoice, LoadingMark
from modules.engine.extensions.record import ExtensionRecord
from modules.engine.extensions.sources import find_extensions
from modules.engine.registries import Registries
from modules.engine.settings_file import SettingsFile
from modules.extensions.loader import disabled_extensions, load_extensions
from modules.launch.environment import drop_client_variables, set_env_defaults
from modules.launch.install_state import read_install_state
from modules.params.device_options import DeviceOptions
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 7860
_PORTS_TO_TRY = 100
_OPEN_STREAMS_TIMEOUT_S = 1


def main(argv: Sequence[str]) -> int:
    """Serve until stopped and return the exit status."""
    try:
        flags = parse_flags(argv)
        logging.basicConfig(level=flags.loglevel, format="%(asctime)s %(levelname)s %(message)s")
        for handler in logging.getLogger().handlers:
            handler.addFilter(RepetitionFilter())
        for name in ("httpx", "PIL", "gradio", "multipart", "uvicorn.error"):
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
        return serve(flags)
    except WebUIError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def serve(flags: Flags) -> int:
    """Build everything, serve, and exit the process; return only if serving could not start."""
    credentials = login_credentials(flags)
    sock = bind_socket(flags)
    paths = make_paths(flags)
    environment = dict(os.environ)
    prepare_environment(paths)
    engine = make_engine(flags, paths, proxy_of(environment))
    restart_requested = threading.Event()
    app = make_app(engine, flags, restart_requested)
    server = _Server(secure_app(app, flags, credentials), engine, sock, flags)
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn after its shutdown
        server.run(sockets=[sock])
    if not server.started:
        return 1
    logger.info("Stopped.")
    # All results are on the disk. Shutting down torch's threads properly would take seconds, and a
    # step or a load that cannot be interrupted would take minutes.
    logging.shutdown()
    sys.stdout.flush()
    if restart_requested.is_set():
        sock.close()
        command = [sys.executable, "-m", "modules", *sys.argv[1:]]
        os.execve(sys.executable, command, environment)
    os._exit(0)


def secure_app(app: ASGIApp, flags: Flags, credentials: Sequence[Credential]) -> ASGIApp:
    """Return the application with login, host and origin checks, under its subpath if there is one."""
    origins = Origins(split_commas(flags.cors_allow_origins), flags.cors_allow_origins_regex or "")
    secured = add_guards(
        app, credentials, flags.api_credentials(), allowed_hosts(flags.host), origins
    )
    return Subpath(secured, flags.root_path) if flags.root_path else secured


def make_paths(flags: Flags) -> Paths:
    """Return the folders of the program, as absolute paths."""
    data = flags.data_dir.resolve() if flags.data_dir else ROOT
    allowed_folders = tuple(folder.resolve() for folder in flags.gradio_allowed_path)
    return Paths(
        ROOT,
        data,
        _resolve(flags.ckpt_dir),
        allowed_folders,
        _resolve(flags.embeddings_dir),
        _resolve(flags.hypernetwork_dir),
        _resolve(flags.lora_dir),
        tuple(folder.resolve() for folder in flags.upscaler_dirs),
        _resolve(flags.controlnet_dir),
    )


def _resolve(folder: Path | None) -> Path | None:
    return folder.resolve() if folder else None


def prepare_environment(paths: Paths) -> None:
    """Set the environment variables that libraries read at import, and close the folder of uploads to other users."""
    set_env_defaults(os.environ)
    drop_client_variables(os.environ)
    with contextlib.suppress(OSError):  # the first upload reports it
        paths.temp.mkdir(mode=0o700, parents=True, exist_ok=True)
    close_to_others(paths.temp)
    os.environ["GRADIO_TEMP_DIR"] = str(paths.gradio_temp)


def make_registries(flags: Flags, paths: Paths) -> Registries:
    """Return the tables with everything that is built in and what the extensions add."""
    registries = Registries(serves_page=not flags.nowebui)
    builtin.register(registries)
    builtin.register_with_files(registries, paths)
    found = find_extensions(paths)
    choice = ExtensionChoice(SettingsFile(paths.settings_file))
    mark = LoadingMark(paths.cache / "loading_extension.json")
    disabled = disabled_extensions(found, choice, mark, are_loaded=flags.loads_extensions)
    return load_extensions(registries, found, disabled, mark)


def make_engine(flags: Flags, paths: Paths, proxy: WebProxy | None = None) -> Engine:
    """Return the engine, not yet started; its downloads use the proxy."""
    tokenizer = ClipTokenizer(paths.configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    state = read_install_state(Path(sys.prefix))
    device = DeviceOptions(
        use_cpu=flags.use_cpu,
        full_precision=flags.full_precision,
        index=flags.device_id or 0,
        cpu_fallback_reason=state.warning if state is not None and state.device == "cpu" else "",
    )
    checkpoint = flags.ckpt or ""
    if checkpoint and Path(checkpoint).is_file():
        checkpoint = str(Path(checkpoint).absolute())
    setting_overrides = flags.setting_overrides()
    if checkpoint:
        setting_overrides["sd_model_checkpoint"] = checkpoint
    registries = make_registries(flags, paths)
    executor = make_executor(flags, paths, device, tokenizer, registries.extensions)
    engine = Engine(paths, executor, tokenizer, registries, setting_overrides)
    engine.downloads.configure(is_allowed=not flags.no_downloads, proxy=proxy)
    return engine


def make_executor(
    flags: Flags,
    paths: Paths,
    device: DeviceOptions,
    tokenizer: ClipTokenizer,
    extensions: Sequence[ExtensionRecord],
) -> Executor:
    """Return what runs the jobs: one device of this process, or the workers that the flags ask for."""
    if not flags.uses_ray:
        return LocalExecutor(device, tokenizer, paths.cache)
    from modules.engine.executors.cluster.ray_executor import RayExecutor, RayOptions

    options = RayOptions(flags.devices, flags.ray or "", flags.ray_cpus_per_worker or 0)
    prepare = None
    if any(record.state == "loaded" for record in extensions):
        left_out = {record.source.id: "" for record in extensions if record.state != "loaded"}
        prepare = partial(load_worker_extensions, paths, left_out)
    return RayExecutor(options, device, paths.root, paths.cache, prepare)


def load_worker_extensions(paths: Paths, disabled: Mapping[str, str]) -> None:
    """Load the extensions in the process of a worker, under the names that they have in the server's.

    Args:
        paths: The folders of the server.
        disabled: The ids of those that the server has not loaded.
    """
    registries = Registries(serves_page=False)
    builtin.register(registries)
    load_extensions(registries, find_extensions(paths), disabled)


def make_app(
    engine: Engine, flags: Flags, restart_requested: threading.Event | None = None
) -> FastAPI:
    """Return the web application: internal routes, and API and page unless turned off by flags.

    Args:
        engine: The engine of all routes.
        flags: The command line.
        restart_requested: Set by the API to restart the server.
    """
    # FastAPI's own documentation pages load scripts from other hosts.
    app = FastAPI(
        title="Stable Diffusion WebUI",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if flags.serves_api else None,
    )
    add_routes(app, engine, flags, restart_requested)
    if flags.nowebui:
        return app
    import gradio as gr

    from modules.ui import page

    files = page.page_files(engine)
    app.include_router(page_files_router(page.page_address(files), files))
    app.add_middleware(PageCompression)
    blocks = page.build_page(engine)
    app = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        allowed_paths=[str(folder) for folder in engine.image_saver.image_dirs],
        max_file_size="64mb",
        ssr_mode=False,
        show_error=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=page.theme(),
        favicon_path=str(page.ASSETS / "favicon.png"),
        head=page.head(files, flags.theme, flags.root_path),
        root_path=flags.root_path or None,
    )
    # A mounted page counts as not launched, and Gradio then trusts any file path in a call.
    blocks.has_launched = True
    return app


def is_loopback(host: str) -> bool:
    """Return whether the address can be reached only from this machine."""
    return host in LOOPBACK_NAMES or host.startswith("127.")


def allowed_hosts(host: str) -> frozenset[str] | None:
    """Return the allowed host names of a server on an address; None for all, where a login is required."""
    return LOOPBACK_NAMES | {host} if is_loopback(host) else None


def login_credentials(flags: Flags) -> tuple[Credential, ...]:
    """Return the logins; on an open address without any, a random password is generated and printed."""
    credentials = flags.credentials()
    if credentials or is_loopback(flags.host):
        return credentials
    generated = Credential("webui", secrets.token_urlsafe(9))
    sys.stdout.write(
        f"Others can reach {flags.host}, so a login is required. For this run it is\n"
        f"    user: {generated.user}    password: {generated.password}\n"
        "Choose your own with --gradio-auth user:password.\n"
    )
    return (generated,)


def bind_socket(flags: Flags, default_port: int = DEFAULT_PORT) -> socket.socket:
    """Return a bound socket on `--port`, else on the default port or the next free one.

    Raises:
        UserError: `--port`, or every port tried, is in use, or the address is not of this machine.
    """
    ports = [flags.port] if flags.port else range(default_port, default_port + _PORTS_TO_TRY)
    reason = ""
    for port in ports:
        family = socket.AF_INET6 if ":" in flags.host else socket.AF_INET
        # Without an explicit protocol asyncio leaves Nagle's algorithm on, and every response takes 40 ms longer.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":  # on Windows the option would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((flags.host, port))
            sock.listen(128)
        except OSError as error:
            reason = error.strerror or str(error)
            sock.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):  # in use, or reserved by the system
                continue
            raise UserError(
                f"{flags.host}:{port} cannot be used: {reason}.",
                "--server-name must be an address of this machine.",
            ) from None
        if port != ports[0]:
            sys.stdout.write(f"Port {ports[0]} is in use; using port {port}.\n")
        return sock
    tried = f"Port {flags.port}" if flags.port else f"Every port from {default_port} to {ports[-1]}"
    raise UserError(
        f"{tried} on {flags.host} cannot be used: {reason}.",
        "Stop the other program or choose another with --port.",
    )


class _Server(uvicorn.Server):
    """Starts the engine once the server accepts connections, and stops it before closing them."""

    def __init__(self, app: ASGIApp, engine: Engine, sock: socket.socket, flags: Flags) -> None:
        config = uvicorn.Config(
            app,
            http=HeaderTimeoutProtocol,
            server_header=False,
            log_config=None,
            access_log=flags.api_log,
            timeout_graceful_shutdown=_OPEN_STREAMS_TIMEOUT_S,
            lifespan="on",
        )
        super().__init__(config)
        self._engine = engine
        self._flags = flags
        host, port = sock.getsockname()[:2]
        name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self._url = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, then start the engine in the background: PyTorch is imported from now on."""
        await super().startup(sockets)
        gc.enable()  # see `__main__`
        sys.stdout.write(f"Running on {self._url}  (Ctrl-C stops)\n")
        sys.stdout.flush()
        threading.Thread(target=self._engine.start, name="start", daemon=True).start()
        if self._flags.autolaunch and not self._flags.nowebui:
            threading.Thread(target=webbrowser.open, args=(self._url,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the running job, then close."""
        sys.stdout.write("Stopping.\n")
        await asyncio.to_thread(self._engine.stop)
        # The streams of open pages are cut on purpose; uvicorn would log each as an error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)

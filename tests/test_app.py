"""Sockets, logins, and the real page on an engine with a fake executor."""

from __future__ import annotations

import base64
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from modules import app
from modules.api.security.guard import add_guards
from modules.core.command_line import parse_flags
from modules.core.credentials import Credential
from modules.core.errors import UserError
from modules.core.flags import Flags
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.prompt.tokens import ClipTokenizer
from modules.ui.page import ASSETS
from tests.conftest import ROOT, builtin_registries, write_listed_checkpoint
from tests.engine.fake_executor import FakeExecutor

pytestmark = pytest.mark.filterwarnings("ignore:::gradio")  # Gradio's own calls of pandas
HOST = "http://127.0.0.1:7860"
SECRET = "not for everyone"


# Sockets


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_next_free_port_is_used_if_the_default_port_is_busy(
    busy_port: int, capsys: pytest.CaptureFixture[str]
):
    with app.bind_socket(Flags(), default_port=busy_port) as sock:
        port = sock.getsockname()[1]
    assert busy_port < port < busy_port + 100
    assert capsys.readouterr().out == f"Port {busy_port} is in use; using port {port}.\n"


def test_a_busy_port_on_the_command_line_is_an_error(busy_port: int):
    with pytest.raises(UserError) as caught:
        app.bind_socket(Flags(port=busy_port))
    assert caught.value.message.startswith(f"Port {busy_port} on 127.0.0.1 cannot be used: ")
    assert "--port" in caught.value.hint


def test_a_free_port_on_the_command_line_is_used(
    busy_port: int, capsys: pytest.CaptureFixture[str]
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with app.bind_socket(Flags(port=free)) as sock:
        assert sock.getsockname() == ("127.0.0.1", free)
        assert sock.proto == socket.IPPROTO_TCP, "asyncio turns Nagle's algorithm off by this"
    assert capsys.readouterr().out == ""


def test_an_address_of_another_machine_is_an_error():
    with pytest.raises(UserError, match=r"192\.0\.2\.1"):
        app.bind_socket(Flags(server_name="192.0.2.1", port=7860))


# Passwords


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_needs_no_password(host: str):
    assert app.is_loopback(host)
    assert app.login_credentials(Flags(server_name=host)) == ()


def test_a_server_on_loopback_allows_only_loopback_names_and_its_address():
    assert app.allowed_hosts("127.0.0.2") == {"127.0.0.2", "127.0.0.1", "localhost", "::1"}
    assert app.allowed_hosts("0.0.0.0") is None


@pytest.mark.parametrize(
    "flags", [Flags(listen=True), Flags(server_name="0.0.0.0"), Flags(server_name="::")]
)
def test_an_open_address_gets_a_random_password(flags: Flags, capsys: pytest.CaptureFixture[str]):
    (generated,) = app.login_credentials(flags)
    output = capsys.readouterr().out
    assert generated.user in output and generated.password in output
    assert len(generated.password) >= 12
    assert app.login_credentials(flags)[0].password != generated.password


def test_a_password_on_the_command_line_is_used_and_not_printed(capsys: pytest.CaptureFixture[str]):
    flags = parse_flags(["--listen", "--gradio-auth", "me:s3cret"])
    assert app.login_credentials(flags) == (Credential("me", "s3cret"),)
    assert capsys.readouterr().out == ""


def test_an_invalid_command_line_prints_a_sentence(capsys: pytest.CaptureFixture[str]):
    assert app.main(["--prot", "7860"]) == 1
    assert "Did you mean --port?" in capsys.readouterr().err


# Folders


def test_folders_of_the_command_line_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    paths = app.make_paths(Flags(data_dir=Path("data"), ckpt_dir=Path("more")))
    assert (paths.root, paths.data, paths.ckpt_dir) == (ROOT, tmp_path / "data", tmp_path / "more")
    networks = Flags(embeddings_dir=Path("words"), hypernetwork_dir=Path("/nets"))
    paths = app.make_paths(networks)
    assert (paths.embeddings, paths.hypernetworks) == (tmp_path / "words", Path("/nets"))
    paths = app.make_paths(Flags())
    assert (paths.data, paths.embeddings) == (ROOT, ROOT / "embeddings")


# The application


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("webui")
    write_listed_checkpoint(folder / "models" / "Stable-diffusion" / "first.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "secret.txt").write_text(SECRET)
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


@pytest.fixture(scope="module")
def served(place: Path, tokenizer: ClipTokenizer) -> Iterator[tuple[FastAPI, Engine]]:
    """The application with page and API, and its engine."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(place / "tmp" / "gradio"))
    executor = FakeExecutor()
    engine = Engine(Paths(place, place), executor, tokenizer, builtin_registries(serves_page=True))
    engine.image_saver.fallback_dir = place / "spare"
    engine.start()
    executor.wait_until_idle()
    yield app.make_app(engine, Flags(api=True)), engine
    engine.stop()
    patch.undo()


@pytest.fixture(scope="module")
def page(served: tuple[FastAPI, Engine]) -> Iterator[TestClient]:
    with TestClient(add_guards(served[0]), base_url=HOST) as client:
        yield client


def test_page_api_and_internal_routes_are_served_together(page: TestClient):
    assert page.get("/").status_code == 200
    assert "gradio" in page.get("/").text
    assert page.get("/sdapi/v1/samplers").status_code == 200
    assert page.get("/internal/state").json()["phase"] == "ready"
    assert page.get("/config").status_code == 200


def test_the_page_names_no_other_host(page: TestClient):
    html = page.get("/").text
    for host in (
        "fonts.googleapis.com",
        "fonts.gstatic.com",
        "cdnjs",
        "jsdelivr",
        "huggingface.co",
    ):
        assert host not in html


def test_the_page_has_an_icon_of_its_own(page: TestClient):
    assert page.get("/favicon.ico").content == (ASSETS / "favicon.png").read_bytes()


def test_with_nowebui_only_the_api_is_served(engine: Engine):
    client = TestClient(app.make_app(engine, Flags(nowebui=True)))
    assert client.get("/").status_code == 404
    assert client.get("/sdapi/v1/samplers").status_code == 200


def test_the_documentation_loads_nothing_from_other_hosts(engine: Engine):
    client = TestClient(app.make_app(engine, Flags(nowebui=True)))
    assert "://" not in client.get("/docs").text
    assert client.get("/redoc").status_code == 404
    assert client.get("/openapi.json").status_code == 200


def test_with_no_api_there_is_no_api(engine: Engine):
    client = TestClient(app.make_app(engine, Flags(no_api=True, nowebui=True)))
    for path in ("/sdapi/v1/samplers", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("prefix", ["/sd", ""])
def test_page_and_api_are_served_under_a_subpath(engine: Engine, prefix: str):
    flags = Flags(subpath="sd")
    client = TestClient(app.secure_app(app.make_app(engine, flags), flags, ()), base_url=HOST)
    assert 'window.webuiRoot = "/sd"' in client.get(f"{prefix}/config").json()["head"]
    assert client.get(f"{prefix}/").status_code == 200
    assert client.get(f"{prefix}/config").json()["root"] == f"{HOST}/sd"
    assert client.get(f"{prefix}/sdapi/v1/samplers").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/sd"])
def test_a_browser_keeps_scripts_and_styles_and_the_page_is_compressed(engine: Engine, prefix: str):
    flags = Flags(subpath=prefix.strip("/"))
    client = TestClient(app.secure_app(app.make_app(engine, flags), flags, ()), base_url=HOST)
    response = client.get(f"{prefix}/")
    assert response.headers["content-encoding"] == "gzip"
    files = re.findall(r'(?:src|href)=\\?"(/[^"\\]*/webui/[^"\\]+|/webui/[^"\\]+)', response.text)
    root = next(file for file in files if file.endswith("/theme.css")).rpartition("/")[0]
    assets = [file.relative_to(ASSETS).as_posix() for file in ASSETS.rglob("*.*")]
    assert set(files) == {f"{root}/{name}" for name in assets if name.endswith(".css")}
    assert f'window.webuiAssets = \\"{root}\\"' in response.text
    for name in assets:
        asset = client.get(f"{root}/{name}")
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]
    assert client.get(f"{root}/none.css").status_code == 404


def test_answers_to_programs_are_not_compressed(page: TestClient):
    assert "content-encoding" in page.get("/internal/settings").headers
    assert "content-encoding" not in page.get("/sdapi/v1/options").headers


def paths_of(application: FastAPI) -> list[str]:
    """Return a path for every route, including those of the mounted page."""
    paths: list[str] = []
    stack: list[Any] = list(application.routes)
    while stack:
        route = stack.pop()
        stack += getattr(getattr(route, "app", None), "routes", None) or []
        stack += getattr(getattr(route, "original_router", None), "routes", None) or []
        if isinstance(route, APIRoute) or hasattr(route, "methods"):
            paths.append(route.path.replace("{", "").replace("}", "").replace(":path", ""))
    return paths


def test_the_password_protects_every_route(served: tuple[FastAPI, Engine]):
    guarded = TestClient(add_guards(served[0], [Credential("me", "s3cret")]), base_url=HOST)
    routes = paths_of(served[0])
    assert len(routes) > 20
    assert any("gradio_api" in path for path in routes)
    for path in [
        *routes,
        "/",
        "/static/x",
        "/assets/x",
        "/theme.css",
        "/manifest.json",
        "/favicon.ico",
    ]:
        for method in ("GET", "POST"):
            assert guarded.request(method, path).status_code == 401, path
    for path in ("/ws", "/queue/join", "/gradio_api/queue/data"):
        with (
            pytest.raises(WebSocketDisconnect),
            guarded.websocket_connect(f"ws://127.0.0.1:7860{path}"),
        ):
            pass
    encoded = base64.b64encode(b"me:s3cret").decode()
    assert guarded.get("/", headers={"authorization": f"Basic {encoded}"}).status_code == 200


# The page serves no other files


def functions_of(page: TestClient) -> list[dict[str, Any]]:
    return page.get("/config").json()["dependencies"]


def call(page: TestClient, number: int, data: list[Any]) -> str:
    """Call a function of the page as the browser does, and return the whole response."""
    joined = page.post(
        "/gradio_api/queue/join", json={"fn_index": number, "data": data, "session_hash": "crafted"}
    )
    if joined.status_code != 200:
        return joined.text
    return page.get("/gradio_api/queue/data", params={"session_hash": "crafted"}).text


@pytest.mark.parametrize("name", ["/etc/passwd", "secret.txt", "config.json"])
def test_a_file_outside_the_outputs_is_not_served(page: TestClient, place: Path, name: str):
    for address in (place / name, f"{place}/outputs/../{name}"):
        response = page.get(f"/gradio_api/file={address}")
        assert response.status_code in (403, 404)
        assert SECRET not in response.text
    assert page.get(f"/gradio_api/file={ROOT}/modules/app.py").status_code in (403, 404)


def test_an_image_in_the_outputs_is_served(page: TestClient, place: Path):
    image = place / "outputs" / "txt2img-images" / "00000-1.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(b"\x89PNG\r\n")
    assert page.get(f"/gradio_api/file={image}").content == b"\x89PNG\r\n"


def test_no_function_of_gradio_takes_a_value(page: TestClient):
    assert [function for function in functions_of(page) if function["inputs"]] == []


def submit_depth(page: TestClient, **values: str) -> str:
    """Submit the Depth tab's form with these values; return the answer."""
    body = {"task": "depth2img", "values": {"prompt": "a cat", **values}}
    return page.post("/internal/jobs", json=body).text


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "secret.png", "../secret.png", "uploads/x", "0" * 64]
)
@pytest.mark.parametrize("field", ["init_image", "depth_map"])
def test_an_image_elsewhere_on_the_disk_is_not_read(
    page: TestClient, place: Path, field: str, name: str
):
    Image.new("RGB", (8, 8)).save(place / "secret.png")
    for target in (name, str(place / name)):
        answer = submit_depth(page, **{field: target})
        assert "There is no uploaded picture" in answer or "no longer on the server" in answer
        response = page.get(f"/internal/uploads/{target}/image")
        assert response.status_code == 404
    assert [path for path in (place / "tmp").rglob("*") if path.is_file()] == []


def test_an_uploaded_image_reaches_the_engine(page: TestClient, place: Path):
    Image.new("RGB", (8, 8)).save(place / "photo.png")
    file = {"file": ("photo.png", (place / "photo.png").read_bytes(), "image/png")}
    upload = page.post("/internal/uploads", files=file).json()
    assert (upload["width"], upload["height"]) == (8, 8)
    assert "is not a depth checkpoint" in submit_depth(page, init_image=upload["id"])


def test_an_upload_that_is_not_an_image_gets_our_error_message(page: TestClient):
    answer = page.post("/internal/uploads", files={"file": ("photo.png", b"nothing", "image/png")})
    assert answer.status_code == 422
    assert "not a PNG, JPEG, WEBP, AVIF, GIF, BMP or TIFF file" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["evil.html", "evil.svg"])
def test_an_upload_that_could_run_in_the_browser_is_not_shown_there(page: TestClient, name: str):
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    (path,) = page.post(
        "/gradio_api/upload", files={"files": (name, content, "image/svg+xml")}
    ).json()
    response = page.get(f"/gradio_api/file={path}")
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"


def test_no_call_of_the_page_makes_the_server_fetch(page: TestClient):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        crafted = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
        for function in functions_of(page)[:10]:
            assert "not a web address" in call(page, function["id"], [crafted])
        assert "There is no uploaded picture" in submit_depth(page, init_image=address)
        assert page.get(f"/gradio_api/file={address}").status_code == 403
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_mounted_page_counts_as_launched(served: tuple[FastAPI, Engine]):
    """Gradio trusts any path in a call to a page that has not been launched."""
    mounted = [
        route.app
        for route in served[0].routes
        if hasattr(getattr(route, "app", None), "get_blocks")
    ]
    assert [blocks.get_blocks().has_launched for blocks in mounted] == [True]


# The program


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_stops_the_program_soon_and_without_a_traceback(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "modules", "--nowebui", "--use-cpu", "--port", str(port)]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    while "Running on" not in process.stdout.readline():
        assert process.poll() is None
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=120)[0]
    # On a machine under load both take longer, but stopping never as long as the start with all its imports.
    assert time.monotonic() - started < max(10, started - began)
    assert process.returncode == 0
    assert "Traceback" not in rest

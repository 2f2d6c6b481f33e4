from __future__ import annotations

import collections
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modules.core.errors import UserError
from modules.core.paths import Paths
from modules.engine.downloads.catalogue import read_catalogue
from modules.engine.downloads.download import Download
from modules.engine.downloads.downloads import Downloads
from modules.engine.downloads.names import check_name, direct_address
from modules.engine.downloads.package import find_package
from modules.engine.downloads.tokens import Tokens
from modules.engine.downloads.web_proxy import proxy_of
from modules.models.index import ModelIndex
from modules.models.kinds import make_kind_registry
from tests.conftest import ROOT, SD1_SHAPES, write_listed_checkpoint
from tests.engine.downloads.file_server import FileServer, Proxy, local_web

LORA_SHAPES = {"lora_unet_x.lora_down.weight": [4, 4]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    file = tmp_path / "made" / "a.safetensors"
    write_listed_checkpoint(file, shapes={**SD1_SHAPES, "pad": [1000, 500]})
    server = FileServer(file.read_bytes())
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(ROOT, tmp_path / "data")


@pytest.fixture
def make_downloads(paths: Paths) -> Iterator[Callable[[], Downloads]]:
    made: list[Downloads] = []

    def make() -> Downloads:
        tokens = Tokens(paths.data / "tokens.json")
        made.append(Downloads(paths, ModelIndex.from_paths(paths), local_web(tokens)))
        made[-1].restore()
        return made[-1]

    yield make
    for downloads in made:
        downloads.stop()


@pytest.fixture
def downloads(make_downloads: Callable[[], Downloads]) -> Downloads:
    return make_downloads()


def wait_for(downloads: Downloads, *states: str) -> Download:
    """Return the newest download once it is in one of the states."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        download = downloads.snapshot()[-1]
        if download.state in states:
            return download
        time.sleep(0.01)
    raise AssertionError(downloads.snapshot())


def bring(downloads: Downloads, url: str, name: str = "a.safetensors", **more: str) -> Download:
    downloads.add_address(url, more.pop("kind", "Checkpoint"), name, **more)
    return wait_for(downloads, "done", "failed")


def checkpoints(paths: Paths) -> Path:
    return paths.data / "models" / "Stable-diffusion"


@pytest.mark.parametrize(
    "path",
    [
        "file",
        "cut",
        "stall",
        "ignore",
        "chunked",
        "changed",
        "wrong",
        "redirect",
        "away",
        "busy",
        "lie",
    ],
)
def test_a_file_arrives_whole_over_a_bad_line(
    downloads: Downloads, server: FileServer, paths: Paths, path: str
):
    digest = hashlib.sha256(server.content).hexdigest()
    download = bring(downloads, f"{server.url}/{path}", sha256=digest)
    assert (download.state, download.error) == ("done", "")
    folder = checkpoints(paths)
    assert (folder / "a.safetensors").read_bytes() == server.content
    assert list(folder.iterdir()) == [folder / "a.safetensors"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "got no further in 3 tries"),
        ("short", "is incomplete"),
        ("round", "redirects more than 5 times"),
        ("inside", "nothing is fetched from there"),
        ("local", "is not a web address"),
        ("login", "store your token of 127.0.0.1"),
        ("gone", "has no file at .* \\(404\\)"),
        ("page", "'a.safetensors' is a web page, not a model"),
        ("linked", "has the SHA-256 .* instead of 0000"),
    ],
)
def test_a_download_that_cannot_succeed_says_why(
    downloads: Downloads, server: FileServer, paths: Paths, path: str, message: str
):
    download = bring(downloads, f"{server.url}/{path}?token=secret")
    assert download.state == "failed"

    assert re.search(message, download.error), download.error
    assert "secret" not in download.error
    assert not (checkpoints(paths) / "a.safetensors").exists()


def test_a_download_is_paused_and_goes_on_where_it_was(
    downloads: Downloads, server: FileServer, paths: Paths
):
    added = downloads.add_address(f"{server.url}/hold", "Checkpoint", "a.safetensors")
    while downloads.snapshot()[-1].received < 200_000:
        time.sleep(0.01)
    downloads.pause(added.id)
    server.release.set()
    wait_for(downloads, "paused")
    for thread in threading.enumerate():
        if thread.name == "downloads":
            thread.join(20)  # it has let go
    part = checkpoints(paths) / f"download-{added.id}.part"
    assert part.stat().st_size == 200_000
    downloads.resume(added.id)
    # The server still sends 200,000 bytes at a time.
    assert wait_for(downloads, "done", "failed").state == "done"
    assert server.requests[1][1]["range"] == "bytes=200000-"
    assert server.requests[1][1]["if-range"] == '"1"'


def test_a_download_goes_on_after_a_restart(
    make_downloads: Callable[[], Downloads], server: FileServer, paths: Paths
):
    first = make_downloads()
    first.add_address(f"{server.url}/hold", "Checkpoint", "a.safetensors")
    while first.snapshot()[-1].received < 200_000:
        time.sleep(0.01)
    first.stop()
    server.release.set()
    second = make_downloads()
    assert wait_for(second, "done", "failed").state == "done"
    assert (checkpoints(paths) / "a.safetensors").read_bytes() == server.content
    assert "range" in server.requests[1][1]


@pytest.mark.parametrize("surplus", [b"", b"more"])
def test_a_part_as_long_as_the_file_is_enough_and_a_longer_one_is_dropped(
    make_downloads: Callable[[], Downloads], server: FileServer, paths: Paths, surplus: bytes
):
    checkpoints(paths).mkdir(parents=True)
    (checkpoints(paths) / "download-1.part").write_bytes(server.content + surplus)
    row = {
        "id": "1",
        "addresses": [f"{server.url}/file"],
        "kind": "Checkpoint",
        "name": "b.safetensors",
    }
    (paths.data / "downloads.json").write_text(json.dumps([row]))
    assert wait_for(make_downloads(), "done", "failed").state == "done"
    assert (checkpoints(paths) / "b.safetensors").read_bytes() == server.content


def test_a_removed_download_leaves_nothing(downloads: Downloads, server: FileServer, paths: Paths):
    added = downloads.add_address(f"{server.url}/hold", "Checkpoint", "a.safetensors")
    while downloads.snapshot()[-1].received < 200_000:
        time.sleep(0.01)
    downloads.remove(added.id)
    server.release.set()
    assert downloads.snapshot() == []
    deadline = time.monotonic() + 5
    while list(checkpoints(paths).iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(checkpoints(paths).iterdir()) == []


def test_the_next_address_is_tried_and_the_yaml_is_put_beside(
    paths: Paths, server: FileServer, tmp_path: Path
):
    entry = read_catalogue()[3]
    assert entry.config == "v2-inference-v.yaml"
    own = type(entry)(
        **{
            **vars(entry),
            "addresses": (f"{server.url}/gone", f"{server.url}/file"),
            "sha256": hashlib.sha256(server.content).hexdigest(),
            "size_bytes": len(server.content),
        }
    )
    tokens = Tokens(paths.data / "tokens.json")
    downloads = Downloads(paths, ModelIndex.from_paths(paths), local_web(tokens), (own,))
    downloads.add_official("sd-2.1")
    assert wait_for(downloads, "done", "failed").error == ""
    beside = checkpoints(paths) / "v2-1_768-ema-pruned.yaml"
    assert beside.read_text() == (ROOT / "configs" / "v2-inference-v.yaml").read_text()
    with pytest.raises(UserError, match="exists already"):
        downloads.add_official("sd-2.1")
    downloads.stop()


def test_a_file_of_another_size_than_the_catalogue_says_is_refused_before_it_is_brought(
    paths: Paths, server: FileServer
):
    entry = read_catalogue()[0]
    own = type(entry)(**{**vars(entry), "addresses": (f"{server.url}/file",)})
    tokens = Tokens(paths.data / "tokens.json")
    downloads = Downloads(paths, ModelIndex.from_paths(paths), local_web(tokens), (own,))
    downloads.add_official("sd-1.5")
    error = wait_for(downloads, "failed").error
    assert f"a file of {len(server.content)} bytes instead of 4265146304" in error
    assert "By hand: download v1-5-pruned-emaonly.safetensors from https://" in error
    downloads.stop()


def test_offline_is_said_at_once(
    downloads: Downloads, server: FileServer, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    download = bring(downloads, "http://models.example/a.safetensors")
    assert "seems to be offline" in download.error
    assert "download a.safetensors from http://models.example/a.safetensors in" in download.error


def test_a_full_disk_is_said_before_the_download(
    downloads: Downloads, server: FileServer, monkeypatch: pytest.MonkeyPatch
):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    assert "0.0 GB free. Free some space" in bring(downloads, f"{server.url}/file").error


def test_a_lora_goes_to_its_own_folder(downloads: Downloads, server: FileServer, paths: Paths):
    file = paths.data / "lora.safetensors"
    write_listed_checkpoint(file, shapes=LORA_SHAPES)
    server.content = file.read_bytes()
    download = bring(downloads, f"{server.url}/file")
    assert (download.state, download.kind) == ("done", "LoRA")
    assert (paths.data / "models" / "Lora" / "a.safetensors").exists()


@pytest.mark.parametrize(
    "name",
    ["..%2fa.safetensors", "a.exe", "", ".a.safetensors", "con.safetensors", "a b/../c.ckpt"],
)
def test_a_name_from_the_server_is_checked(
    downloads: Downloads, server: FileServer, paths: Paths, name: str
):
    download = bring(downloads, f"{server.url}/named?{name}", name="")
    assert download.state == "failed"
    assert list(checkpoints(paths).iterdir()) == []


def test_the_server_names_the_file(downloads: Downloads, server: FileServer, paths: Paths):
    assert bring(downloads, f"{server.url}/named?my.safetensors", name="").state == "done"
    assert (checkpoints(paths) / "my.safetensors").exists()


def test_a_token_goes_to_its_own_host_alone(downloads: Downloads, server: FileServer, paths: Paths):
    paths.data.mkdir(parents=True, exist_ok=True)
    (paths.data / "tokens.json").write_text('{"127.0.0.1": "a-long-token"}')
    assert bring(downloads, f"{server.url}/away").state == "done"
    (_, first), (_, second) = server.requests
    assert first["authorization"] == "Bearer a-long-token"
    assert second["host"].startswith("localhost")
    assert "authorization" not in second


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
def test_tokens_and_addresses_are_for_this_user_alone(
    downloads: Downloads, server: FileServer, paths: Paths
):
    downloads.tokens.set("civitai.com", "0123456789abcdef")
    downloads.tokens.set("huggingface.co", "hf_0123456789")
    bring(downloads, f"{server.url}/file")
    for name in ("tokens.json", "downloads.json"):
        assert stat.S_IMODE((paths.data / name).stat().st_mode) == 0o600
    assert downloads.tokens.get("www.civitai.com") == "0123456789abcdef"
    assert downloads.tokens.hosts() == ["huggingface.co", "civitai.com"]
    downloads.tokens.set("civitai.com", "")
    assert downloads.tokens.hosts() == ["huggingface.co"]
    with pytest.raises(UserError):
        downloads.tokens.set("a.example", "0123456789abcdef")
    with pytest.raises(UserError):
        downloads.tokens.set("civitai.com", "two words")


def test_only_public_https_addresses_are_taken(paths: Paths, server: FileServer):
    downloads = Downloads(paths, ModelIndex.from_paths(paths))
    with pytest.raises(UserError, match="Use https://"):
        downloads.add_address(f"{server.url}/file", "Checkpoint")
    downloads.add_address("https://127.0.0.1/a.safetensors", "Checkpoint")
    assert "nothing is fetched from there" in wait_for(downloads, "failed").error
    downloads.stop()


def test_addresses_of_pages_are_understood():
    page = "https://huggingface.co/a/b/blob/main/c.safetensors"
    assert direct_address(page) == "https://huggingface.co/a/b/resolve/main/c.safetensors"
    page = "https://civitai.com/models/12/some-name?modelVersionId=34"
    assert direct_address(page) == "https://civitai.com/api/download/models/34"


def test_a_name_has_an_ending_of_its_kind():
    kinds = make_kind_registry()
    assert check_name("a.pt", kinds.get("VAE")) == "a.pt"
    with pytest.raises(UserError, match="must end in"):
        check_name("a.pt", kinds.get("Checkpoint"))


def test_the_catalogue_is_whole():
    kinds = make_kind_registry()
    entries = read_catalogue()
    assert len({entry.id for entry in entries}) == len(entries) == 15
    for entry in entries:
        check_name(entry.file, kinds.get(entry.kind))
        assert all(
            (url.startswith("https://") and url.endswith(entry.file)) or find_package(url)
            for url in entry.addresses
        )
        assert not entry.config or (ROOT / "configs" / entry.config).is_file()
        assert len(entry.sha256) in (0, 64)
        assert entry.licence


def test_a_proxy_of_the_environment_is_used_but_for_its_exceptions(
    downloads: Downloads, server: FileServer, paths: Paths
):
    proxy = Proxy(server.server_address)
    env = {"HTTPS_PROXY": f"http://me:p%40ss@{proxy.place}", "no_proxy": "localhost, .near.example"}
    found = proxy_of(env)
    assert found is not None
    assert [found.serves(host) for host in ("a.example", "x.near.example", "localhost")] == [
        True,
        False,
        False,
    ]
    downloads.configure(is_allowed=True, proxy=found)
    download = bring(downloads, "http://models.invalid:80/file")  # a name that only the proxy knows
    assert (download.state, download.error) == ("done", "")
    assert (checkpoints(paths) / "a.safetensors").read_bytes() == server.content
    assert proxy.requests == [("models.invalid:80", "Basic bWU6cEBzcw==")]
    download = bring(downloads, "http://10.0.0.1/file", "b.safetensors")
    assert "address of this machine or its network" in download.error
    proxy.shutdown()
    proxy.server_close()


def test_a_proxy_that_is_none_for_http_is_told(downloads: Downloads):
    downloads.configure(is_allowed=True, proxy=proxy_of({"ALL_PROXY": "socks5://u:secret@p:1"}))
    download = bring(downloads, "http://models.invalid/file")
    assert "The proxy 'p:1' of the environment is none for HTTP." in download.error
    assert proxy_of({"no_proxy": "*"}) is None


def test_nothing_is_downloaded_where_the_command_line_forbids_it(
    downloads: Downloads, server: FileServer
):
    waiting = downloads.add_address(f"{server.url}/hold", "Checkpoint", "a.safetensors")
    downloads.pause(waiting.id)
    downloads.configure(is_allowed=False, proxy=None)
    with pytest.raises(UserError, match="--no-downloads"):
        downloads.add_address(f"{server.url}/file", "Checkpoint", "b.safetensors")
    with pytest.raises(UserError, match="--no-downloads"):
        downloads.resume(waiting.id)
    assert "/file" not in [path for path, _ in server.requests]

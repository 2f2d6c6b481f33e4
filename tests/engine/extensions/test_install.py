"""Installing extensions: real folders, hostile zips, and git over HTTP from a server of this test."""

from __future__ import annotations

import functools
import http.server
import io
import os
import stat
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.core.errors import BadFile, NotFound, UserError, WebUIError
from modules.core.paths import Paths
from modules.engine.extensions.archive import unpack_zip
from modules.engine.extensions.clone import check_address, clone, git_environment
from modules.engine.extensions.install import Installer
from modules.engine.extensions.version import folder_version, script_version

CODE = "def register(webui): ...\n"


def make_zip(*entries: tuple[str, str], mode: int = 0) -> io.BytesIO:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, text)
    data.seek(0)
    return data


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_zip_is_installed_under_the_name_of_its_folder(paths: Paths):
    data = make_zip(
        ("loud-main/__init__.py", CODE),
        ("loud-main/.gitignore", "*.pyc"),
        ("loud-main/assets/panel.js", "1"),
        ("loud-main/requirements.txt", "nothing"),
        ("__MACOSX/loud-main/x", ""),
    )
    installed = Installer(paths).install_file("loud-main.zip", data)
    assert installed.name == "loud"
    assert installed.needs.endswith(f'-m pip install -r "{paths.extensions}/loud/requirements.txt"')
    assert names_in(paths.extensions) == [
        "loud",
        "loud/.gitignore",
        "loud/__init__.py",
        "loud/assets",
        "loud/assets/panel.js",
        "loud/requirements.txt",
    ]


def test_a_zip_without_a_folder_and_a_script_have_the_name_of_the_file(paths: Paths):
    installer = Installer(paths)
    assert installer.install_file("C:\\x\\flat.zip", make_zip(("__init__.py", CODE))).name == "flat"
    assert (paths.extensions / "flat" / "__init__.py").is_file()
    assert installer.install_file("one.py", io.BytesIO(CODE.encode())).name == "one.py"
    assert (paths.scripts / "one.py").read_text() == CODE
    with pytest.raises(UserError, match=r"named 'one\.py' already"):
        installer.install_file("one.py", io.BytesIO(CODE.encode()))


LINK = stat.S_IFLNK | 0o777
SECRET = "../" * 9 + "etc/passwd"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (make_zip(("../evil.py", CODE)), "'../evil.py' in the zip is not a name inside a folder."),
        (make_zip(("a/../../evil.py", CODE)), "is not a name inside a folder."),
        (make_zip(("/etc/evil.py", CODE)), "is not a name inside a folder."),
        (make_zip(("C:/evil.py", CODE)), "is not a name inside a folder."),
        (make_zip(("a\\..\\evil.py", CODE)), "is not a name inside a folder."),
        (make_zip(("a/con.py", CODE)), "is not a name inside a folder."),
        (make_zip(("a/dot.", CODE)), "is not a name inside a folder."),
        (make_zip(("a/link", SECRET), mode=LINK), "'a/link' in the zip is a link or a device"),
        (make_zip(("a/__init__.py", CODE), ("A/__init__.py", CODE)), "is in the zip twice."),
        (make_zip(("a/x", ""), ("a/x/y", "")), "cannot be written or moved"),
        (make_zip(("readme.txt", "Hello")), "It has no __init__.py; extensions of A1111's"),
        (make_zip(("__init__.py", "def register(webui)")), "no extension for this program. exp"),
        (make_zip(("__init__.py", "raise SystemExit")), "has no function register(webui)."),
        (io.BytesIO(b"PK\x03\x04 not at all"), "The zip cannot be read: File is not a zip file."),
    ],
)
def test_a_hostile_zip_leaves_nothing_behind(paths: Paths, data: io.BytesIO, sentence: str):
    with pytest.raises(WebUIError) as raised:
        Installer(paths).install_file("evil.zip", data)
    assert sentence in str(raised.value)
    assert names_in(paths.extensions) == []
    assert not (paths.data / "evil.py").exists()


def test_a_zip_is_stopped_where_it_becomes_too_large(tmp_path: Path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/bomb", bytes(5 * 2**20))
    assert len(data.getvalue()) < 2**14
    with pytest.raises(BadFile, match=r"The zip has more than 3 MB; that is no extension\."):
        unpack_zip(data, tmp_path, max_bytes=3 * 2**20)
    assert (tmp_path / "a" / "bomb").stat().st_size <= 3 * 2**20


def test_a_folder_is_copied_and_links_and_its_own_place_are_refused(paths: Paths, tmp_path: Path):
    source = tmp_path / "elsewhere" / "quiet"
    (source / "__pycache__").mkdir(parents=True)
    (source / "__init__.py").write_text(CODE)
    installer = Installer(paths)
    assert installer.install_folder(source).name == "quiet"
    assert names_in(paths.extensions) == ["quiet", "quiet/__init__.py"]
    with pytest.raises(UserError, match="There is an extension named 'quiet' already"):
        installer.install_folder(source)
    linked = tmp_path / "elsewhere" / "linked"
    linked.mkdir()
    (linked / "__init__.py").write_text(CODE)
    (linked / "home").symlink_to(tmp_path)
    with pytest.raises(BadFile, match="'home' in the folder is a link or a device"):
        installer.install_folder(linked)
    for inside in (paths.extensions, paths.data, paths.extensions / "quiet"):
        with pytest.raises(UserError, match="holds the extensions, or is one of them"):
            installer.install_folder(inside)
    with pytest.raises(NotFound, match="There is no folder 'quiet'"):
        installer.install_folder(Path("quiet"))
    assert names_in(paths.extensions) == ["quiet", "quiet/__init__.py"]


def test_what_is_removed_is_kept(paths: Paths):
    installer = Installer(paths)
    installer.install_file("loud.zip", make_zip(("loud/__init__.py", CODE)))
    kept = installer.remove(paths.extensions / "loud")
    assert kept.parent.parent == paths.extensions / ".trash"
    assert (kept / "__init__.py").read_text() == CODE
    assert not (paths.extensions / "loud").exists()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "file://host/share",
        "file:///",
        "repository",
        "ext::sh -c touch% /tmp/evil",
        "https://",
        "--upload-pack=touch /tmp/evil",
        "ssh://-oProxyCommand=touch/x",
        "-oProxyCommand=x@host:path",
        "git@-oProxyCommand=x:path",
        "git://example.org/x",
        "https://example.org/x y",
        "https://example.org/`id`",
        "http::https://example.org/x",
    ],
)
def test_an_address_that_is_none_of_the_web_of_ssh_or_of_a_file_is_refused(address: str):
    with pytest.raises(UserError, match="is no address of a git repository"):
        check_address(address)


def test_addresses_of_the_web_of_ssh_and_of_files_are_accepted():
    assert check_address(" /home/me/my repository ") == "file:///home/me/my%20repository"
    for address in (
        "file:///home/me/repository.git",
        "https://example.org/a/b.git",
        " http://user@127.0.0.1:8080/a~b ",
        "ssh://git@example.org:22/a/b",
        "git@example.org:a/b.git",
    ):
        assert check_address(address) == address.strip()


def run_git(folder: Path, *arguments: str) -> None:
    identity = (
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        "-c",
        "init.defaultBranch=main",
    )
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=env, check=True, capture_output=True
    )


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A repository named `remote.git`, and its address on an HTTP server of this machine."""
    work = tmp_path / "work"
    work.mkdir()
    run_git(work, "init")
    (work / "__init__.py").write_text(CODE)
    (work / "link").symlink_to("/etc/passwd")
    run_git(work, "add", ".")
    run_git(work, "commit", "-m", "one")
    run_git(work, "tag", "v1.5")
    served = tmp_path / "served"
    served.mkdir()
    run_git(tmp_path, "clone", "--bare", str(work), str(served / "remote.git"))
    run_git(served / "remote.git", "update-server-info")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield work, f"http://127.0.0.1:{server.server_address[1]}/remote.git"
        server.shutdown()


def test_a_repository_is_cloned_without_links_hooks_or_prompts(
    paths: Paths, repository: tuple[Path, str]
):
    _, address = repository
    installer, environment = Installer(paths), git_environment(os.environ, None)
    assert installer.install_git(address, environment).name == "remote"
    folder = paths.extensions / "remote"
    assert not (folder / "link").is_symlink()
    assert not (folder / ".git" / "hooks").exists()
    commit = (folder / ".git" / "refs" / "heads" / "main").read_text().strip()
    assert folder_version(folder) in (commit[:8], f"v1.5 ({commit[:8]})")
    with pytest.raises(UserError, match="There is an extension named 'remote' already"):
        installer.install_git(address, environment)
    with pytest.raises(WebUIError, match=r"cannot be cloned\. repository .* not found"):
        installer.install_git(address.replace("remote", "nowhere"), environment)
    assert names_in(paths.extensions)[0] == "remote"


def test_a_repository_of_this_machine_is_cloned_by_its_path(
    paths: Paths, tmp_path: Path, repository: tuple[Path, str]
):
    work, _ = repository
    (work / ".git" / "hooks").mkdir(exist_ok=True)
    moved = work.rename(tmp_path / "my work")
    installer, environment = Installer(paths), git_environment(os.environ, None)
    assert installer.install_git(str(moved), environment).name == "my work"
    assert (paths.extensions / "my work" / "__init__.py").read_text() == CODE
    assert not (paths.extensions / "my work" / "link").is_symlink()
    bare = tmp_path / "served" / "remote.git"
    assert installer.install_git(f"file://{bare}", environment).name == "remote"
    with pytest.raises(
        WebUIError,
        match=r"cannot be cloned\. '.*/served' does not appear to be a git repository\.$",
    ):
        installer.install_git(str(tmp_path / "served"), environment)


def test_git_uses_no_other_protocol_whatever_stands_in_the_address(tmp_path: Path, repository):
    with pytest.raises(WebUIError, match="'git' not allowed"):
        clone("git://127.0.0.1/x", tmp_path / "out", git_environment(os.environ, None))
    assert not (tmp_path / "out").exists()


def test_a_missing_git_and_a_slow_server_are_told_in_words(tmp_path: Path):
    with pytest.raises(WebUIError, match="Git is not installed"):
        clone("https://example.org/x", tmp_path / "out", {"PATH": str(tmp_path)})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
    ) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/slow"  # it never accepts
        with pytest.raises(WebUIError, match=r"was not cloned within 0\.3 s"):
            clone(address, tmp_path / "out", git_environment(os.environ, None), timeout_s=0.3)


def test_versions_are_read_from_files_alone(tmp_path: Path):
    assert folder_version(tmp_path) == ""
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    commit, tag_object = "0123456789" * 4, "f" * 40
    (git / "packed-refs").write_text(
        f"# pack-refs\n{commit} refs/heads/main\n{tag_object} refs/tags/v2\n^{commit}\n"
    )
    assert folder_version(tmp_path) == "v2 (01234567)"
    (git / "HEAD").write_text("ref: refs/heads/../../secret\n")
    assert folder_version(tmp_path) == ""
    (git / "HEAD").write_text(f"{commit}\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.x]\nversion = "9"\n[project]\nversion = "3.1"\n'
    )
    assert folder_version(tmp_path) == "3.1"
    script = tmp_path / "one.py"
    script.write_text('raise SystemExit\n__version__ = "0.4"\n')
    assert script_version(script) == "0.4"
    script.write_text("def (")
    assert script_version(script) == ""

"""The server in its own process, and Chromium to open its page."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Ends after what the page does next: its handlers, and a frame.
NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
]


class Server:
    def __init__(self, data: Path, *args: str, port: int = 0) -> None:
        with socket.socket() as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # the port of a killed server
            probe.bind(("127.0.0.1", port))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.data = data
        self.log = data / "server.log"
        command = [
            sys.executable,
            "-m",
            "modules",
            "--port",
            str(self.port),
            "--data-dir",
            str(data),
        ]
        started = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *args], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        self.wait_until(lambda: "Running on" in self.log.read_text())
        self.start_s = time.monotonic() - started

    def wait_until(self, condition, timeout_s=180) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def state(self) -> str:
        with urllib.request.urlopen(f"{self.url}internal/state", timeout=60) as response:
            return response.read().decode()

    def stop(self) -> tuple[int, float]:
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120), time.monotonic() - started

    def clear_queue(self) -> None:
        """Cancel and resume whatever a failed test left behind, which the next test would wait for."""
        for action in ("cancel", "resume"):
            request = urllib.request.Request(f"{self.url}internal/queue/{action}", b"")
            urllib.request.urlopen(request, timeout=60).close()

    def images(self) -> list[Path]:
        return sorted(self.data.glob("outputs/txt2img-images/*/*.png"))


def open_tab(page, title: str) -> None:
    """Open a tab by its link, and wait until it is mounted."""
    page.click(f".tab-bar a:text-is('{title}')")
    page.wait_for_selector(f".tab-bar a[aria-current=page]:text-is('{title}')")
    page.wait_for_function(
        "(panel) => document.querySelector(panel)?.querySelector('.ui')?.children.length",
        arg=panel_of(title),
    )


def panel_of(title: str) -> str:
    """Return the selector of what a tab shows."""
    return f"#tab_{title.replace(' ', '_')}"


def wait_until_filled(page) -> None:
    page.wait_for_selector("#txt2img_generate[data-filled]", state="attached")


class Traffic:
    """The requests of a page that are not answered yet."""

    def __init__(self, page) -> None:
        self._page, self._pending = page, set()
        page.on("request", lambda request: self._pending.add(request))
        for event in ("requestfinished", "requestfailed"):
            page.on(event, lambda request: self._pending.discard(request))

    def wait_until_quiet(self, timeout_s: float = 60) -> None:
        """Wait until the page has shown what it asked for: two frames without a pending request."""
        deadline, quiet_frames = time.monotonic() + timeout_s, 0
        while quiet_frames < 2:
            assert time.monotonic() < deadline, [request.url for request in self._pending]
            self._page.evaluate(NEXT_FRAME)
            quiet_frames = 0 if self._pending else quiet_frames + 1


def wait_until_kept(page, form: str, name: str, value: object) -> None:
    """Wait until a form has kept a value, which it does a moment after the last change."""
    page.wait_for_function(
        "([form, name, value]) => JSON.parse(sessionStorage.getItem(`webui-form-${form}`))?.[name] === value",
        arg=[form, name, value],
    )


def wait_for_value(page, selector: str, value: str) -> None:
    """Wait until an input element has this value."""
    page.wait_for_function(
        "([selector, value]) => document.querySelector(selector)?.value === value",
        arg=[selector, value],
    )

"""A real browser for tests: Debian's Chromium, headless, driven through its DevTools pipe.

Messages are JSON with a NUL behind them, on the browser's file descriptors 3 and 4; so there is
no port and nothing to install beside the browser itself.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

DEADLINE_S = 60.0
"""Chromium starts ten processes, all at once."""

FLAGS = (
    "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--disable-features=Translate", "--mute-audio",
    "--hide-scrollbars", "--disable-breakpad", "--remote-debugging-pipe",
)  # fmt: skip

PUT_PIPES_AT_3_AND_4 = """\
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for wanted, end in zip((3, 4), ends):
    os.dup2(end, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str:
    """The browser's path. Skips the test if there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        assert "CI" not in os.environ, "CI installs chromium for this"
        pytest.skip("chromium is not installed")
    return found


class Failed(AssertionError):
    """The browser refused, or the page raised."""


class Browser:
    """A Chromium process and its pages."""

    def __init__(self, folder: Path) -> None:
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        command = [find_chromium(), *FLAGS, *sandbox, f"--user-data-dir={folder}", "about:blank"]
        trampoline = [sys.executable, "-c", PUT_PIPES_AT_3_AND_4, str(read_end), str(write_end)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*trampoline, *command], pass_fds=(read_end, write_end), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "XDG_CONFIG_HOME": str(folder)},  # Nothing is left at home.
            )  # fmt: skip
        os.close(read_end)
        os.close(write_end)
        self._log = folder / "log"
        self._buffer = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = monotonic() + DEADLINE_S
        while self._number not in self._answers:
            self._read_some(method, deadline)
        answer = self._answers.pop(self._number)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    @contextmanager
    def page(self, width: int = 1600, height: int = 1000, **media: str) -> Iterator[Page]:
        """A page of its own, with no store shared with others. ``media`` are its preferences, as
        ``prefers_color_scheme="dark"``."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        page.begin()
        page.resize(width, height)
        page.prefer(**media)
        try:
            yield page
        finally:
            del self._pages[page.session]
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def end(self) -> None:
        """End the process and those that it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It ended by itself.
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _read_some(self, waiting_for: str, deadline: float) -> None:
        ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - monotonic()))
        data = os.read(self._read, 1 << 20) if ready else b""
        if not data:
            said = self._log.read_text(errors="replace")[-3000:]
            raise Failed(f"chromium does not answer to {waiting_for}\n{said}")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif message.get("sessionId") in self._pages:
                self._pages[message["sessionId"]].note(message["method"], message["params"])


class Page:
    """One page: what it shows, and what it did."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session
        self.requests: list[str] = []
        """Addresses that it asked for."""
        self.errors: list[str] = []
        """What it said in the console as an error, or did not catch."""

    def begin(self) -> None:
        """Have the browser tell what happens in the page."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol for this page."""
        return self.browser.call(method, self.session, **parameters)

    def note(self, method: str, event: dict[str, Any]) -> None:
        """Keep what an event tells."""
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.errors.append(str(details.get("exception", details).get("description", details)))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.errors.append(str([arg.get("value", arg) for arg in event["args"]]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            entry = event["entry"]
            self.errors.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    def resize(self, width: int, height: int) -> None:
        """The window's size in CSS pixels; narrow ones are phones."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=2 if width < 600 else 1, mobile=width < 600,
        )  # fmt: skip

    def prefer(self, **media: str) -> None:
        """The user's preferences, as ``prefers_color_scheme="dark"``."""
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=url)

    def __call__(self, expression: str) -> Any:
        """The value of a JavaScript expression, as plain data."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise Failed(f"{expression}\n{answer['exceptionDetails']['exception']}")
        return answer["result"].get("value")

    def wait(self, expression: str, timeout: float = DEADLINE_S) -> Any:
        """Look 20 times a second until an expression is true, and return its value."""
        deadline = monotonic() + timeout
        pause = "new Promise((done) => setTimeout(done, 50))"
        while not (value := self(expression)):
            if monotonic() > deadline:
                said = self("document.body.innerText.slice(0, 3000)")
                raise Failed(f"not within {timeout:g} s: {expression}\n{said}\n{self.errors}")
            self(pause)
        return value

    def text(self, selector: str) -> str:
        """What an element shows, or nothing if there is none."""
        found: str = self(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def point(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Move the mouse to a part of an element."""
        left, top, width, height = self(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [box.x, box.y, box.width, box.height] })()"
        )
        self.call(
            "Input.dispatchMouseEvent", type="mouseMoved", x=left + width * x, y=top + height * y
        )

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A picture of the window, or of all of the page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

"""A real browser, spoken to over pipes in the Chrome DevTools Protocol, so that nothing but Chromium is needed."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT_SECONDS = 30  # for what takes a moment; only a hanging test waits so long
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it shows only our own pages, and containers often have no way to shut it in
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
)
# Where the protocol's pipes are in the browser: it reads commands from the first and writes to the second.
PIPE_IN, PIPE_OUT = 3, 4
FIRST_FREE_DESCRIPTOR = 10

# The lowest contrast between a text and what is behind it, as WCAG 2.2 reckons it, and that text.
LOWEST_CONTRAST = """
(() => {
  const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const linear = (value) => value <= 0.04045 * 255 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const background = (element) => {
    for (; element; element = element.parentElement) {
      const found = channels(getComputedStyle(element).backgroundColor);
      if (found.length === 3) return found;
    }
    return [255, 255, 255];
  };
  const seen = [];
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const pair = [channels(getComputedStyle(element).color), background(element)].map(luminance);
    seen.push([(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), element.textContent.trim()]);
  }
  return seen.sort((a, b) => a[0] - b[0])[0];
})()
"""


def find_browser() -> str | None:
    """A Chromium of this machine, if it has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


# What the last lines of a test run say too: conftest.py.
NO_BROWSER = "there is no Chromium on this machine: apt-get install chromium-headless-shell"
needs_browser = pytest.mark.skipif(sys.platform != "linux" or find_browser() is None, reason=NO_BROWSER)

# Chromium says so of every answer that is a refusal.
REFUSED = "Failed to load resource: the server responded with a status of "


class Browser:
    """A running browser with one open page."""

    def __init__(self, profile: Path, *flags: str) -> None:
        ours_in, self._commands = os.pipe()
        self._answers, ours_out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, FIRST_FREE_DESCRIPTOR) for end in (ours_in, ours_out)]
        path = find_browser()
        assert path is not None
        self._pid = os.posix_spawn(
            path,
            [path, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, high[0], PIPE_IN),
                (os.POSIX_SPAWN_DUP2, high[1], PIPE_OUT),
            ],
        )
        for end in (ours_in, ours_out, *high):
            os.close(end)
        self._buffer = b""
        self._last_id = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def _send(self, method: str, **parameters: Any) -> int:
        """Call a method: the number that its answer will have."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return self._last_id

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and wait for what it gives."""
        called = self._send(method, **parameters)
        while (answer := self._read()).get("id") != called:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS
        while b"\0" not in self._buffer:
            assert select.select([self._answers], [], [], deadline - time.monotonic())[0], "the browser says nothing"
            data = os.read(self._answers, 1_000_000)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        if answer.get("method") == "Page.javascriptDialogOpening" and answer["params"]["type"] == "beforeunload":
            self._send("Page.handleJavaScriptDialog", accept=True)  # whoever goes to another page means it
        return answer

    def goto(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def click(self, selector: str) -> None:
        """Click what leads to another page, and wait until that is loaded."""
        self.events.clear()
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait_for("Page.loadEventFired")

    def wait_for(self, event: str) -> None:
        """Wait until an event has been seen since the last page was asked for."""
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self._read())

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, or what it promises."""
        options = {"returnByValue": True, "userGesture": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def show(self, *, width_px: int, dark: bool) -> None:
        """Be a screen of this width, in light or dark."""
        metrics = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def complaints(self) -> list[str]:
        """What the browser found wrong with the last page: breaches of its policy, files that are missing."""
        entries = (event["params"]["entry"] for event in self.events if event.get("method") == "Log.entryAdded")
        return [entry["text"] for entry in entries if entry["level"] in ("warning", "error")]

    def faults(self, origin: str, *, refused: bool = False) -> list[str]:
        """Everything that was wrong with the last page: what the browser complains of, what scripts failed at or wrote
        to the console, and requests to anybody but `origin`. `refused`: the server says no to some of them, as it is
        to."""
        self.run("0")  # reads what has happened
        broken = [
            json.dumps(event["params"])
            for event in self.events
            if event.get("method") == "Runtime.exceptionThrown"
            or (event.get("method") == "Runtime.consoleAPICalled" and event["params"]["type"] in ("warning", "error"))
        ]
        # Chromium draws its own controls from data: addresses; blob: is a file that was picked.
        own = (f"{origin}/", f"blob:{origin}/", "data:")
        foreign = [url for _, url, _ in self.requests() if not url.startswith(own)]
        complaints = [text for text in self.complaints() if not (refused and text.startswith(REFUSED))]
        return [*complaints, *broken, *foreign]

    def requests(self) -> list[tuple[str, str, dict[str, str]]]:
        """Method, address and headers of every request since the last page was asked for."""
        sent = (event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent")
        return [(one["request"]["method"], one["request"]["url"], one["request"]["headers"]) for one in sent]

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._commands)
        os.close(self._answers)


@contextlib.contextmanager
def open_browser(*flags: str) -> Iterator[Browser]:
    """A browser that leaves nothing behind. `flags` are further options of Chromium."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile), *flags)
        try:
            yield browser
        finally:
            browser.close()

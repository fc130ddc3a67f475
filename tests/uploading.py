"""The page that uploads as a person uses it: a browser, a server, and what is on the page."""

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from browser import Browser
from images import make_image
from running import Running, until

from imgpro_lite.errors import ImgProError

PICTURE = make_image("png", 60, 40)
ROWS = """[...document.querySelectorAll(".rows li")].map((row) => {
  const part = (name) => row.querySelector(`[data-part="${name}"]`);
  return {
    state: row.dataset.state,
    name: part("name").textContent,
    says: part("state").textContent,
    problem: part("problem").hidden ? "" : part("problem").textContent,
    text: part("result").hidden ? "" : part("text").value,
    picture: part("picture").hidden ? "" : part("picture").src,
    link: part("action").hidden ? "" : part("action").href,
    again: !part("again").hidden && !part("buttons").hidden,
  };
})"""
# What no page of ours does: an error in a script, or a text of strangers that runs.
WATCH = """
  window.wrongs = [];
  window.alert = window.hacked = () => wrongs.push("something ran");
  addEventListener("error", (event) => event.message && wrongs.push(event.message));
  addEventListener("unhandledrejection", (event) => wrongs.push(String(event.reason)));
"""


class Origin(BaseHTTPRequestHandler):
    """Another site, with a picture at every address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        self.wfile.write(PICTURE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is http.server's)
        """Nothing, where the tests' own output is."""


@dataclass
class Uploader:
    """A browser on the page of a server."""

    browser: Browser
    folder: Path
    url: str = ""

    def open(self, server: Running, url: str = "") -> None:
        """Go to the page, under the address of the server or another of its, and be sure that it listens."""
        self.url = url or server.url
        self.browser.run("try { sessionStorage.removeItem('imgpro-uploads') } catch {}")  # about:blank has none
        self.browser.goto(f"{self.url}/")
        until(lambda: self.browser.run("document.getElementById('upload-files').multiple"))

    def put(self, name: str, content: bytes) -> str:
        """A file of this machine: its path."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def pick(self, *paths: str) -> None:
        """Choose files, as the dialog of the system does."""
        root = self.browser.call("DOM.getDocument")["root"]["nodeId"]
        node = self.browser.call("DOM.querySelector", nodeId=root, selector="#upload-files")["nodeId"]
        self.browser.call("DOM.setFileInputFiles", nodeId=node, files=list(paths))

    def hand_over(self, event: str, files: dict[str, bytes], **texts: str) -> None:
        """Drop or paste files and texts, as far as scripts can."""
        encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
        kind, carrier = ("ClipboardEvent", "clipboardData") if event == "paste" else ("DragEvent", "dataTransfer")
        self.browser.run(f"""(() => {{
          const data = new DataTransfer();
          for (const [name, content] of Object.entries({json.dumps(encoded)})) {{
            const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
            data.items.add(new File([bytes], name, {{type: "image/png"}}));
          }}
          for (const [type, text] of Object.entries({json.dumps(texts)})) data.setData(type, text);
          const options = {{bubbles: true, cancelable: true, {carrier}: data}};
          document.querySelector(".drop").dispatchEvent(new {kind}("{event}", options));
        }})()""")

    def type_into(self, part: str, text: str) -> None:
        """Fill in a field, and leave it."""
        self.browser.run(f"""(() => {{
          const field = document.querySelector('[data-part="{part}"]');
          field.value = {json.dumps(text)};
          field.dispatchEvent(new Event("change", {{bubbles: true}}));
        }})()""")

    def click(self, selector: str) -> None:
        """Click what does not lead to another page."""
        self.browser.run(f"document.querySelector({json.dumps(selector)}).click()")

    def rows(self) -> list[dict[str, Any]]:
        """The uploads as they are shown now."""
        found: list[dict[str, Any]] = self.browser.run(ROWS)
        return found

    def wait(self, count: int) -> list[dict[str, Any]]:
        """The uploads, when so many are there and none is under way."""
        until(lambda: len(self.rows()) == count and all(row["state"] in ("done", "failed") for row in self.rows()))
        return self.rows()

    def text(self, part: str) -> str:
        return str(self.browser.run(f"document.querySelector('[data-part=\"{part}\"]').textContent"))

    def copied(self) -> Any:
        """What is on the clipboard."""
        read = {"expression": "navigator.clipboard.readText()", "awaitPromise": True, "returnByValue": True}
        return self.browser.call("Runtime.evaluate", **read)["result"].get("value")

    def check_quiet(self) -> None:
        """Nothing was wrong with the page, and nobody else was asked for anything."""
        assert self.browser.run("window.wrongs") == []
        assert self.browser.faults(self.url, refused=True) == []

    @contextlib.contextmanager
    def refusing(self, refusal: ImgProError) -> Iterator[None]:
        """Answer the one upload that starts in the block as the server would refuse it."""
        self.browser.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/upload"}])
        yield
        paused = until(self._paused)
        self.browser.call(
            "Fetch.fulfillRequest",
            requestId=paused,
            responseCode=refusal.status,
            responseHeaders=[{"name": name, "value": value} for name, value in refusal.headers.items()],
            body=base64.b64encode(json.dumps(refusal.body()).encode()).decode(),
        )
        self.browser.call("Fetch.disable")

    def _paused(self) -> str | None:
        """The request that waits for an answer."""
        self.browser.run("0")  # reads what has happened
        paused = [event["params"] for event in self.browser.events if event.get("method") == "Fetch.requestPaused"]
        self.browser.events[:] = [one for one in self.browser.events if one.get("method") != "Fetch.requestPaused"]
        return str(paused[0]["requestId"]) if paused else None

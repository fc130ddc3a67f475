"""Requests to `/_dev`."""

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

__tracebackhide__ = True  # pytest then shows the line of the test, and not ours

# The longest wait of the control plane is one for mail, of a minute at most.
ANSWER_SECONDS = 90


class ControlError(Exception):
    """The control plane refused a request. `status` and `answer` are what it said."""

    def __init__(self, request: str, status: int, answer: dict[str, Any]) -> None:
        # The message names some of these reasons too.
        reasons = "".join(f"\n  {name}: {', '.join(texts)}" for name, texts in answer.get("errors", {}).items())
        super().__init__(f"{request}: {status} {answer.get('error', '')}{reasons or ': ' + answer.get('message', '')}")
        self.status = status
        self.answer = answer


class ControlPlane:
    """Of the server at an address such as http://localhost:4647/_dev."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._address = urlsplit(url)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The answer to a GET; what is None is left out of the query. Raises ControlError."""
        asked = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", f"{path}?{urlencode(asked)}" if asked else path)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of the answer, {} where there is none. Raises ControlError, and OSError without an answer."""
        target = self._address.path + path
        content = None if body is None else json.dumps(body).encode()
        # A connection for each: a kept one may have been closed by the server meanwhile, and costs a quarter of a
        # millisecond less.
        connection = http.client.HTTPConnection(self._address.netloc, timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, target, content, self._headers)
            response = connection.getresponse()
            received = response.read()
        answer: dict[str, Any] = json.loads(received) if received else {}
        if response.status >= http.client.BAD_REQUEST:
            raise ControlError(f"{method} {target}", response.status, answer)
        return answer

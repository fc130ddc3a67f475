"""What holds for every answer, whatever was asked."""

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from fuzzing.http1 import Answer, Request

ACTIONS = {"upgrade", "verify", "wait", "redirect"}
BUSY = {"overloaded", "storage_full"}  # the only reasons for a 5xx
# What only the inside knows: stack traces, files of the server, names of libraries and of SQL.
_LEAKS = re.compile(rb'Traceback|File "|\.py\b|site-packages|sqlite3?\.|SELECT |/tmp/|/blobs/|pyvips|VipsForeign')
_PAGES = re.compile(rb"/$|/+(?:dashboard|verify|upgrade|[a-z0-9]{14})(?:/|$)")


def find_faults(request: Request, answer: Answer) -> list[str]:
    """What is wrong with an answer, in words; nothing when all is well."""
    if request.broken:
        return _find_faults_of_refusal(answer)
    if answer.status == 0:
        return ["no answer"]
    faults = []
    if "x-request-id" not in answer.headers:
        faults.append("no X-Request-Id")
    if answer.status >= 400:
        faults += _find_faults_of_error(request, answer)
    elif answer.headers.get("content-type") == "application/json" and request.method != "HEAD":
        faults += _find_faults_of_json(answer.body)
    if not 200 <= answer.status < 500 and answer.status != 503:
        faults.append(f"status {answer.status}")
    return faults


def _find_faults_of_refusal(answer: Answer) -> list[str]:
    """Of what is no HTTP, only harm counts: it may be refused in any words, or answered as what was understood."""
    return [f"status {answer.status}"] * (answer.status >= 500 and answer.status not in (501, 503, 505))


def _find_faults_of_error(request: Request, answer: Answer) -> list[str]:
    faults = []
    if answer.headers.get("cache-control") != "no-store":
        faults.append("an error that may be kept")
    if request.method == "HEAD":
        return faults + ["a HEAD with a body"] * bool(answer.body)
    if leak := _LEAKS.search(answer.body):
        faults.append(f"tells {leak[0]!r}")
    path = unquote_to_bytes(request.target.partition(b"?")[0])
    if _PAGES.match(path) and answer.headers.get("content-type", "").startswith("text/html"):
        return faults
    if answer.headers.get("content-type") != "application/json":
        return [*faults, f"an error as {answer.headers.get('content-type')}"]
    return faults + (_find_faults_of_json(answer.body) or _find_faults_of_shape(answer, json.loads(answer.body)))


def _find_faults_of_json(body: bytes) -> list[str]:
    try:
        json.loads(body, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return ["no JSON"]
    return []


def _find_faults_of_shape(answer: Answer, body: dict[str, Any]) -> list[str]:
    faults = []
    if not (isinstance(body.get("error"), str) and isinstance(body.get("message"), str) and body["message"].strip()):
        faults.append("an error of another shape")
    if answer.status == 422 and body.get("error") == "validation_error" and not body.get("errors"):
        faults.append("422 without errors")
    if "action" in body and body["action"].get("type") not in ACTIONS:
        faults.append("an unknown action")
    if answer.status in (429, 503) and not answer.headers.get("retry-after", "").isdigit():
        faults.append(f"{answer.status} without Retry-After")
    if answer.status == 503 and body.get("error") not in BUSY:
        faults.append(f"503 {body.get('error')}")
    if answer.status == 405 and "allow" not in answer.headers:
        faults.append("405 without Allow")
    return faults

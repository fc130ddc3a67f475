"""Code examples of a request, for people to copy: curl, Python and JavaScript, all of the same call."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

API_KEY = "YOUR_API_KEY"  # what stands in examples for the reader's own

# How a language writes what JSON writes as true, false and null.
_JSON_WORDS: Mapping[str, str] = {}
_PYTHON_WORDS: Mapping[str, str] = {"true": "True", "false": "False", "null": "None"}

_WIDTH_CHARS = 80  # of a line of code, so that most screens need no scrolling


@dataclass(frozen=True)
class Call:
    """One request, as an example of the document tells it."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    """The fields of a form; `file` is the path of the file."""
    saved_as: str | None = None
    """The name of the file that the answer is saved as; None for JSON, which is shown."""
    is_silent: bool = False
    """Whether there is nothing in the answer."""


def call(
    document: Mapping[str, Any],
    method: str,
    path: str,
    operation: Mapping[str, Any],
    api_key: str,
    example: str | None = None,
) -> Call:
    """The call of an operation, with one of the examples of its request, by default the first."""
    parameters = [*document["paths"][path].get("parameters", []), *operation.get("parameters", [])]
    given = {one["name"]: one["example"] for one in parameters if "example" in one}
    query = {one["name"]: one["example"] for one in parameters if one["in"] == "query" and "example" in one}
    server = document["paths"][path].get("servers", document["servers"])[0]["url"]
    url = server + path.format_map(given) + (f"?{urlencode(query, safe=',')}" if query else "")
    kind, value, anonymous = _body(operation, example)
    security = operation.get("security", document["security"])
    has_key = any(security) and not anonymous
    headers = {"Authorization": f"Bearer {api_key}"} if has_key else {}
    if kind == "multipart/form-data":
        return Call(method, url, headers, form=value)
    answered = next(iter(operation["responses"].values())).get("content", {})
    if not answered:
        return Call(method, url, headers, json=value, is_silent=True)
    saved_as = operation.get("x-saved-as") or f"photo.{given.get('extension')}"
    return Call(method, url, headers, json=value, saved_as=None if "application/json" in answered else saved_as)


def _body(operation: Mapping[str, Any], example: str | None) -> tuple[str | None, Any, bool]:
    """The kind of body of an example, its value, and whether it is sent without a key."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        found = content["examples"][example or next(iter(content["examples"]))]
        return kind, found["value"], found.get("x-anonymous", False)
    return None, None, False


def write(call: Call) -> Iterator[tuple[str, str, str]]:
    """The call as code: (language, its name for people, the code)."""
    yield "sh", "curl", _curl(call)
    yield "python", "Python", _python(call)
    yield "javascript", "JavaScript", _javascript(call)


def _quote(text: str) -> str:
    """A word of a shell; in quotes of the kind that needs the least."""
    return "'" + text.replace("'", "'\\''") + "'" if set(text) & set("'\"\\ $`!&?*{}[];<>|()#~\n") else text


def _curl(call: Call) -> str:
    method = "" if call.method == "GET" or (call.method == "POST" and _has_body(call)) else f" -X {call.method}"
    target = f" -o {call.saved_as}" if call.saved_as else ""
    lines = [f"curl{method}{target} {_quote(call.url)}"]
    lines += [f'-H "{name}: {value}"' for name, value in call.headers.items()]
    if call.json is not None:
        lines += ['-H "Content-Type: application/json"', f"-d {_quote(layout(call.json, _JSON_WORDS, '  '))}"]
    for name, value in (call.form or {}).items():
        lines.append(f"-F {_quote(f'{name}=@{value}' if name == 'file' else f'{name}={value}')}")
    return " \\\n  ".join(lines)


def _has_body(call: Call) -> bool:
    return call.json is not None or call.form is not None


def _python(call: Call) -> str:
    arguments = [json.dumps(call.url)]
    if call.headers:
        arguments.append(f"headers={layout(dict(call.headers), _PYTHON_WORDS)}")
    if call.json is not None:
        arguments.append(f"json={layout(call.json, _PYTHON_WORDS, '    ')}")
    fields = {name: value for name, value in (call.form or {}).items() if name != "file"}
    if call.form is not None:
        arguments.append(f'files={{"file": open({json.dumps(call.form["file"])}, "rb")}}')
    if fields:
        arguments.append(f"data={layout(fields, _PYTHON_WORDS, '    ')}")
    shown = f"print(answer.{'status_code' if call.is_silent else 'json()'})"
    if call.saved_as:
        shown = f'open("{call.saved_as}", "wb").write(answer.content)'
    inside = "".join(f"    {argument},\n" for argument in arguments)
    return f"import requests\n\nanswer = requests.{call.method.lower()}(\n{inside})\n{shown}"


def layout(value: Any, words: Mapping[str, str] = _JSON_WORDS, indent: str = "") -> str:
    """A value as code: in one line where that is short, else one entry a line. `words` are those that JSON lacks."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list):
        return words.get(text, text)
    inner = indent + "    "
    if isinstance(value, dict):
        entries = [f"{json.dumps(name)}: {layout(one, words, inner)}" for name, one in value.items()]
    else:
        entries = [layout(one, words, inner) for one in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    if len(text) < _WIDTH_CHARS:
        return opening + ", ".join(entries) + closing
    return f"{opening}\n{inner}" + f",\n{inner}".join(entries) + f"\n{indent}{closing}"


def _javascript(call: Call) -> str:
    lines, options = [], [f"method: {json.dumps(call.method)}"] if call.method != "GET" else []
    headers = dict(call.headers)
    if call.form is not None:
        lines.append('import { openAsBlob } from "node:fs"; // in a browser: input.files[0]\n')
        lines.append("const form = new FormData();")
        for name, value in call.form.items():
            path = json.dumps(value, ensure_ascii=False)
            content = f"await openAsBlob({path}), {path}" if name == "file" else path
            lines.append(f"form.append({json.dumps(name)}, {content});")
        options.append("body: form")
    if call.json is not None:
        headers["Content-Type"] = "application/json"
        options.append(f"body: JSON.stringify({layout(call.json, _JSON_WORDS, '  ')})")
    if headers:
        options.insert(1 if call.method != "GET" else 0, f"headers: {json.dumps(headers)}")
    inside = "".join(f"  {option},\n" for option in options)
    settings = f", {{\n{inside}}}" if options else ""
    lines.append(f"const answer = await fetch({json.dumps(call.url)}{settings});")
    if not call.is_silent:
        lines.append(f"const {'picture = await answer.blob()' if call.saved_as else 'result = await answer.json()'};")
    return "\n".join(lines)

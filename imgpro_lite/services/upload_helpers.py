"""Ready-made configuration of other people's programs, so that their screenshots and pictures are uploaded here."""

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

FILE_FIELD = "file"

# From this version on ShareX writes functions as {json:src}; in older files it would look for $json:src$ (its
# CustomUploaderItem.CheckBackwardCompatibility).
SHAREX_VERSION = "15.0.0"
# What has a meaning in the texts of ShareX: functions, their arguments, its own escape, and %y for the year.
_SHAREX_SYNTAX = re.compile(r"[\\{}|%]")
_CURL_SYNTAX = re.compile(r'[\\"]')


@dataclass(frozen=True)
class UploadTarget:
    """Where a program uploads to: the address of the API without a slash at its end, a key if there is one, and what
    every picture gets, such as `tags`."""

    api_url: str
    key: str | None = None
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def upload_url(self) -> str:
        return f"{self.api_url}/v1/upload"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


@dataclass(frozen=True)
class UploadHelper:
    """A program that uploads: what it is called, what to do with its configuration, and the usual name of that file."""

    name: str
    label: str
    purpose: str
    file_name: str
    is_script: bool
    text: Callable[[UploadTarget], str]


def upload_helpers() -> dict[str, UploadHelper]:
    """Every program that there is configuration for, by name."""
    helpers = [
        UploadHelper(
            "sharex",
            "ShareX",
            "Windows. Save it as imgpro.sxcu and double-click it; ShareX then offers it as image uploader.",
            "imgpro.sxcu",
            False,
            sharex,
        ),
        UploadHelper(
            "flameshot",
            "Flameshot",
            "Linux. Flameshot has no uploaders of one's own, so this is a script around it: save it as "
            "~/.local/bin/imgpro-screenshot, make it executable, and bind it to a key in the settings of your desktop.",
            "imgpro-screenshot",
            True,
            flameshot,
        ),
        UploadHelper(
            "picgo",
            "PicGo",
            "Windows, macOS, Linux, and the editors that use PicGo. Install its plugin web-uploader, then put this "
            "into its config.json (~/.picgo/config.json for the command, the data folder for the program).",
            "config.json",
            False,
            picgo,
        ),
        UploadHelper(
            "curl",
            "curl",
            "Any terminal. Save it as imgpro.curlrc, then: curl -K imgpro.curlrc -F file=@photo.jpg",
            "imgpro.curlrc",
            False,
            curl,
        ),
    ]
    return {helper.name: helper for helper in helpers}


def sharex(target: UploadTarget) -> str:
    """A custom uploader of ShareX (.sxcu). Its DeletionURL is a page to open, which a deletion with a key cannot be."""
    arguments = {name: _sharex_text(value) for name, value in target.fields.items()}
    uploader = {
        "Version": SHAREX_VERSION,
        "Name": f"imgpro-lite ({urlsplit(target.api_url).netloc})",
        "DestinationType": "ImageUploader",
        "RequestMethod": "POST",
        "RequestURL": target.upload_url,
        **({"Headers": target.headers} if target.headers else {}),
        "Body": "MultipartFormData",
        **({"Arguments": arguments} if arguments else {}),
        "FileFormName": FILE_FIELD,
        "URL": "{json:src}",
        "ThumbnailURL": "{json:src}?size=s",
        "ErrorMessage": "{json:message}",
    }
    return _json(uploader)


def _sharex_text(text: str) -> str:
    return _SHAREX_SYNTAX.sub(r"\\\g<0>", text)


def picgo(target: UploadTarget) -> str:
    """The configuration of PicGo with its plugin web-uploader, whose headers and fields are JSON within the JSON."""
    uploader = {
        "url": target.upload_url,
        "paramName": FILE_FIELD,
        "jsonPath": "src",
        "customHeader": json.dumps(target.headers) if target.headers else "",
        "customBody": json.dumps(target.fields, ensure_ascii=False) if target.fields else "",
    }
    beds = {"uploader": "web-uploader", "current": "web-uploader", "web-uploader": uploader}
    return _json({"picBed": beds, "picgoPlugins": {"picgo-plugin-web-uploader": True}})


def curl(target: UploadTarget) -> str:
    """A file for `curl --config`: everything but the picture."""
    lines = ["silent", "show-error", f"url = {_curl_text(target.upload_url)}"]
    lines += [f"header = {_curl_text(f'{name}: {value}')}" for name, value in target.headers.items()]
    lines += [f"form-string = {_curl_text(f'{name}={value}')}" for name, value in target.fields.items()]
    return "\n".join(lines) + "\n"


def _curl_text(text: str) -> str:
    return '"' + _CURL_SYNTAX.sub(r"\\\g<0>", text) + '"'


_FLAMESHOT = textwrap.dedent(
    """\
    #!/bin/sh
    # Takes a screenshot with Flameshot, uploads it, and puts the address of the picture on the clipboard.
    # It needs curl, and for the clipboard wl-copy (Wayland), xclip or xsel.
    set -eu
    umask 077
    picture=$(mktemp)
    trap 'rm -f "$picture"' EXIT

    tell() {
        printf '%s\\n' "$1"
        if command -v notify-send > /dev/null; then notify-send --app-name=Flameshot "$1" || true; fi
    }

    flameshot gui --raw > "$picture" || exit 0
    # Older versions end well when nothing was taken, and write words instead of a PNG.
    [ "$(head -c 4 "$picture" | tail -c 3)" = PNG ] || exit 0

    # The key is not among the arguments, where every user of this machine could read it.
    name="screenshot-$(date +%Y-%m-%d-%H%M%S).png"
    answer=$(curl --config - --form "file=@$picture;filename=$name" << 'END_OF_CURL_CONFIG' || true
    @CURL@END_OF_CURL_CONFIG
    )
    address=$(printf '%s' "$answer" | sed -n 's/.*"src": *"\\([^"]*\\)".*/\\1/p')
    if [ -z "$address" ]; then
        reason=$(printf '%s' "$answer" | sed -n 's/.*"message": *"\\([^"]*\\)".*/\\1/p')
        tell "The screenshot was not uploaded. ${reason:-The server does not answer.}"
        exit 1
    fi
    if [ -n "${WAYLAND_DISPLAY:-}" ] && command -v wl-copy > /dev/null; then
        printf '%s' "$address" | wl-copy
    elif command -v xclip > /dev/null; then
        printf '%s' "$address" | xclip -selection clipboard > /dev/null
    elif command -v xsel > /dev/null; then
        printf '%s' "$address" | xsel --input --clipboard
    fi
    tell "$address"
    """
)


def flameshot(target: UploadTarget) -> str:
    """A script that takes a screenshot with Flameshot and uploads it with curl."""
    return _FLAMESHOT.replace("@CURL@", curl(target))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

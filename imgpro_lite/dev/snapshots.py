"""The control plane's reset, and its named snapshots of the whole library."""

import asyncio
import re
from pathlib import Path
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.bodies import Fields, parse
from imgpro_lite.dev import state
from imgpro_lite.dev.clock import describe
from imgpro_lite.dev.control import control
from imgpro_lite.errors import NotFound, ValidationFailed
from imgpro_lite.store.snapshot_files import Snapshot, find_snapshot, list_snapshots, remove_snapshot
from imgpro_lite.web.requests import read_json_object, runtime
from imgpro_lite.web.responses import JsonAnswer

_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")


class Reset(Fields):
    """The body of POST /_dev/reset."""

    seed: bool = Field(True)


class Restore(Fields):
    """The body of POST /_dev/snapshots/{name}/restore."""

    clock: bool = Field(True)


async def reset(request: Request) -> JsonAnswer:
    """POST /_dev/reset"""
    wanted = parse(Reset, await read_json_object(request, empty_ok=True))
    rt, turned = runtime(request), control(request)
    baseline = await state.reset(rt, turned, seed=wanted.seed)
    return JsonAnswer({"images": baseline.about.images, "clock": describe(turned.clock)})


async def get_snapshots(request: Request) -> JsonAnswer:
    """GET /_dev/snapshots"""
    found = await asyncio.to_thread(list_snapshots, state.dev_dir_of(runtime(request)).snapshots)
    return JsonAnswer({"snapshots": [_present(snapshot) for snapshot in found]})


async def put_snapshot(request: Request) -> JsonAnswer:
    """PUT /_dev/snapshots/{name}"""
    folder = _folder(request)
    is_new = find_snapshot(folder) is None
    snapshot = await state.take(runtime(request), control(request), folder)
    return JsonAnswer(_present(snapshot), 201 if is_new else 200)


async def restore_snapshot(request: Request) -> JsonAnswer:
    """POST /_dev/snapshots/{name}/restore"""
    wanted = parse(Restore, await read_json_object(request, empty_ok=True))
    snapshot = get(_folder(request))
    await state.restore(runtime(request), control(request), snapshot, with_clock=wanted.clock)
    return JsonAnswer(_present(snapshot) | {"clock": describe(control(request).clock)})


async def delete_snapshot(request: Request) -> Response:
    """DELETE /_dev/snapshots/{name}"""
    folder = _folder(request)
    async with control(request).traffic.held():  # it may be the one that is being restored
        get(folder)
        await asyncio.to_thread(remove_snapshot, folder)
    return Response(status_code=204)


def _folder(request: Request) -> Path:
    return folder_of(request, request.path_params["name"])


def folder_of(request: Request, name: str) -> Path:
    """Where a snapshot of this name is, if there is one. Raises ValidationFailed."""
    if not _NAME.fullmatch(name):
        message = (
            "must be 1 to 64 small letters, digits, dots, hyphens and underscores, and begin with a letter or digit"
        )
        raise ValidationFailed({"name": [message]})
    return state.dev_dir_of(runtime(request)).snapshots / name


def get(folder: Path) -> Snapshot:
    """The snapshot in a folder. Raises NotFound."""
    snapshot = find_snapshot(folder)
    if snapshot is None:
        raise NotFound(f"There is no snapshot {folder.name}.")
    return snapshot


def _present(snapshot: Snapshot) -> dict[str, Any]:
    about = snapshot.about
    return {
        "name": snapshot.name,
        "created_at": about.created_at,
        "offset_seconds": about.offset_seconds,
        "images": about.images,
    }

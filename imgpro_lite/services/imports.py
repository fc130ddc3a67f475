"""Images from URLs: fetched into the same spool as an upload, and from there on the same."""

import logging

from imgpro_lite.errors import FetchFailed
from imgpro_lite.fetching import urls
from imgpro_lite.models import Caller
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import uploads
from imgpro_lite.store.spool import Spool, SpooledFile

log = logging.getLogger("imgpro_lite.imports")


async def fetch_image(rt: Runtime, caller: Caller, url: str, spool: Spool, request_id: str) -> SpooledFile:
    """The file that a URL leads to, as large as this caller may upload. The log has the reason of a failure under the
    id of the request.

    Raises FetchFailed, FileTooLarge, UnsupportedFormat, Overloaded, StorageFull.
    """
    limit_bytes = uploads.file_limit_bytes(rt.settings, caller)
    try:
        async with rt.fetcher.open(url, caller.subject) as answer:
            uploads.check_size(rt.settings, answer.declared_bytes, b"", limit_bytes)
            while piece := await answer.read():
                spool.feed(piece)
                uploads.check_size(rt.settings, spool.size_bytes, spool.head, limit_bytes)
                await spool.flush_if_needed()
    except FetchFailed as failure:
        # The operator may know the true reason. Of the URL only the host: the rest may be a secret of the caller's.
        extra = {"host": _host(url), "reason": failure.reason, "request_id": request_id}
        log.info("an import failed", extra=extra)
        raise
    return await spool.finish()


def _host(url: str) -> str:
    """The host of a URL for the log; nothing where the URL is not one that could be asked."""
    try:
        return urls.host_of(urls.parse_url(url))
    except FetchFailed:
        return ""


def file_name(url: str) -> str:
    """What an image is called where its caller says nothing: the last segment of the URL that was asked for, which is
    what the caller knows, and not of the one that redirects led to."""
    return urls.file_name(url)

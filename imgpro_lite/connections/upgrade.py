"""Reading the body of a request that asks for another protocol beside, as Java's client does with every one.

A server may ignore `Upgrade` and answer as if it were not there (RFC 9110, 7.8). llhttp does not: for it such a request
ends with its head. So its body, and what follows on the connection, is read by another parser, which is made to believe
that it has just seen the head.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from imgpro_lite.connections.head import Headers

_FRAMING = (b"content-length", b"transfer-encoding")


def body_parser(protocol: HttpToolsProtocol, headers: Headers) -> httptools.HttpRequestParser:
    """A parser that goes on with the body of a request with these headers, which are good."""
    callbacks = _Callbacks(protocol)
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it, for what is pipelined
    framing = b"".join(b"%s: %s\r\n" % (name, value) for name, value in headers if name in _FRAMING)
    parser.feed_data(b"POST / HTTP/1.1\r\nhost: localhost\r\n%s\r\n" % framing)
    callbacks.is_heard = True
    return parser


class _Callbacks:
    """The protocol, which hears nothing of the head that is only pretended."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self.is_heard = False

    def on_message_begin(self) -> None:
        if self.is_heard:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.is_heard:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_heard:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.is_heard:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._protocol.on_message_complete()

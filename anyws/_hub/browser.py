"""The browser's end of a hub, `anyws.js`, as an ASGI application that serves it."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_SCRIPT: Final = Path(__file__).with_name("anyws.js")


class BrowserClient:
    """Serves `anyws.js`, the browser's end of a hub, as an ASGI application.

    `anyws.browser_client` is one, for a route of Starlette or FastAPI:

        app.add_route("/anyws.js", anyws.browser_client)

    The script reopens a lost connection, resumes by position, and tells the page about
    gaps. Its first lines explain how to use it. It is read from the package once.
    """

    @cached_property
    def _script(self) -> tuple[bytes, str]:
        script = _SCRIPT.read_bytes()
        return script, f'"{sha256(script).hexdigest()[:32]}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the script, or with 304 or 405.

        Cancellation:
            Ends the wait for the server's `send`.
        Source: ASGI "http"; RFC 9110 section 13.1.2.
        """
        request = Request(scope)
        script, tag = self._script
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.method not in ("GET", "HEAD"):
            response = Response(None, 405, {"allow": "GET, HEAD"})
        elif request.headers.get("if-none-match") == tag:
            response = Response(None, 304, headers)
        else:
            response = Response(script, 200, headers, "text/javascript; charset=utf-8")
        await response(scope, receive, send)


browser_client: Final = BrowserClient()

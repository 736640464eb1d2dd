"""The verbs that answer the opening handshake, at the server's end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import StateT
from starlette.responses import Response
from starlette.websockets import WebSocket as StarletteWebSocket

from .._values.events import BEARER, has_responses, token_in, token_of
from .._values.states import ACCEPT, CONNECTED, CONNECTING

# Over HTTP/2 a success accepts the WebSocket (RFC 8441 section 5).
_REJECTIONS: Final = range(300, 600)

# The key of the scope that says whether the application has looked at the token. It
# stands there for all objects of one connection.
_TOKEN_TAKEN: Final = "anyws.token_taken"


class HandshakeVerbs(StarletteWebSocket[StateT]):
    """The methods that accept a client, reject it, or look at what it offers."""

    @property
    def _offered(self) -> list[str]:
        return self.scope.get("subprotocols") or []

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Complete the opening handshake.

        Receives `websocket.connect` first unless the application has done so.

        Args:
            subprotocol: One of the client's offers (`scope["subprotocols"]`). After
                `bearer_token()` has found a token among these, `None` stands for
                `"bearer"`.
            headers: Additional headers of the response; names are sent in lower case.
        Raises:
            TypeError: The headers are not pairs of bytes.
            ValueError: The subprotocol was not offered, or a header must not be set.
                Nothing was sent: accept again, or close.
            ConnectionClosed: Guarded: the client has gone already.
            RuntimeError: The handshake was answered already.
        Cancellation:
            Guarded: all or nothing, and `application_state` says which. Plain: the
                server's send may or may not have happened, and the state is CONNECTED.
        Source: RFC 6455 section 4.2.2; ASGI "websocket.accept".
        """
        if self.scope.get(_TOKEN_TAKEN):
            subprotocol = _selected(subprotocol, token_in(self._offered))
        if self.client_state is CONNECTING:
            await self.receive()
        await self.send(
            {"type": ACCEPT, "subprotocol": subprotocol, "headers": list(headers or [])}
        )

    async def send_denial_response(self, response: Response) -> None:
        """Answer the opening handshake with an HTTP response.

        Args:
            response: A Starlette response, called as an application.
        Raises:
            RuntimeError: The server has no denial responses (`close()` gives 403), or
                the handshake was answered already.
        Cancellation:
            Guarded, each event of the response is sent whole or not at all. Plain, the
            server's `send` is cancelled.
        Source: ASGI "websocket.http.response".
        """
        if not has_responses(self.scope):
            raise RuntimeError(
                "The server doesn't support the Websocket Denial Response extension."
            )
        await response(self.scope, self.receive, self.send)

    async def reject(
        self,
        status: int = 403,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the opening handshake with an HTTP response that rejects the client.

        Receives `websocket.connect` first unless the application has done so. Where the
        server has no denial responses, the client gets a 403 without the body and the
        headers. Does nothing if the client has gone, or is rejected already.

        Args:
            status: The status of the response, 300 to 599.
            body: The response's body; a text is sent as `text/plain` in UTF-8.
            headers: Headers of the response, as a mapping.
        Raises:
            RuntimeError: The connection is accepted: `close()` ends it.
            TypeError, ValueError: The response must not be sent, and was not: another
                status, say, or a header that only the server sets.
        Cancellation:
            Guarded, each event of the response is sent whole or not at all. Plain, the
            server's `send` is cancelled.
        Source: ASGI "websocket.http.response", "websocket.close".
        """
        response = _response(status, body, headers)
        if self.application_state is CONNECTED:
            raise RuntimeError(
                "reject() answers an opening handshake, and this connection is "
                "accepted already: use close()"
            )
        try:
            if self.client_state is CONNECTING:
                await self.receive()
            if self.application_state is CONNECTING and has_responses(self.scope):
                await response(self.scope, self.receive, self.send)
            else:
                await self.close(1008)
        except OSError:
            pass  # there is no client to answer

    def bearer_token(self) -> str | None:
        """Return the token that the client authenticates itself by, if it sends one.

        A program sends it in a header, `Authorization: Bearer TOKEN`; the scheme may be
        in any case. A page can add no header to its opening handshake, and a token in
        the URL is logged: so it sends `new WebSocket(url, ["bearer", token])`, and the
        first subprotocol behind `"bearer"` is the token. The header counts first.

        Once this was called and a token is among the subprotocols, `accept()` selects
        `"bearer"` unless it is given another subprotocol, as a browser needs one of its
        offers in the answer; and it refuses the token itself, which would be sent back.
        That holds for every `anyws.WebSocket` of the connection: a dependency may look
        at the token, and a handler accept.

        The token is only read: check it before `accept()`.

        Source: RFC 6750 section 2.1.
        """
        offered = token_in(self._offered)
        if offered is not None:
            self.scope[_TOKEN_TAKEN] = True
        return token_of(self.headers.get("authorization")) or offered


def _response(
    status: int, body: str | bytes | None, headers: Mapping[str, str] | None
) -> Response:
    """Return the response; raise TypeError or ValueError for invalid arguments."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status must be an int, not {type(status).__name__}")
    if status not in _REJECTIONS:
        raise ValueError(f"status {status} does not reject: use one of 300 to 599")
    if body is not None and not isinstance(body, str | bytes):
        raise TypeError(f"body must be str or bytes, not {type(body).__name__}")
    if headers is not None and not isinstance(headers, Mapping):
        raise TypeError(
            "headers must be a mapping of names to values, as {'retry-after': '3'}, "
            f"not {type(headers).__name__}"
        )
    is_text = isinstance(body, str)
    return Response(body, status, headers, "text/plain" if is_text else None)


def _selected(subprotocol: str | None, token: str | None) -> str:
    """Return the subprotocol for the answer to a client that offers a token.

    Raises:
        ValueError: It is the token.
    """
    if subprotocol == token:
        raise ValueError(
            "the subprotocol is the client's token, which must not be sent back: "
            f"leave it out, or accept {BEARER!r}"
        )
    return BEARER if subprotocol is None else subprotocol

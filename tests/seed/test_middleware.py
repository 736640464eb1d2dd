"""Rows S-04, S-05 and S-130 to S-137: exceptions and middleware around our class."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    requires,
)
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect

import anyws

from ..support import seed
from ..support.seed import ACCEPT, CONNECT, Client, Codec, Plain, row, scope_of

client, ours, substituted = seed.client, seed.ours, seed.substituted
pytestmark = pytest.mark.usefixtures("ours")

Endpoint = Callable[[Any], Awaitable[None]]


class OddityError(LookupError):
    """An error of the application's own."""


def raising(error: Exception, *, accepting: bool) -> Endpoint:
    """Return an endpoint that raises, before or after it has accepted."""

    async def endpoint(websocket: StarletteWebSocket) -> None:
        if accepting:
            await websocket.accept()
        raise error

    return endpoint


async def greet(websocket: StarletteWebSocket) -> None:
    """Say to a client that was let through which class speaks, and close."""
    await websocket.accept()
    await websocket.send_text(str(isinstance(websocket, anyws.WebSocket)))
    await websocket.close()


def app_of(endpoint: Any, *middleware: Middleware, **kwargs: Any) -> Starlette:
    """Return an application of one endpoint."""
    routes = [WebSocketRoute("/", endpoint)]
    return Starlette(routes=routes, middleware=middleware, **kwargs)


def greeted(test_client: Any, **kwargs: Any) -> bool:
    """Connect and return whether our class was what answered."""
    with test_client.websocket_connect("/", **kwargs) as peer:
        return bool(peer.receive_text() == "True")


AS_FUNCTION_AND_OBJECT = pytest.mark.parametrize(
    "made", [row("function", lambda function: function), row("object", Plain)]
)
BEFORE_AND_AFTER = pytest.mark.parametrize(
    "accepting", [row("before-accept", False), row("accepted", True)]
)


# S-130 to S-134. Exceptions.


@AS_FUNCTION_AND_OBJECT
@BEFORE_AND_AFTER
@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        row("S-04", WebSocketException(4000, "bye"), 4000, "bye"),
        row("S-04-no-reason", WebSocketException(1008), 1008, ""),
        row("S-05", fastapi.WebSocketException(4000, "bye"), 4000, "bye"),
    ],
)
def test_a_websocket_exception_closes(
    client: Client,
    made: Callable[[Endpoint], Any],
    accepting: bool,
    error: Exception,
    code: int,
    reason: str,
) -> None:
    """S-130: the peer gets its code and reason, and it does not reach the server."""
    app = app_of(made(raising(error, accepting=accepting)))
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client(app).websocket_connect("/") as peer,
    ):
        peer.receive_text()
    assert (caught.value.code, caught.value.reason) == (code, reason)


@AS_FUNCTION_AND_OBJECT
@BEFORE_AND_AFTER
@pytest.mark.parametrize("handled", [OddityError, LookupError])
def test_a_handler_of_the_application_closes(
    client: Client,
    made: Callable[[Endpoint], Any],
    accepting: bool,
    handled: type[Exception],
) -> None:
    """S-130: it is found by the error's bases; it gets our class and the error."""
    error, seen = OddityError("odd"), []

    async def handler(websocket: Any, error: Exception) -> None:
        seen.append((isinstance(websocket, anyws.WebSocket), error))
        await websocket.close(4001, str(error))

    app = app_of(
        made(raising(error, accepting=accepting)),
        exception_handlers={handled: handler},
    )
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client(app).websocket_connect("/") as peer,
    ):
        peer.receive_text()
    assert (caught.value.code, caught.value.reason) == (4001, "odd")
    assert seen == [(True, error)]


@AS_FUNCTION_AND_OBJECT
def test_a_handler_of_the_application_answers(
    client: Client, made: Callable[[Endpoint], Any]
) -> None:
    """S-130: the response that a handler returns is sent as a denial."""

    async def handler(websocket: object, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(str(error), 409)

    app = app_of(
        made(raising(OddityError("odd"), accepting=False)),
        exception_handlers={OddityError: handler},
    )
    with pytest.raises(WebSocketDenialResponse) as caught:
        client(app).websocket_connect("/").__enter__()
    assert (caught.value.status_code, caught.value.text) == (409, "odd")


@AS_FUNCTION_AND_OBJECT
def test_an_http_exception_before_accept_is_a_denial(
    client: Client, made: Callable[[Endpoint], Any]
) -> None:
    """S-131: its status, headers and detail reach the client."""
    error = HTTPException(402, "pay", {"x-price": "1"})
    app = app_of(made(raising(error, accepting=False)))
    with pytest.raises(WebSocketDenialResponse) as caught:
        client(app).websocket_connect("/").__enter__()
    assert (caught.value.status_code, caught.value.text) == (402, "pay")
    assert caught.value.headers["x-price"] == "1"


@AS_FUNCTION_AND_OBJECT
def test_an_http_exception_after_accept_goes_past_a_plain_websocket(
    client: Client, made: Callable[[Endpoint], Any]
) -> None:
    """S-132: Starlette sends its response to the server itself; ours is not asked."""
    app = app_of(made(raising(HTTPException(402), accepting=True)))
    with client(app).websocket_connect("/") as peer:
        assert peer.receive()["type"] == "websocket.http.response.start"


def test_an_http_exception_after_accept_under_our_middleware(client: Client) -> None:
    """S-132, deviation: there the response becomes a close, and the server is calm."""
    app = app_of(raising(HTTPException(402), accepting=True))
    with client(anyws.WebSocketMiddleware(app)).websocket_connect("/") as peer:
        assert peer.receive() == {
            "type": "websocket.close",
            "code": 1008,
            "reason": "Payment Required",
        }


@AS_FUNCTION_AND_OBJECT
@BEFORE_AND_AFTER
async def test_an_error_that_nobody_handles_reaches_the_server(
    made: Callable[[Endpoint], Any], accepting: bool
) -> None:
    """S-133: plain, it goes on as it is, and nothing is sent for it."""
    error, wire = OddityError(), Codec(CONNECT)
    app = app_of(made(raising(error, accepting=accepting)))
    with pytest.raises(OddityError) as caught:
        await app(scope_of(), wire.receive, wire.send)
    assert caught.value is error
    assert wire.sent == [ACCEPT] * accepting


@AS_FUNCTION_AND_OBJECT
@BEFORE_AND_AFTER
async def test_a_return_closes_nothing(
    made: Callable[[Endpoint], Any], accepting: bool
) -> None:
    """S-134: plain, what follows is the server's choice."""
    wire = Codec(CONNECT)

    async def endpoint(websocket: anyws.WebSocket) -> None:
        if accepting:
            await websocket.accept()

    await app_of(made(endpoint))(scope_of(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT] * accepting


# S-135, S-136. Authentication.


class Names(AuthenticationBackend):
    """Believes the client who it is; nobody may be called Mallory."""

    async def authenticate(
        self, conn: HTTPConnection
    ) -> tuple[AuthCredentials, SimpleUser] | None:
        """Take the name from a header."""
        name = conn.headers.get("x-name")
        if name == "mallory":
            raise AuthenticationError
        return (name and (AuthCredentials(["chat"]), SimpleUser(name))) or None


@requires("chat")
async def members_only(websocket: StarletteWebSocket) -> None:
    """Say to a member what the middleware has found."""
    await websocket.accept()
    await websocket.send_json([websocket.user.display_name, websocket.auth.scopes])
    await websocket.close()


@AS_FUNCTION_AND_OBJECT
@pytest.mark.parametrize(
    "headers", [row("S-135", {"x-name": "mallory"}), row("S-136", {})]
)
def test_authentication(
    client: Client, made: Callable[[Endpoint], Any], headers: dict[str, str]
) -> None:
    """Members get `user` and `auth`; others a close with 1000 before the accept."""
    app = app_of(
        made(members_only), Middleware(AuthenticationMiddleware, backend=Names())
    )
    test_client = client(app)
    with test_client.websocket_connect("/", headers={"x-name": "ada"}) as peer:
        assert peer.receive_json() == ["ada", ["chat"]]
    with pytest.raises(WebSocketDisconnect) as caught:
        test_client.websocket_connect("/", headers=headers).__enter__()
    assert (caught.value.code, caught.value.reason) == (1000, "")


# S-137. Other middleware.


def test_a_session_is_read(client: Client) -> None:
    """S-137: what an HTTP response had signed is there; `accessed` is marked."""
    itsdangerous = pytest.importorskip("itsdangerous")
    from starlette.middleware.sessions import SessionMiddleware

    async def endpoint(websocket: anyws.WebSocket) -> None:
        await websocket.accept()
        session: Any = websocket.session
        await websocket.send_json([session, session.accessed])
        await websocket.close()

    app = app_of(endpoint, Middleware(SessionMiddleware, secret_key="secret"))
    signer = itsdangerous.TimestampSigner("secret")
    cookie = signer.sign(b64encode(json.dumps({"user": 1}).encode())).decode()
    test_client = client(app, cookies={"session": cookie})
    with test_client.websocket_connect("/") as peer:
        assert peer.receive_json() == [{"user": 1}, True]


@pytest.mark.parametrize(
    ("middleware", "let_through", "denied", "status", "says"),
    [
        row(
            "S-137-host",
            Middleware(TrustedHostMiddleware, allowed_hosts=["testserver"]),
            "ws://testserver/",
            "ws://elsewhere/",
            400,
            ("content-length", "19"),
        ),
        row(
            "S-137-https",
            Middleware(HTTPSRedirectMiddleware),
            "wss://testserver/",
            "ws://testserver/",
            307,
            ("location", "wss://testserver/"),
        ),
    ],
)
def test_middleware_that_denies(
    client: Client,
    middleware: Middleware,
    let_through: str,
    denied: str,
    status: int,
    says: tuple[str, str],
) -> None:
    """It lets our class through, or answers in its place."""
    test_client = client(app_of(greet, middleware))
    with test_client.websocket_connect(let_through) as peer:
        assert peer.receive_text() == "True"
    with pytest.raises(WebSocketDenialResponse) as caught:
        test_client.websocket_connect(denied).__enter__()
    assert caught.value.status_code == status
    assert says in caught.value.headers.items()


async def unused(request: object, call_next: object) -> PlainTextResponse:
    """Stand for a middleware of HTTP requests."""
    raise NotImplementedError


@pytest.mark.parametrize(
    "middleware",
    [
        row("S-137-CORS", Middleware(CORSMiddleware, allow_origins=["https://ours"])),
        row("S-137-base", Middleware(BaseHTTPMiddleware, dispatch=unused)),
        row("S-137-gzip", Middleware(GZipMiddleware, minimum_size=1)),
    ],
)
def test_middleware_that_lets_websockets_be(
    client: Client, middleware: Middleware
) -> None:
    """A WebSocket passes, even from an origin that CORS would not allow."""
    test_client = client(app_of(greet, middleware))
    assert greeted(test_client, headers={"origin": "https://theirs"})

"""Rows S-01 to S-34: names, errors, construction and the data of the request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import starlette.websockets
from fastapi.exceptions import ValidationException
from fastapi.exceptions import WebSocketRequestValidationError as Invalid
from starlette.authentication import AuthCredentials, SimpleUser
from starlette.datastructures import URL, Address, Headers, QueryParams, State
from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound, Route, Router, WebSocketRoute
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws

from ..support import seed
from ..support.seed import CONNECT, CONNECTING, SEED_AND_OURS, Codec, row

HOST = "example.org:8443"
QUERY = "a=1&a=2&empty="

# 1A. Enum and exceptions.


def test_the_states_are_starlettes() -> None:
    """S-01: the enum is Starlette's own, with its four values."""
    assert anyws.WebSocketState is starlette.websockets.WebSocketState
    values = {state.name: state.value for state in anyws.WebSocketState}
    assert values == {
        "CONNECTING": 0,
        "CONNECTED": 1,
        "DISCONNECTED": 2,
        "RESPONSE": 3,
    }


def test_the_exceptions_are_starlettes() -> None:
    """S-02, S-03: both classes are Starlette's own."""
    assert anyws.WebSocketDisconnect is WebSocketDisconnect
    assert anyws.WebSocketDisconnected is WebSocketDisconnected


def test_the_error_of_an_end_has_all_its_bases() -> None:
    """S-02, S-03, deviation: ours is caught by every `except` for theirs."""
    error = anyws.ConnectionClosed(anyws.CloseInfo(4000, "bye", "peer", True))
    assert isinstance(error, WebSocketDisconnect)
    assert isinstance(error, WebSocketDisconnected)
    assert isinstance(error, RuntimeError)
    assert isinstance(error, OSError)
    assert (error.code, error.reason) == (4000, "bye")


def test_an_end_without_reason_has_an_empty_one() -> None:
    """S-02: the reason of an end that gave none is the empty string."""
    assert anyws.ConnectionClosed(anyws.CloseInfo(1006)).reason == ""


def test_the_error_of_a_wrong_kind_is_a_type_error() -> None:
    """S-83, deviation: `MessageTypeError` is a TypeError and no KeyError."""
    assert issubclass(anyws.MessageTypeError, TypeError)
    assert not issubclass(anyws.MessageTypeError, KeyError)


def test_the_error_of_bad_json_is_the_json_modules() -> None:
    """S-82, deviation: `MessageDecodeError` is a JSONDecodeError, so a ValueError."""
    assert issubclass(anyws.MessageDecodeError, json.JSONDecodeError)
    assert issubclass(anyws.MessageDecodeError, ValueError)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        row("S-04", WebSocketException(4000, "bye"), "4000: bye"),
        row("S-07", NoMatchFound("echo", {"id": 1}), 'name "echo" and params "id"'),
    ],
)
def test_the_errors_beside_the_class(error: Exception, says: str) -> None:
    """The frameworks' other errors say what the contract says."""
    assert says in str(error)


def test_the_error_of_invalid_parameters() -> None:
    """S-06: FastAPI's error carries the list of what was wrong."""
    error = Invalid([{"msg": "wrong"}])
    assert isinstance(error, ValidationException)
    assert error.errors() == [{"msg": "wrong"}]


# 1B. Construction and identity.


@SEED_AND_OURS
def test_making_one_touches_nothing(cls: type[anyws.WebSocket]) -> None:
    """S-10, S-13, S-14: no I/O and no event loop; both states begin as connecting."""
    wire = Codec(CONNECT)
    scope = seed.scope_of()
    websocket = cls(scope=scope, receive=wire.receive, send=wire.send)
    assert websocket.scope is scope
    assert websocket._receive == wire.receive
    assert websocket._send == wire.send
    assert websocket.client_state is CONNECTING
    assert websocket.application_state is CONNECTING
    assert (wire.asked, wire.sent) == (0, [])


@SEED_AND_OURS
@pytest.mark.parametrize("kind", ["http", "lifespan"])
def test_other_scopes_are_refused(cls: type[anyws.WebSocket], kind: str) -> None:
    """S-10: only a WebSocket's scope is taken."""
    with pytest.raises(AssertionError):
        Codec().websocket(cls, type=kind)


def test_the_class_is_generic_in_its_state() -> None:
    """S-11: it can be subscripted, and what that makes can be called."""
    wire = Codec()
    websocket = anyws.WebSocket[State](seed.scope_of(), wire.receive, wire.send)
    assert isinstance(websocket.state, State)


@pytest.mark.parametrize(
    "base",
    [starlette.websockets.WebSocket, HTTPConnection, Mapping],
    ids=lambda base: f"S-12-{base.__name__}",
)
def test_the_bases(base: type[object]) -> None:
    """It is what the frameworks ask for by `isinstance`."""
    assert isinstance(Codec().websocket(), base)


@SEED_AND_OURS
def test_it_is_a_mapping_of_its_scope(cls: type[anyws.WebSocket]) -> None:
    """S-15: item access and the mixins show the scope."""
    websocket = Codec().websocket(cls, path="/room")
    assert websocket["path"] == "/room"
    assert websocket.get("nothing", 1) == 1
    assert "path" in websocket
    assert dict(websocket) == seed.scope_of(path="/room")
    assert len(websocket) == len(seed.scope_of())
    assert list(websocket.keys()) == list(seed.scope_of())
    with pytest.raises(KeyError, match="nothing"):
        websocket["nothing"]


@SEED_AND_OURS
def test_two_are_never_equal(cls: type[anyws.WebSocket]) -> None:
    """S-16: they are equal only to themselves, so sets and dicts can hold them."""
    one, other = Codec().websocket(cls), Codec().websocket(cls)
    assert one != other
    connections = {one, other}
    connections.discard(one)
    assert connections == {other}


# 1C. The data of the request, which is Starlette's `HTTPConnection`'s.

REQUEST: dict[str, Any] = {
    "scheme": "wss",
    "path": "/app/rooms/7",
    "root_path": "/app",
    "query_string": QUERY.encode(),
    "headers": [
        (b"host", HOST.encode()),
        (b"cookie", b'id=1; quoted="two words"'),
        (b"cookie", b"id=2"),
        (b"x-twice", b"one"),
        (b"x-twice", b"two"),
    ],
    "client": ["10.0.0.1", 4711],
    "server": ["internal", 80],
    "path_params": {"id": 7},
    "app": "the app",
    "session": {"user": 1},
    "auth": AuthCredentials(["chat"]),
    "user": SimpleUser("ada"),
}


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("get", "value"),
    [
        row("S-21-app", lambda ws: ws.app, "the app"),
        row("S-22-url", lambda ws: ws.url, f"wss://{HOST}/app/rooms/7?{QUERY}"),
        row("S-22-secure", lambda ws: ws.url.is_secure, True),
        row("S-23-base_url", lambda ws: ws.base_url, f"wss://{HOST}/app/"),
        row("S-24-headers", lambda ws: ws.headers["HOST"], HOST),
        row("S-24-all", lambda ws: ws.headers.getlist("x-Twice"), ["one", "two"]),
        row("S-25-last", lambda ws: ws.query_params["a"], "2"),
        row("S-25-all", lambda ws: ws.query_params.getlist("a"), ["1", "2"]),
        row("S-25-blank", lambda ws: ws.query_params["empty"], ""),
        row("S-26-path_params", lambda ws: ws.path_params, {"id": 7}),
        row("S-27-merged", lambda ws: ws.cookies["id"], "2"),
        row("S-27-quoted", lambda ws: ws.cookies["quoted"], "two words"),
        row("S-28-client", lambda ws: ws.client, ("10.0.0.1", 4711)),
        row("S-28-port", lambda ws: ws.client.port, 4711),
        row("S-29-session", lambda ws: ws.session, {"user": 1}),
        row("S-30-auth", lambda ws: ws.auth.scopes, ["chat"]),
        row("S-31-user", lambda ws: ws.user.display_name, "ada"),
    ],
)
def test_the_data_of_the_request(
    cls: type[anyws.WebSocket], get: Callable[[Any], Any], value: object
) -> None:
    """Each property reads the scope as the contract says."""
    assert get(Codec().websocket(cls, **REQUEST)) == value


NOT_INSTALLED = "Middleware must be installed to access request"


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        row("S-21", "app", KeyError, "app"),
        row("S-29", "session", AssertionError, f"Session{NOT_INSTALLED}.session"),
        row("S-30", "auth", AssertionError, f"Authentication{NOT_INSTALLED}.auth"),
        row("S-31", "user", AssertionError, f"Authentication{NOT_INSTALLED}.user"),
    ],
)
def test_data_that_is_not_there(
    cls: type[anyws.WebSocket], name: str, error: type[Exception], says: str
) -> None:
    """What needs an application or a middleware says so."""
    with pytest.raises(error, match=says):
        getattr(Codec().websocket(cls), name)


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("scope", "get", "value"),
    [
        row("S-22", {"server": ("h", 81)}, lambda ws: ws.url, "http://h:81/"),
        row("S-26", {}, lambda ws: ws.path_params, {}),
        row("S-27", {}, lambda ws: ws.cookies, {}),
        row("S-28-missing", {}, lambda ws: ws.client, None),
        row("S-28-none", {"client": None}, lambda ws: ws.client, None),
    ],
)
def test_data_that_is_optional(
    cls: type[anyws.WebSocket],
    scope: dict[str, Any],
    get: Callable[[Any], Any],
    value: object,
) -> None:
    """What a server may leave out has a default."""
    assert get(Codec().websocket(cls, **scope)) == value


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        row("S-34-url", "url", URL),
        row("S-34-base_url", "base_url", URL),
        row("S-34-headers", "headers", Headers),
        row("S-34-query_params", "query_params", QueryParams),
        row("S-34-client", "client", Address),
        row("S-34-state", "state", State),
    ],
)
def test_the_helpers_are_starlettes(
    cls: type[anyws.WebSocket], name: str, kind: type[object]
) -> None:
    """They are Starlette's own types, made once (`client` apart)."""
    websocket = Codec().websocket(cls, **REQUEST)
    value = getattr(websocket, name)
    assert type(value) is kind
    assert getattr(websocket, name) is value or name == "client"


@SEED_AND_OURS
def test_the_scope_is_shared(cls: type[anyws.WebSocket]) -> None:
    """S-20, S-24: the scope is the server's own, and its headers become a list."""
    scope = seed.scope_of(headers=((b"host", b"a"),))
    websocket = cls(scope, Codec().receive, Codec().send)
    assert websocket.headers["host"] == "a"
    assert websocket.scope is scope
    assert scope["headers"] == [(b"host", b"a")]


@SEED_AND_OURS
def test_the_state_is_the_scopes(cls: type[anyws.WebSocket]) -> None:
    """S-32: it is the dict of the lifespan, by reference, as attributes and items."""
    shared = {"pool": 1}
    websocket = Codec().websocket(cls, state=shared)
    websocket.state.user = "ada"
    assert shared == {"pool": 1, "user": "ada"}
    assert websocket.state["pool"] == websocket.state.pool == 1
    assert (len(websocket.state), list(websocket.state)) == (2, ["pool", "user"])
    with pytest.raises(AttributeError, match="'State' object has no attribute 'x'"):
        websocket.state.x  # noqa: B018  # the access is the test


@SEED_AND_OURS
def test_a_state_is_made_where_there_is_none(cls: type[anyws.WebSocket]) -> None:
    """S-32: without a lifespan the state is empty, and kept in the scope."""
    websocket = Codec().websocket(cls)
    websocket.state.user = "ada"
    assert websocket.scope["state"] == {"user": "ada"}


async def echo(websocket: anyws.WebSocket) -> None:
    """Stand for an endpoint."""


@SEED_AND_OURS
@pytest.mark.parametrize("key", ["router", "app"])
def test_urls_are_made_by_the_router(cls: type[anyws.WebSocket], key: str) -> None:
    """S-33: the route decides between the schemes of HTTP and of WebSockets."""
    routes = [WebSocketRoute("/echo/{id:int}", echo), Route("/page", echo)]
    made = {**REQUEST, "app": None, key: Router(routes)}
    websocket = Codec().websocket(cls, **made)
    assert websocket.url_for("echo", id=3) == f"wss://{HOST}/app/echo/3"
    with pytest.raises(NoMatchFound, match="nothing"):
        websocket.url_for("nothing")


@SEED_AND_OURS
def test_urls_need_a_router(cls: type[anyws.WebSocket]) -> None:
    """S-33: outside an application there is nobody to ask."""
    with pytest.raises(RuntimeError, match="inside a Starlette application"):
        Codec().websocket(cls).url_for("echo")

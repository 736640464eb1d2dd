"""One FastAPI application for every class: a chat, three kinds of auth, and handlers.

It is mounted with FastAPI's own class (`/theirs`), with that class under the middleware
(`/middleware`), with ours (`/guarded`), and with ours under the middleware (`/hosted`).
What a client does with it, and gets, is data: see `SCRIPTS`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from types import FunctionType
from typing import Annotated, Any, Final

from fastapi import (
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi import WebSocket as Socket

import anyws
from anyws.fastapi import Guarded


class Manager:
    """The connections of a chat, as in FastAPI's tutorial."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    async def broadcast(self, text: str) -> None:
        """Send to all."""
        for socket in self.sockets:
            await socket.send_text(text)


def manager_of(ws: Socket) -> Manager:
    """Return the chat of the application."""
    manager: Manager = ws.app.state.manager
    return manager


async def chat(
    ws: Socket, name: str, manager: Annotated[Manager, Depends(manager_of)]
) -> None:
    """Tell all what each says."""
    await ws.accept()
    manager.sockets.append(ws)
    try:
        while True:
            text = await ws.receive_text()
            await ws.send_text(f"you: {text}")
            await manager.broadcast(f"{name}: {text}")
    except WebSocketDisconnect:
        manager.sockets.remove(ws)
        await manager.broadcast(f"{name} has left")


async def by_cookie_or_query(
    session: Annotated[str | None, Cookie()] = None,
    token: Annotated[str | None, Query()] = None,
) -> str:
    """Know a client by either."""
    if session is None and token is None:
        raise WebSocketException(1008, "who are you?")
    return session or token or ""


async def by_header(x_token: Annotated[str, Header()] = "") -> str:
    """Know a client by a header."""
    if x_token != "s3cret":
        raise HTTPException(401, "wrong token", {"x-why": "token"})
    return "ann"


async def by_subprotocol(ws: Socket) -> str:
    """Know a client by a token among the subprotocols."""
    offers = ws.scope["subprotocols"]
    if offers[1:] != ["s3cret"]:
        raise WebSocketException(1008)
    return "bearer"


async def cookie(ws: Socket, user: Annotated[str, Depends(by_cookie_or_query)]) -> None:
    """Say who it is."""
    await ws.accept()
    await ws.send_text(user)


async def header(ws: Socket, user: Annotated[str, Depends(by_header)]) -> None:
    """Say who it is."""
    await ws.accept()
    await ws.send_text(user)


async def bearer(ws: Socket, chosen: Annotated[str, Depends(by_subprotocol)]) -> None:
    """Select the subprotocol."""
    await ws.accept(chosen)
    await ws.send_text(chosen)


async def item(ws: Socket, number: int) -> None:
    """Say a number."""
    await ws.accept()
    await ws.send_json(number)


async def accepted(ws: Socket) -> None:
    """Accept before the parameters are checked."""
    await ws.accept()


async def gone(ws: Socket) -> None:
    """Raise after the accept."""
    await ws.accept()
    raise HTTPException(404, "gone")


async def policy(ws: Socket) -> None:
    """Raise after the accept."""
    await ws.accept()
    raise WebSocketException(4008, "no")


class Odd(Exception):
    """An exception with a handler of the application's own."""


async def odd(ws: Socket) -> None:
    """Raise it after the accept."""
    await ws.accept()
    raise Odd


async def handle(websocket: Socket, exc: Exception) -> None:
    """Choose the code."""
    await websocket.send_text("handled")
    await websocket.close(4029, "odd")


async def resource(ws: Socket) -> AsyncIterator[str]:
    """Be entered and left."""
    yield "resource"
    with suppress(RuntimeError, WebSocketDisconnect):
        await ws.send_text("left")


async def yields(ws: Socket, it: Annotated[str, Depends(resource)]) -> None:
    """Send what a dependency has opened."""
    await ws.accept()
    await ws.send_text(it)


async def overridden() -> str:
    """Stand in for a dependency."""
    return "stand-in"


async def user() -> str:
    """Be overridden."""
    raise HTTPException(500)


async def override(ws: Socket, who: Annotated[str, Depends(user)]) -> None:
    """Say what the dependency is."""
    await ws.accept()
    await ws.send_text(who)


ENDPOINTS: Final = {
    "/chat/{name}": chat,
    "/cookie": cookie,
    "/header": header,
    "/bearer": bearer,
    "/item": item,
    "/gone": gone,
    "/policy": policy,
    "/odd": odd,
    "/yields": yields,
    "/override": override,
}


def annotated(endpoint: Any, kind: Any) -> Any:
    """Return an endpoint whose WebSocket is annotated in this way."""
    given = (endpoint.__code__, endpoint.__globals__, endpoint.__name__)
    copied = FunctionType(*given, endpoint.__defaults__)
    copied.__annotations__ = {**endpoint.__annotations__, "ws": kind}
    return copied


def make(kind: Any) -> FastAPI:
    """Make the application, with a class."""
    made = FastAPI()
    made.state.manager = Manager()
    for path, endpoint in ENDPOINTS.items():
        made.websocket(path)(annotated(endpoint, kind))
    early = [Depends(accepted)]
    made.websocket("/early", dependencies=early)(annotated(item, kind))
    made.add_exception_handler(Odd, handle)
    made.dependency_overrides[user] = overridden
    return made


def under_middleware(kind: Any) -> FastAPI:
    """Make the application, with the middleware in it."""
    made = make(kind)
    made.add_middleware(anyws.WebSocketMiddleware)
    return made


def all_of_them() -> FastAPI:
    """Make the application of all classes."""
    made = FastAPI()
    made.mount("/theirs", make(Socket))
    made.mount("/middleware", under_middleware(Socket))
    made.mount("/guarded", make(Guarded))
    made.mount("/hosted", under_middleware(Guarded))
    return made


app = all_of_them()
WAYS: Final = ("theirs", "middleware", "guarded", "hosted")

Step = tuple[Any, ...]  # client, verb, arguments

#: What clients do, and get.
SCRIPTS: Final[dict[str, list[Step]]] = {
    "chat": [
        ("a", "opens", "/chat/ann"),
        ("a", "sends", "hi"),
        ("a", "gets", "you: hi"),
        ("a", "gets", "ann: hi"),
        ("b", "opens", "/chat/bob"),
        ("b", "sends", "ho"),
        ("b", "gets", "you: ho"),
        ("b", "gets", "bob: ho"),
        ("a", "gets", "bob: ho"),
        ("b", "leaves"),
        ("a", "gets", "bob has left"),
        ("a", "leaves"),
    ],
    "cookie": [
        ("a", "opens", "/cookie", {"cookie": "session=ann"}),
        ("a", "gets", "ann"),
    ],
    "query": [("a", "opens", "/cookie?token=bob"), ("a", "gets", "bob")],
    "nobody": [("a", "rejected", "/cookie", 403)],
    "header": [
        ("a", "opens", "/header", {"x-token": "s3cret"}),
        ("a", "gets", "ann"),
    ],
    "wrong header": [("a", "rejected", "/header", 401)],
    "bearer": [
        ("a", "opens", "/bearer", {"sec-websocket-protocol": "bearer, s3cret"}),
        ("a", "gets", "bearer"),
    ],
    "number": [("a", "opens", "/item?number=7"), ("a", "gets", "7")],
    "no number": [("a", "rejected", "/item?number=x", 403)],
    "odd": [
        ("a", "opens", "/odd"),
        ("a", "gets", "handled"),
        ("a", "ends", 4029, "odd"),
    ],
    "policy": [("a", "opens", "/policy"), ("a", "ends", 4008, "no")],
    "yields": [("a", "opens", "/yields"), ("a", "gets", "resource")],
    "override": [("a", "opens", "/override"), ("a", "gets", "stand-in")],
}

#: What FastAPI's class does not do by itself.
MENDED: Final[dict[str, list[Step]]] = {
    "returns": [
        ("a", "opens", "/override"),
        ("a", "gets", "stand-in"),
        ("a", "ends", 1000, ""),
    ],
    "gone": [("a", "opens", "/gone"), ("a", "ends", 1008, "gone")],
    "early": [
        ("a", "opens", "/early"),
        ("a", "ends", 1008, "query.number: Field required"),
    ],
}

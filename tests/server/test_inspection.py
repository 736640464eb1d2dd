"""The wrong way is loud: our annotation where Starlette's class would be handed out."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import fastapi
import pytest
from anyio import create_task_group
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import Host, Mount, Router, WebSocketRoute

import anyws
import anyws.fastapi
from anyws._server.misannotated import misannotated
from anyws.fastapi import Guarded
from anyws.testing import connect, lifespan


async def wrong(ws: anyws.WebSocket) -> None:
    """Be annotated as only our own router understands."""
    await ws.accept()


async def right(ws: Guarded) -> None:
    """Be annotated as any router of FastAPI's understands."""
    await ws.accept()
    await ws.send_text(type(ws).__module__)


async def theirs(ws: fastapi.WebSocket) -> None:
    """Be annotated with FastAPI's class."""
    await ws.accept()
    await ws.send_text(type(ws).__module__)


async def asking(ws: anyws.WebSocket) -> str:
    """Be a dependency."""
    return "asked"


async def deep(asked: Annotated[str, Depends(asking)]) -> str:
    """Have a dependency."""
    return asked


async def dependent(ws: Guarded, deep: Annotated[str, Depends(deep)]) -> None:
    """Be right, and have a dependency that is not."""


class Dependency:
    """Be a class on which a handler depends."""

    def __init__(self, websocket: Annotated[anyws.WebSocket, "a note"]) -> None:
        """Take it."""


class Own(anyws.WebSocket[Any]):
    """A class of the application's own."""


async def own(ws: Own) -> None:
    """Be annotated with a subclass."""


async def by_class(
    ws: fastapi.WebSocket, it: Annotated[Any, Depends(Dependency)]
) -> Any:
    """Depend on a class."""


class Hooks(WebSocketEndpoint):
    """An endpoint of Starlette's."""

    async def on_receive(self, websocket: anyws.WebSocket, data: Any) -> None:  # type: ignore[override]  # as users do
        """Be annotated with our class."""


class Dispatching(Hooks):
    """An endpoint that makes the object itself."""

    async def dispatch(self) -> None:
        """Serve."""


async def odd(ws: "the socket") -> None:  # type: ignore[valid-type]  # noqa: F722
    """Be annotated with what is no expression."""


async def missing(ws: anyws.Nothing) -> None:  # type: ignore[name-defined]
    """Be annotated with what its module does not have."""


async def bound(word: str, ws: anyws.WebSocket) -> None:
    """Be called with something more."""


class Selfish:
    """An application that has itself as `app`."""

    @property
    def app(self) -> Selfish:
        """Return itself."""
        return self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve."""


def on_fastapi(*endpoints: Any, router: Any = None) -> FastAPI:
    """Return an application of these endpoints."""
    app = FastAPI()
    target = router or app
    for endpoint in endpoints:
        target.websocket("/ws")(endpoint)
    if router is not None:
        app.include_router(router, prefix="/v1")
    return app


def on_starlette(*endpoints: Any) -> Starlette:
    """Return the same of Starlette's."""
    return Starlette(routes=[WebSocketRoute("/ws", each) for each in endpoints])


def mounted(app: Any) -> FastAPI:
    """Return an application on which another one is mounted."""
    outer = FastAPI()
    outer.mount("/in", app)
    return outer


def looped() -> FastAPI:
    """Return an application that is mounted on itself."""
    app = on_fastapi(wrong)
    app.mount("/again", app)
    return app


WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "route": (lambda: on_fastapi(wrong), "/ws", "wrong"),
    "subclass": (lambda: on_fastapi(own), "/ws", "own"),
    "included": (lambda: on_fastapi(wrong, router=APIRouter()), "/v1/ws", "wrong"),
    "dependency": (lambda: on_fastapi(dependent), "/ws", "asking"),
    "class": (lambda: on_fastapi(by_class), "/ws", "Dependency"),
    "our router": (
        lambda: on_fastapi(dependent, router=anyws.fastapi.APIRouter()),
        "/v1/ws",
        "asking",
    ),
    "mounted": (lambda: mounted(on_fastapi(wrong)), "/in/ws", "wrong"),
    "guarded": (
        lambda: mounted(anyws.WebSocketMiddleware(on_fastapi(wrong))),
        "/in/ws",
        "wrong",
    ),
    "host": (
        lambda: Starlette(routes=[Host("a.test", on_fastapi(wrong))]),
        "a.test/ws",
        "wrong",
    ),
    "function": (lambda: on_starlette(wrong), "/ws", "wrong"),
    "partial": (
        lambda: on_starlette(functools.partial(bound, "word")),
        "/ws",
        "bound",
    ),
    "hooks": (lambda: on_starlette(Hooks), "/ws", "Hooks.on_receive"),
    "deep": (
        lambda: Starlette(
            routes=[Mount("/a", Router([Mount("/b", on_starlette(wrong))]))]
        ),
        "/a/b/ws",
        "wrong",
    ),
    "loop": (looped, "/ws", "wrong"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_route_and_the_handler_are_named(name: str) -> None:
    """Wherever they are."""
    make, path, handler = WRONG[name]
    faults = misannotated(make())
    assert [fault.partition(":")[0] for fault in faults] == [repr(path)]
    assert f"of {__name__}.{handler} is annotated anyws.WebSocket" in faults[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: on_fastapi(right, theirs),
        lambda: on_fastapi(wrong, router=anyws.fastapi.APIRouter()),
        lambda: on_starlette(anyws.endpoint(wrong), theirs, Dispatching),
        lambda: Starlette(routes=[WebSocketRoute("/", WebSocketEndpoint)]),
        lambda: mounted(anyws.endpoint(wrong)),
        lambda: on_starlette(functools.partial(len)),
        lambda: on_starlette(odd, missing),
        lambda: Starlette(routes=[Mount("/a", Selfish())]),
        object,
    ],
    ids=[
        "fastapi",
        "ours",
        "starlette",
        "hooks",
        "mounted",
        "nothing",
        "odd",
        "itself",
        "object",
    ],
)
def test_what_is_right_is_silent(make: Callable[[], Any]) -> None:
    """As is what is no application of Starlette's."""
    assert misannotated(make()) == []


def outside(app: Any) -> Any:
    """Put the middleware round an application."""
    return anyws.WebSocketMiddleware(app)


def inside(app: Any) -> Any:
    """Put the middleware into an application."""
    app.add_middleware(anyws.WebSocketMiddleware)
    return app


def hidden(app: Any) -> Any:
    """Put the middleware round a function that calls the application."""

    async def function(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return anyws.WebSocketMiddleware(function)


guards = pytest.mark.parametrize("guard", [outside, inside, hidden])


@guards
@pytest.mark.parametrize("make", [on_fastapi, on_starlette])
async def test_the_startup_fails(guard: Any, make: Any) -> None:
    """With the route and the mend; what the startup has opened is closed."""
    seen = []

    @asynccontextmanager
    async def living(app: Any) -> AsyncIterator[None]:
        app.router.routes.append(WebSocketRoute("/late", wrong))
        seen.append("opened")
        yield
        seen.append("closed")

    app = make()
    app.router.lifespan_context = living
    with pytest.raises(Exception, match=r"'/late'.*route to anyws\.endpoint"):
        async with lifespan(guard(app)):
            pytest.fail("started")
    assert seen[0] == "opened"


async def test_the_startup_fails_in_a_task_group() -> None:
    """The server is told, although the failure comes in a group."""

    @asynccontextmanager
    async def living(app: Any) -> AsyncIterator[None]:
        async with create_task_group() as tasks:
            yield
            tasks.cancel_scope.cancel()

    app = FastAPI(lifespan=living)
    app.websocket("/ws")(wrong)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(event: Any) -> None:
        sent.append(event)

    scope: Any = {"type": "lifespan", "state": {}}
    await anyws.WebSocketMiddleware(app)(scope, receive, send)
    assert [event["type"] for event in sent] == ["lifespan.startup.failed"]
    assert "'/ws'" in sent[0]["message"]


@guards
async def test_without_a_lifespan_every_websocket_fails(guard: Any) -> None:
    """The first one looks."""
    app = on_fastapi(wrong)
    app.websocket("/right")(right)
    app = guard(app)
    for path in "/right", "/ws", "/right":
        with pytest.raises(RuntimeError, match=r"'/ws'.*anyws\.fastapi\.Guarded"):
            async with connect(app, path) as peer:
                await peer.wait_closed()


@guards
async def test_what_is_right_starts_and_serves(guard: Any) -> None:
    """The look is over then."""
    app = guard(on_fastapi(right))
    for alive in False, True, False:
        async with connect(app, lifespan=alive) as peer:
            assert await peer.receive_text() == "anyws._server.websocket"


async def test_an_error_of_the_startup_is_its_own() -> None:
    """It goes on as it is."""

    @asynccontextmanager
    async def failing(app: Any) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    app = anyws.WebSocketMiddleware(FastAPI(lifespan=failing))
    with pytest.raises(Exception, match="no database"):
        async with lifespan(app):
            pytest.fail("started")


async def test_a_server_does_not_start() -> None:
    """`anyws.serve`."""
    with pytest.raises(RuntimeError, match=r"did not start: .*\n.*'/ws'"):
        async with anyws.serve(on_fastapi(wrong), "127.0.0.1"):
            pytest.fail("started")

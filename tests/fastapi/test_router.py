"""`APIRouter`: the annotation is the class, and means the guarded one."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
import pytest
from fastapi import Depends, FastAPI
from starlette.datastructures import State

import anyws
from anyws.fastapi import APIRouter, guarded
from anyws.testing import connect

if TYPE_CHECKING:
    from collections.abc import Mapping as OnlyForCheckers

SMALL = anyws.Options(max_message_bytes=4)


async def plain(ws: anyws.WebSocket, word: str = "hello") -> None:
    """Be annotated with the class."""
    await answer(ws, word)


async def subscripted(ws: anyws.WebSocket[State], word: str = "hello") -> None:
    """Be annotated with the class and a type of state."""
    await answer(ws, word)


async def annotated(
    ws: Annotated[anyws.WebSocket, "a note"], word: str = "hello"
) -> None:
    """Be annotated with the class and a note."""
    await answer(ws, word)


async def dependent(
    ws: Annotated[anyws.WebSocket, Depends(guarded(options=SMALL))], word: str = "hello"
) -> None:
    """Have a dependency already."""
    await answer(ws, word)


async def by_default(
    ws: anyws.WebSocket = Depends(guarded(options=SMALL)),  # noqa: B008  # FastAPI's way
    word: str = "hello",
) -> None:
    """Have a dependency as the default."""
    await answer(ws, word)


class Own(anyws.WebSocket[Any]):
    """A class of the application's own."""


async def own_ws(ws: fastapi.WebSocket) -> AsyncIterator[Own]:
    """Make it."""
    async with Own(ws.scope, ws.receive, ws.send) as own:
        yield own


async def half_known(
    ws: anyws.WebSocket,
    word: str = "hello",
    *,
    other: OnlyForCheckers[str, str] | None = None,
) -> None:
    """Have an annotation beside that only a type checker knows."""
    await answer(ws, word)


class Called:
    """Be an object that can be called."""

    async def __call__(self, ws: anyws.WebSocket, word: str = "hello") -> None:
        """Answer."""
        await answer(ws, word)


async def answer(ws: anyws.WebSocket[Any], word: str) -> None:
    """Answer by a method that needs the guarded mode."""
    await ws.accept()
    ws.send_nowait(word)


ENDPOINTS: dict[str, Any] = {
    "plain": plain,
    "subscripted": subscripted,
    "annotated": annotated,
    "dependent": dependent,
    "object": Called(),
    "partial": functools.partial(plain, word="partial"),
}


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_our_class_is_injected(name: str) -> None:
    """Whatever the annotation looks like."""
    router = APIRouter(prefix="/v1")
    router.websocket("/ws")(ENDPOINTS[name])
    app = FastAPI()
    app.include_router(router, prefix="/api")
    async with connect(app, "/api/v1/ws?word=bye") as peer:
        assert await peer.receive_text() == "bye"
        assert (await peer.wait_closed()).code == 1000


async def test_theirs_is_left_alone() -> None:
    """An endpoint without our class is the one that was given."""
    seen = []

    async def theirs(websocket: fastapi.WebSocket) -> None:
        seen.append(type(websocket))
        await websocket.accept()
        await websocket.close(4000)

    router = APIRouter()
    router.websocket("/ws")(theirs)
    (route,) = router.routes
    assert route.endpoint is theirs  # type: ignore[attr-defined]  # of a WebSocketRoute
    app = FastAPI()
    app.include_router(router)
    async with connect(app) as peer:
        assert (await peer.wait_closed()).code == 4000
    assert seen == [fastapi.WebSocket]


@pytest.mark.parametrize(
    "name",
    [
        "'Absent'",
        pytest.param(
            "Absent",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 14), reason="evaluated at once"
            ),
        ),
    ],
)
async def test_a_result_may_be_a_name_for_type_checkers(name: str) -> None:
    """What the handler returns is nobody's business, and need not be imported."""
    defined: dict[str, Any] = {"__name__": __name__, "WebSocket": anyws.WebSocket}
    code = f"""
async def handler(ws: WebSocket) -> {name}:
    await ws.accept()
    await ws.close(4000, type(ws).__module__)
"""
    exec(compile(code, "handler.py", "exec", dont_inherit=True), defined)
    router = APIRouter()
    router.websocket("/ws")(defined["handler"])
    app = FastAPI()
    app.include_router(router)
    async with connect(app) as peer:
        info = await peer.wait_closed()
    assert (info.code, info.reason) == (4000, "anyws._server.websocket")


async def test_a_function_may_stand_on_another_router() -> None:
    """Its own signature does not change."""
    APIRouter().websocket("/ws")(plain)
    assert plain.__annotations__["ws"] == "anyws.WebSocket"
    assert not hasattr(plain, "__signature__")


async def test_a_dependency_as_the_default_stays() -> None:
    """It is the older way of FastAPI to write one."""
    router = APIRouter()
    router.websocket("/ws")(by_default)

    @router.websocket("/own")
    async def handler(ws: Annotated[Own, Depends(own_ws)]) -> None:
        await answer(ws, type(ws).__name__)

    app = FastAPI()
    app.include_router(router)
    for path, word in ("/ws", "hello"), ("/own", "Own"):
        async with connect(app, path) as peer:
            assert await peer.receive_text() == word


def test_a_subclass_is_refused() -> None:
    """No dependency would make it, and the handler would get FastAPI's class."""

    async def handler(ws: Own) -> None: ...

    with pytest.raises(TypeError, match=r"Own.* is a subclass .* annotate"):
        APIRouter().websocket("/ws")(handler)


async def test_dependencies_of_the_router_run() -> None:
    """As on FastAPI's own."""
    ran = []
    router = APIRouter(dependencies=[Depends(lambda: ran.append("router"))])
    first = Depends(lambda: ran.append("route"))
    router.websocket("/ws", name="greet", dependencies=[first])(plain)
    app = FastAPI()
    app.include_router(router)
    assert app.url_path_for("greet") == "/ws"
    async with connect(app) as peer:
        assert await peer.receive_text() == "hello"
    assert ran == ["router", "route"]


async def test_what_only_a_checker_knows_is_fastapis_to_judge() -> None:
    """Our class is found all the same."""
    router = APIRouter()
    router.websocket("/ws")(half_known)
    app = FastAPI()
    app.include_router(router)
    async with connect(app) as peer:
        assert await peer.receive_text() == "hello"

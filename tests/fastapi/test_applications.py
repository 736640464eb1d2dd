"""One application, and one suite, for every class, in memory: nothing has to change."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

import anyws
from anyws.testing import connect

from ..support.fastapi_app import MENDED, SCRIPTS, WAYS, Step, all_of_them

ALL = {**SCRIPTS, **MENDED}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Leave uvloop out, which schedules as asyncio's own loop does."""
    name: str = request.param
    return name


def scripts(way: str) -> dict[str, list[Step]]:
    """Return what holds for a class."""
    return SCRIPTS if way == "theirs" else ALL


@pytest.mark.parametrize("server", ["strict", "hypercorn-trio", "hypercorn-engine"])
@pytest.mark.parametrize("way", WAYS)
async def test_in_our_own_tests(way: str, server: str) -> None:
    """Each script passes; the engine hosts FastAPI's class, too."""
    app = all_of_them()
    for script in (ALL if server == "hypercorn-engine" else scripts(way)).values():
        async with AsyncExitStack() as stack:
            peers: dict[str, Any] = {}
            for who, verb, *given in script:
                await step(stack, peers, who, verb, given, app, way, server)


async def step(
    stack: AsyncExitStack,
    peers: dict[str, Any],
    who: str,
    verb: str,
    given: list[Any],
    app: Any,
    way: str,
    server: str,
) -> None:
    """Do one step of a script."""

    def opening(path: str, headers: dict[str, str] | None = None) -> Any:
        headers = dict(headers or {})
        offers = headers.pop("sec-websocket-protocol", "")
        names = offers.split(", ") if offers else []
        pairs = dict(pair.split("=") for pair in headers.pop("cookie", "").split())
        return connect(
            app,
            f"/{way}{path}",
            headers=headers,
            cookies=pairs,
            subprotocols=names,
            server=server,
        )

    match verb, given:
        case "opens", _:
            peers[who] = await stack.enter_async_context(opening(*given))
        case "rejected", [path, status]:
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with opening(path):
                    pass
            assert caught.value.status == status
        case "sends", [text]:
            await peers[who].send_text(text)
        case "gets", [text]:
            assert await peers[who].receive_text() == text
        case "ends", [code, reason]:
            info = await peers[who].wait_closed()
            assert (info.code, info.reason) == (code, reason)
        case "leaves", _:
            await peers[who].close()


@pytest.mark.parametrize("way", WAYS)
def test_in_starlettes_test_client(way: str) -> None:
    """Each script passes."""
    with TestClient(all_of_them()) as client:
        for script in scripts(way).values():
            with ExitStack() as stack:
                sockets: dict[str, Any] = {}
                for who, verb, *given in script:
                    in_client(stack, sockets, who, verb, given, client, way)


def in_client(
    stack: ExitStack,
    sockets: dict[str, Any],
    who: str,
    verb: str,
    given: list[Any],
    client: TestClient,
    way: str,
) -> None:
    """Do one step of a script."""

    def opening(path: str, headers: dict[str, str] | None = None) -> Any:
        headers = dict(headers or {})
        offers = headers.pop("sec-websocket-protocol", "")
        names = offers.split(", ") if offers else None
        return client.websocket_connect(f"/{way}{path}", names, headers=headers)

    match verb, given:
        case "opens", _:
            sockets[who] = stack.enter_context(opening(*given))
        case "rejected", [path, status]:
            with pytest.raises(WebSocketDisconnect) as caught:
                opening(path).__enter__()
            denied = isinstance(caught.value, WebSocketDenialResponse)
            assert (caught.value.status_code if denied else 403) == status  # type: ignore[attr-defined]  # of a denial
        case "sends", [text]:
            sockets[who].send_text(text)
        case "gets", [text]:
            assert sockets[who].receive_text() == text
        case "ends", [code, reason]:
            with pytest.raises(WebSocketDisconnect) as caught:
                sockets[who].receive_text()
            assert (caught.value.code, caught.value.reason) == (code, reason)
        case "leaves", _:
            sockets[who].close()

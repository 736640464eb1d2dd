"""The application of `fastapi_app.py` on real servers, with each class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ..support.fastapi_app import MENDED, SCRIPTS, WAYS
from ..support.real_servers import need, serving
from ..support.servers import HOST, eventually

SERVERS = (
    *("hypercorn-asyncio", "hypercorn-trio", "engine-asyncio", "engine-trio"),
    *("uvicorn", "uvicorn-websockets", "uvicorn-wsproto"),
    *("uvicorn_anyws-asyncio", "serve-trio"),
)
OURS = ("engine", "uvicorn_anyws", "serve")


class Served:
    """A server of the application."""

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name, self.port, self.log = name, port, log

    def tracebacks(self) -> int:
        """Count the tracebacks in the log."""
        return self.log.read_text(errors="replace").count("Traceback")


@pytest.fixture(scope="module", params=SERVERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Run a server."""
    name, folder = need(request.param), tmp_path_factory.mktemp("fastapi")
    with serving(name, "fastapi_app:app", folder) as (port, _):
        yield Served(name, port, folder / f"{name}.log")


@pytest.mark.parametrize("way", WAYS)
def test_each_script_passes(served: Served, way: str) -> None:
    """And what our class, the middleware or our server mends is no error in the log."""
    mended = way != "theirs" or served.name.startswith(OURS)
    if served.name == "hypercorn-trio" and not mended:
        pytest.skip("stock Hypercorn ends on trio when two of its tasks write at once")
    before = served.tracebacks()
    for script in {**SCRIPTS, **(MENDED if mended else {})}.values():
        with ExitStack() as stack:
            clients: dict[str, Any] = {}
            for who, verb, *given in script:
                step(stack, clients, who, verb, given, f"{served.port}/{way}")
    if mended:
        assert served.tracebacks() == before


def step(
    stack: ExitStack,
    clients: dict[str, Any],
    who: str,
    verb: str,
    given: list[Any],
    where: str,
) -> None:
    """Do one step of a script."""

    def opening(path: str, headers: dict[str, str] | None = None) -> Any:
        headers = dict(headers or {})
        offers: Any = headers.pop("sec-websocket-protocol", None)
        return connect(
            f"ws://{HOST}:{where}{path}",
            additional_headers=headers,
            subprotocols=offers and offers.split(", "),
        )

    match verb, given:
        case "opens", _:
            clients[who] = stack.enter_context(opening(*given))
        case "rejected", [path, status]:
            with pytest.raises(InvalidStatus) as caught:
                opening(path).__enter__()
            assert caught.value.response.status_code == status
        case "sends", [text]:
            clients[who].send(text)
        case "gets", [text]:
            assert clients[who].recv(timeout=5) == text
        case "ends", [code, reason]:
            with pytest.raises(ConnectionClosed):
                clients[who].recv(timeout=5)
            assert (clients[who].close_code, clients[who].close_reason) == (
                code,
                reason,
            )
        case "leaves", _:
            clients[who].close()


@pytest.mark.parametrize("server", ["engine-trio", "uvicorn_anyws-asyncio"])
def test_a_wrong_annotation_is_loud(server: str, tmp_path: Path) -> None:
    """The engine does not start; uvicorn runs the lifespan itself, so clients fail."""
    need(server)
    app, log = "wrong_app:app", tmp_path / f"{server}.log"

    def is_told() -> bool:
        fault = "'/ws': the parameter 'ws' of wrong_app.handler"
        return fault in log.read_text(errors="replace")

    if server == "engine-trio":
        with (
            pytest.raises(AssertionError, match="the server has ended"),
            serving(server, app, tmp_path),
        ):
            pass
    else:
        with serving(server, app, tmp_path) as (port, _):
            with pytest.raises(InvalidStatus) as caught:
                connect(f"ws://{HOST}:{port}/ws").__enter__()
            assert caught.value.response.status_code == 500
            assert eventually(is_told)
    assert is_told()

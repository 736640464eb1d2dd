"""Who hosts decides, and last: on real servers, by what a client gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ..support.real_servers import COMMANDS, OTHERS_OF_UVICORN, need, serving
from ..support.servers import HOST, eventually

#: route and query -> whether a message comes, then the code and the reason
ENDINGS = {
    "returns": ("last", 1000, ""),
    "fails?handler=closes": ("last", 4029, "too many"),
    "fails?handler=none": ("last", 1000, ""),
    "fails?handler=raises": ("last", 1011, ""),
    "fails?handler=raises+a+policy": ("last", 4030, "policy"),
    "fails_early?handler=accepts": ("last", 4029, "too many"),
    "fails_for_a_policy": ("last", 4008, "no"),
}


class Served:
    """A server of the applications.

    Attributes:
        port: Where it listens.
        log: Its log.
    """

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    def url(self, path: str) -> str:
        """Return the URL of a route."""
        return f"ws://{HOST}:{self.port}/{path}"

    def tracebacks(self) -> int:
        """Count the tracebacks in the log."""
        return self._log.read_text(errors="replace").count("Traceback")


SERVERS = [name for name in COMMANDS if name.partition("-")[2] not in OTHERS_OF_UVICORN]


@pytest.fixture(scope="module", params=SERVERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Run a server."""
    name, folder = need(request.param), tmp_path_factory.mktemp("hosting")
    with serving(name, "hosting_app:app", folder) as (port, _):
        yield Served(port, folder / f"{name}.log")


@pytest.fixture(params=["plain", "hosted", "mounted"])
def where(request: pytest.FixtureRequest) -> str:
    """Return which of the applications is asked."""
    name: str = request.param
    return name


@pytest.mark.parametrize("path", ENDINGS)
def test_the_code_is_that_of_who_decides_last(
    served: Served, where: str, path: str
) -> None:
    """An exception handler's, or what follows from the exception that goes on."""
    before = served.tracebacks()
    with connect(served.url(f"{where}/{path}")) as client:
        message = client.recv(timeout=5)
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=5)
        got = (message, client.close_code, client.close_reason)
    assert got == ENDINGS[path]
    if path != "fails?handler=raises":
        assert served.tracebacks() == before
    else:
        assert eventually(lambda: served.tracebacks() > before)


def test_before_an_accept_the_server_rejects(served: Served, where: str) -> None:
    """With 403 for a handler that closes."""
    with pytest.raises(InvalidStatus) as caught:
        connect(served.url(f"{where}/fails_early?handler=closes")).__enter__()
    assert caught.value.response.status_code == 403


def test_all_objects_share_the_connection(served: Served, where: str) -> None:
    """FastAPI's own, and two of ours."""
    with connect(served.url(f"{where}/shares")) as client:
        for text in "abc":
            client.send(text)
            assert client.recv(timeout=5) == text


def test_a_client_that_leaves_is_no_error(served: Served, where: str) -> None:
    """No log hears of it."""
    before = served.tracebacks()
    for _ in range(3):
        with connect(served.url(f"{where}/careless")) as client:
            client.send("a")
            assert client.recv(timeout=5) == "a"
    with connect(served.url(f"{where}/returns")) as client:
        assert client.recv(timeout=5) == "last"
    assert served.tracebacks() == before

"""The manners of servers in `anyws.testing` are those of the servers themselves.

One suite of questions (`probes`) is put to the fake and to the real server, and the
answers have to agree, row by row.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any, Final

import anyio
import pytest

from anyws.testing import connect

from ..support import probes, real_servers
from ..support.probes import NOTES, ROWS
from ..support.real_servers import Asked, Notes, client_of

#: Each real server, and the dialect that is to be like it.
SERVERS: Final = {
    "hypercorn-asyncio": "hypercorn-asyncio",
    "hypercorn-trio": "hypercorn-trio",
    "engine-asyncio": "hypercorn-engine",
    "engine-trio": "hypercorn-engine",
    "serve-trio": "anyws-serve",
    "uvicorn_anyws-asyncio": "anyws-uvicorn",
    "uvicorn": "uvicorn",
    "granian": "granian",
}


async def ask_fake(name: str, dialect: str) -> Notes:
    """Put one question to the fake."""
    row, case = ROWS[name], uuid.uuid4().hex
    connecting = connect(
        probes.app,
        f"/{name}?case={case}",
        server=dialect,
        early_data=row.early,
        subprotocols=row.subprotocols,
        deadline=60,
    )
    return {"client": await client_of(row, connecting), "app": NOTES[case]}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Give the answers of the real servers."""
    return Asked(SERVERS, ROWS, tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run the fakes on trio, where time passes at once."""
    testing = pytest.importorskip("trio.testing", reason="trio is not installed")
    return "trio", {"clock": testing.MockClock(autojump_threshold=0)}


@pytest.mark.alone
@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("server", list(SERVERS))
async def test_the_fake_does_as_the_server(
    asked: Asked, server: str, name: str
) -> None:
    """Both answer the same to a question."""
    fake = await ask_fake(name, SERVERS[server])
    answer = partial(asked.answer, real_servers.need(server), name, fake)
    assert await anyio.to_thread.run_sync(answer) == fake

"""The law in each server's manners, in memory: what `test_portability` asks of them."""

from __future__ import annotations

import uuid
from typing import Any, Final

import pytest

from anyws.testing import connect
from anyws.testing._server.dialects import DIALECTS

from ..hypercorn.test_portability import DIFFERENCES, FRAMES
from ..support import probes
from ..support.probes import LAW, NOTES
from ..support.real_servers import client_of

#: The server in whose place a dialect stands in the table.
SERVERS: Final = {
    "hypercorn-engine": "engine-trio",
    "anyws-serve": "serve-trio",
    "anyws-uvicorn": "uvicorn_anyws-asyncio",
}


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run on trio, where time passes at once; in a hot loop, as it does elsewhere."""
    testing = pytest.importorskip("trio.testing", reason="trio is not installed")
    return "trio", {"clock": testing.MockClock(rate=1, autojump_threshold=0)}


@pytest.mark.parametrize("name", list(LAW))
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_the_law_holds(dialect: str, name: str) -> None:
    """A check holds where it does on the real server, and nowhere else."""
    check, case = LAW[name], uuid.uuid4().hex
    connecting = connect(
        probes.app, f"/{name}?case={case}", server=dialect, deadline=60
    )
    answer = {"client": await client_of(check, connecting), "app": NOTES[case]}
    reasons = DIFFERENCES.get(name, {})
    reason = reasons.get(SERVERS.get(dialect, dialect))
    if FRAMES in reasons.values():
        reason = FRAMES  # in memory there are none
    assert (answer == check.expected) is (reason is None), (reason, answer)

"""The example that uses all of `anyws.fastapi`."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import anyws.fastapi
from anyws.testing import connect

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fastapi_typed.py"
KEY = {"x-key": "k", "x-name": "ann"}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import it anew."""
    spec = spec_from_file_location("fastapi_typed", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # msgspec reads the annotations of a class in the module of its name.
    monkeypatch.setitem(sys.modules, "fastapi_typed", module)
    spec.loader.exec_module(module)
    return module


async def test_bids_are_typed(example: Any) -> None:
    """An invalid one is answered, and the connection goes on."""
    path = "/auctions/lamp/bids"
    async with connect(example.app, path, headers=KEY) as peer:
        await peer.send_json({"type": "bid", "amount": 0})
        assert "$.amount" in (await peer.receive_json())["error"]
        for amount, best in ((5, 5), (3, 5)):
            await peer.send_json({"type": "bid", "amount": amount})
            said = {"type": "highest", "amount": best, "bidder": "ann"}
            assert await peer.receive_json() == said
        assert example.watching["lamp"] == 1
        await peer.send_json({"type": "leave"})
        assert (await peer.wait_closed()).code == 1000
    assert example.watching["lamp"] == 0
    assert example.counts.codes == {1000: 1}


async def test_the_handlers_and_dependencies_are_fastapis(example: Any) -> None:
    """An exception handler chooses the code, and dependencies can be overridden."""
    async with connect(example.app, "/auctions/over/bids", headers=KEY) as peer:
        await peer.send_json({"type": "bid", "amount": 1})
        info = await peer.wait_closed()
        assert (info.code, info.reason) == (4010, "the auction is over")
    with pytest.raises(anyws.HandshakeRejected):
        async with connect(
            example.app, "/auctions/lamp/bids", headers={"x-key": "stolen"}
        ):
            pass
    example.app.dependency_overrides[example.bidder] = lambda: "bob"
    async with connect(example.app, "/auctions/lamp/bids") as peer:
        await peer.send_json({"type": "bid", "amount": 9})
        assert (await peer.receive_json())["bidder"] == "bob"


async def test_a_countdown_is_interrupted(example: Any) -> None:
    """By whatever the client says."""
    async with connect(example.app, "/auctions/lamp/time?start=9") as peer:
        assert await peer.receive_json() == {"seconds": 9}
        await peer.send_text("hurry")
        assert (await peer.wait_closed()).code == 1008
    async with connect(example.app, "/echo") as peer:
        await peer.send_bytes(b"a")
        assert await peer.receive_bytes() == b"a"


def test_it_documents_itself(example: Any) -> None:
    """All routes, and the messages of two."""
    document = anyws.fastapi.asyncapi(example.app)
    assert set(document["channels"]) == {"bids", "time", "echo"}
    assert set(document["operations"]) == {"bids_receive", "bids_send", "time_send"}

"""What the browser's end of a hub is served and told."""

from __future__ import annotations

import json

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from trio.testing import MockClock

import anyws
from anyws import Event, Hub, Position
from anyws.testing import connect

from ..support.channels import Channel


def test_the_script_is_served() -> None:
    """With a tag, by which a browser that has it gets no second copy."""
    app = Starlette(routes=[Route("/anyws.js", anyws.browser_client)])
    with TestClient(app) as client:
        answer = client.get("/anyws.js")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "globalThis.anyws" in answer.text
        tag = {"if-none-match": answer.headers["etag"]}
        assert client.get("/anyws.js", headers=tag).status_code == 304
        assert client.head("/anyws.js").content == b""
        assert client.post("/anyws.js").status_code == 405


async def test_a_browser_resumes_by_the_positions_that_it_was_told() -> None:
    """What it has seen nothing of begins with the history."""
    async with Hub(history=10) as hub:

        @anyws.endpoint
        async def app(ws: anyws.WebSocket) -> None:
            await ws.accept()
            since = Position.from_json(ws.query_params.get("since"), "a", "b")
            with hub.attach(ws, "a", "b", since=since, encode=Event.as_json):
                await ws.receive_text()

        for number in range(3):
            hub.publish("a", str(number))
        async with connect(app) as peer:
            seen = [await peer.receive_json() for _ in range(3)]
            assert [event["text"] for event in seen] == ["0", "1", "2"]
            await peer.send_text("bye")
        hub.publish("a", "3")
        hub.publish("b", "new to it")
        since = json.dumps({"a": seen[1]["position"]})
        async with connect(app, f"/ws?since={since}") as peer:
            seen = [await peer.receive_json() for _ in range(3)]
            assert [event["text"] for event in seen] == ["2", "3", "new to it"]
            await peer.send_text("bye")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "{",
        '{"a":1}',
        '{"a":"x"}',
        '{"a":"e.1.b"}',
        '{"a":null}',
        "[" * 100_000,
    ],
    ids=range(8),
)
def test_what_is_no_mapping_of_positions_is_refused(text: str) -> None:
    """By ValueError, whatever a stranger sends."""
    with pytest.raises(ValueError, match=r"since|position"):
        Position.from_json(text, "a")


def test_a_browser_without_positions_begins_with_the_history() -> None:
    """And other topics than those that are asked for do not matter."""
    assert Position.from_json(None, "a") == {"a": Position.OLDEST}
    assert Position.from_json("", "a") == {"a": Position.OLDEST}
    assert Position.from_json('{"b":7}', "a") == {"a": Position.OLDEST}


class TestHeartbeats:
    """A browser cannot see pings."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    @pytest.mark.parametrize("heartbeat", [10.0, None])
    async def test_they_go_to_members_that_tell_a_browser_all(
        self, heartbeat: float | None
    ) -> None:
        """Past their filters, and to no others."""
        async with Hub(heartbeat=heartbeat) as hub:
            browser, other = Channel(), Channel()
            async with browser.websocket() as one, other.websocket() as two:
                await one.accept()
                await two.accept()
                await anyio.sleep(60)
                with (
                    hub.attach(
                        one, "a", encode=Event.as_json, filter=lambda _: False
                    ) as member,
                    hub.attach(two, "a"),
                ):
                    assert member.topics == {"a"}
                    await anyio.sleep(35)
                    assert hub.topics() == {"a"}
                    hub.publish("a", "1")
                    await anyio.sleep(1)
                await anyio.sleep(60)
        beats = [] if heartbeat is None else ['{"heartbeat":10}'] * 3
        assert browser.messages == beats
        assert other.messages == ["1"]


@pytest.mark.parametrize("heartbeat", [0, -1, float("nan"), "1"])
def test_a_heartbeat_is_a_number_of_seconds(heartbeat: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="heartbeat"):
        Hub(heartbeat=heartbeat)

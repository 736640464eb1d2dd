"""`anyws.testing`: a peer in memory, in time, and what comes out of its block."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as PlainWebSocket
from starlette.websockets import WebSocketDisconnect

import anyws
from anyws.testing import (
    ApplicationStillRunning,
    ClientDisconnected,
    DeadlineExceeded,
    LifespanFailed,
    Rejected,
    connect,
    lifespan,
)
from anyws.testing._server.network import Message

ACCEPT = {"type": "websocket.accept"}
GONE = "ClientDisconnected"


class Boom(Exception):
    """The error that applications raise on purpose."""


class Raw:
    """An ASGI application made of a function of `receive` and `send`, not a handler.

    Attributes:
        scope: That of the last connection.
        saw: What the function has noted.
    """

    def __init__(self, function: Callable[..., Awaitable[None]]) -> None:
        self._function = function
        self.scope: dict[str, Any] = {}
        self.saw: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the function, behind the `websocket.connect`."""
        self.scope = scope
        assert await receive() == {"type": "websocket.connect"}
        await self._function(receive, send, self.saw)


async def outcome(call: Awaitable[Any]) -> Any:
    """Return what a call returned, or the name of the exception it raised."""
    try:
        return await call
    except Exception as exc:
        return type(exc).__name__


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Send back what comes."""
    await ws.accept(ws.query_params.get("subprotocol"))
    async for message in ws:
        await ws.send_message(message)


@Raw
async def deaf(receive: Any, send: Any, saw: list[Any]) -> None:
    """Accept, and do something else for ever."""
    await send(ACCEPT)
    await anyio.sleep_forever()


@Raw
async def silent(receive: Any, send: Any, saw: list[Any]) -> None:
    """Receive for ever; return with the disconnect."""
    await send(ACCEPT)
    while True:
        saw.append(await receive())
        if saw[-1]["type"] == "websocket.disconnect":
            return


# A connection


async def test_the_peer_has_the_verbs_of_a_client() -> None:
    """Each kind of message goes there and back."""
    async with connect(echo) as ws:
        assert isinstance(ws, anyws.ClientWebSocket)
        await ws.send_text("text")
        assert await ws.receive_text() == "text"
        await ws.send_bytes(b"bytes")
        assert await ws.receive_bytes() == b"bytes"
        await ws.send_json({"a": 1})
        assert await ws.receive_json() == {"a": 1}
        await ws.messages.send("stream")
        assert await ws.messages.receive() == "stream"
        assert await ws.ping() >= 0
        assert (ws.response.status, ws.subprotocol) == (101, None)
        statistics = ws.statistics()
        assert (statistics.messages_sent, statistics.bytes_sent) == (4, 22)
        assert (statistics.messages_received, statistics.bytes_received) == (4, 22)
    assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)


async def test_messages_in_parts_are_whole_to_an_application() -> None:
    """It gets one event of them, and what it sends comes in one part."""
    async with connect(echo) as ws:
        async with ws.send_stream("text") as out:
            await out.send("a")
            await out.send("b")
        async with ws.receive_stream() as message:
            assert [part async for part in message] == ["ab"]
        async with ws.send_stream("binary") as out:
            await out.send(b"c")
        assert await ws.receive_bytes() == b"c"


async def test_messages_are_iterated_until_the_application_closes() -> None:
    """A clean end ends the loop, and says by what code and reason."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        for text in ("one", "two"):
            await ws.send_text(text)
        await ws.close(4000, "that is all")

    async with connect(app) as ws:
        assert [message async for message in ws] == ["one", "two"]
        assert await ws.wait_closed() == ws.close_info
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send_text("late")
    assert ws.close_info == anyws.CloseInfo(4000, "that is all", "peer", True)


async def test_the_application_learns_how_the_peer_closed() -> None:
    """Code and reason reach it, and what was sent before comes first."""
    async with connect(silent) as ws:
        await ws.send_text("first")
        await ws.close(4001, "bye")
    assert silent.saw[-2:] == [
        {"type": "websocket.receive", "text": "first"},
        {"type": "websocket.disconnect", "code": 4001, "reason": "bye"},
    ]


async def test_the_scope_is_that_of_the_request() -> None:
    """Path, query, headers, cookies and subprotocols are where ASGI has them."""
    async with connect(
        silent,
        "wss://example.org/caf%C3%A9?a=b",
        subprotocols=["one", "two"],
        headers={"X-Name": "value", "Origin": "https://example.org"},
        cookies={"session": "1", "other": "2"},
        scope={"client": None, "user": "ann"},
    ):
        pass
    scope = silent.scope
    ws = PlainWebSocket(scope, None, None)  # type: ignore[arg-type]  # not called
    assert str(ws.url) == "wss://example.org/café?a=b"
    assert scope["raw_path"] == b"/caf%C3%A9"
    assert (scope["path"], scope["query_string"]) == ("/café", b"a=b")
    assert ws.headers["x-name"] == "value"
    assert ws.headers["origin"] == "https://example.org"
    assert ws.cookies == {"session": "1", "other": "2"}
    assert scope["subprotocols"] == ["one", "two"]
    assert (scope["client"], scope["user"]) == (None, "ann")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"url": "http://example.org/"}, "url must be"),
        ({"url": "ws"}, "url must be"),
        ({"url": "//ws"}, "url must be"),
        ({"url": "/ü"}, "url must be ASCII"),
        ({"deadline": "5"}, "deadline must be"),
        ({"early_data": ["\ud800"]}, "surrogates not allowed"),
        ({"server": "apache"}, "server must be one of 'strict'"),
        ({"deadline": 0}, "deadline must be"),
        ({"subprotocols": ["a b"]}, "must be a token"),
        ({"headers": {"sec-websocket-key": "x"}}, "cannot be set"),
        ({"cookies": {"a": "b\n"}}, "holds CR"),
    ],
)
def test_arguments_without_meaning_are_refused(
    arguments: dict[str, Any], words: str
) -> None:
    """The error says which, and why."""
    with pytest.raises(ValueError, match=words):
        connect(echo, **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"early_data": "abc"}, "early_data must be"),
        ({"early_data": [1]}, "a message is str or bytes, not int"),
        ({"cookies": "a=b"}, "cookies must be"),
    ],
)
def test_arguments_of_other_types_are_refused(
    arguments: dict[str, Any], words: str
) -> None:
    """The error says which, and what it must be."""
    with pytest.raises(TypeError, match=words):
        connect(echo, **arguments)


async def test_a_flood_is_checked_before_it_is_sent() -> None:
    """What no peer can send is the test's mistake, and not the application's."""
    async with connect(echo) as ws:
        with pytest.raises(ValueError, match="count must not be negative"):
            ws.flood(-1)
        with pytest.raises(UnicodeEncodeError):
            ws.flood(1, "\ud800")


async def test_after_the_block_nothing_is_wrong_with_a_peer() -> None:
    """What it could do then is not done."""
    async with connect(echo) as ws:
        pass
    ws.slow(1)
    ws.shut_down_server()
    ws.stall()
    ws.abort()


# Rejections


async def test_a_rejection_is_a_value() -> None:
    """A close before the accept is 403, with the code and reason that it had."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send({"type": "websocket.close", "code": 4003, "reason": "no"})

    with pytest.raises(anyws.HandshakeRejected) as caught:
        async with connect(app):
            pytest.fail("not reached")
    assert isinstance(caught.value, Rejected)
    assert (caught.value.status, caught.value.body) == (403, b"")
    assert (caught.value.code, caught.value.reason) == (4003, "no")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is Rejected
    assert vars(copy) == vars(caught.value)


async def test_a_denial_response_is_a_value() -> None:
    """Status, headers and body are those of the response."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        response = JSONResponse({"error": "late"}, 429, {"retry-after": "7"})
        await ws.send_denial_response(response)

    with pytest.raises(Rejected) as caught:
        async with connect(app):
            pytest.fail("not reached")
    assert caught.value.status == 429
    assert caught.value.headers["retry-after"] == "7"
    assert caught.value.body == b'{"error":"late"}'
    assert (caught.value.code, caught.value.reason) == (None, None)


# Errors


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_error_of_the_application_comes_out_as_itself(accepted: bool) -> None:
    """In the place of what it has caused, with the application's own traceback."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        if accepted:
            await send(ACCEPT)
        raise Boom

    with pytest.raises(Boom) as caught:
        async with connect(app) as ws:
            await ws.receive_text()  # ConnectionClosed, since there is none
    assert "app" in [entry.name for entry in caught.traceback]


async def test_the_peer_can_look_at_what_an_error_does_to_it() -> None:
    """It is closed with 1011; the error comes out at the end of the block."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        raise Boom

    with pytest.raises(Boom):
        async with connect(app) as ws:
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()
            assert ws.close_info == anyws.CloseInfo(1011, "", "peer", True)


async def test_a_failed_assertion_is_not_lost_behind_the_applications_error() -> None:
    """What leaves the block goes first; the other one is in its notes."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        raise Boom("in the application")

    with pytest.raises(ZeroDivisionError) as caught:
        async with connect(app) as ws:
            await ws.wait_closed()
            raise ZeroDivisionError
    assert caught.value.__notes__ == ["besides, Boom: in the application"]


async def test_a_plain_handler_that_does_not_catch_the_disconnect_has_failed() -> None:
    """Under a server it would be a traceback in the log."""

    async def handler(ws: PlainWebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    app = Starlette(routes=[WebSocketRoute("/ws", handler)])
    with pytest.raises(WebSocketDisconnect):
        async with connect(app):
            pass


async def test_an_application_whose_peer_is_gone_has_not_failed() -> None:
    """What a strict server's send raises then may leave the application."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        try:
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await anyio.wait_all_tasks_blocked()
        except OSError as exc:
            saw.append(type(exc))
            raise

    async with connect(app) as ws:
        await ws.receive_text()
        ws.abort()
    assert app.saw == [ClientDisconnected]


async def test_errors_of_both_sides_are_never_in_a_group() -> None:
    """A group of the user's own stays one."""
    with pytest.raises(ExceptionGroup) as caught:
        async with connect(echo):
            raise ExceptionGroup("mine", [Boom()])
    assert caught.value.message == "mine"


# Deadlines

CLOCK_CLASSES = pytest.importorskip("trio.testing", reason="trio is not installed")


class TestDeadlines:
    """By trio's clock that jumps, so that hours pass at once."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Run on trio alone."""
        clock = CLOCK_CLASSES.MockClock(autojump_threshold=0)
        return "trio", {"clock": clock}

    async def test_a_receive_has_a_deadline(self) -> None:
        """The error shows the last events, and what the application waits for."""
        with pytest.raises(DeadlineExceeded) as caught:
            async with connect(silent, deadline=3600) as ws:
                await ws.send_text("hello")
                await ws.receive_text()
        first, *events = str(caught.value).splitlines()
        begin = "no message within 3600 s (deadline=): the application is at "
        assert first.startswith(begin)
        assert first.endswith(" in silent")
        assert [line.split("s ", 1)[1] for line in events] == [
            "to the application   websocket.connect",
            "from the application websocket.accept",
            "to the application   websocket.receive text='hello'",
        ]

    async def test_the_error_says_that_the_application_does_something_else(
        self,
    ) -> None:
        """It says for how long, and where."""
        with pytest.raises(DeadlineExceeded) as caught:
            async with connect(deaf) as ws:
                await ws.receive_text()
        words = " in deaf, and has not called receive or send for 5.000 s"
        assert words in str(caught.value)
        [note] = caught.value.__notes__  # it does not end either
        assert note.startswith("besides, ApplicationStillRunning")
        assert "before that, the application was at " in note
        assert " in deaf, and had not called " in note
        assert "\n" not in note  # the events stand in the error itself

    async def test_the_error_says_that_the_application_waits_in_send(self) -> None:
        """That is where a peer that does not read leaves it."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            await receive()
            while True:
                await send({"type": "websocket.send", "bytes": bytes(1000)})

        with pytest.raises(DeadlineExceeded, match=r"has a send\(\) under way"):
            async with connect(app) as ws:
                ws.stall()
                await ws.send_text("go")
                await ws.receive_text()

    async def test_the_error_says_that_the_application_has_returned(self) -> None:
        """What it has sent may not be read yet."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            await receive()
            await send({"type": "websocket.close"})

        with pytest.raises(DeadlineExceeded, match="the application has returned"):
            async with connect(app) as ws:
                ws.stall()
                await ws.send_text("go")
                await ws.receive_text()

    async def test_the_handshake_has_a_deadline(self) -> None:
        """An application that does not answer is told that the client has gone."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            saw.append(await receive())

        with pytest.raises(DeadlineExceeded, match="no answer to the opening hand"):
            async with connect(app):
                pytest.fail("not reached")
        assert app.saw == [{"type": "websocket.disconnect", "code": 1006}]

    async def test_a_send_has_a_deadline(self) -> None:
        """An application that does not read holds its peer up."""
        with pytest.raises(DeadlineExceeded, match="no room for a message within"):
            async with connect(deaf, server="uvicorn", deadline=2) as ws:
                while True:
                    await ws.send_bytes(bytes(2**16))

    async def test_an_end_that_is_waited_for_has_a_deadline(self) -> None:
        """The connection is open, and the error says so."""
        async with connect(echo) as ws:
            with pytest.raises(DeadlineExceeded, match="no end of the connection"):
                await ws.wait_closed()

    async def test_an_application_that_does_not_end_is_cancelled(self) -> None:
        """The error says so, and where it was."""
        cancelled = False

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            nonlocal cancelled
            await send(ACCEPT)
            try:
                await anyio.sleep_forever()
            finally:
                cancelled = True

        begin = anyio.current_time()
        with pytest.raises(ApplicationStillRunning, match="in app") as caught:
            async with connect(app, deadline=60):
                pass
        assert cancelled
        assert anyio.current_time() - begin == pytest.approx(60)
        assert "did not end within 60 s (deadline=) after its peer had left" in str(
            caught.value
        )

    async def test_leaving_waits_for_the_application(self) -> None:
        """It may need some time for its own end."""
        ended = False

        @anyws.endpoint
        async def app(ws: anyws.WebSocket) -> None:
            nonlocal ended
            await ws.accept()
            await ws.wait_closed()
            await anyio.sleep(4)
            ended = True

        async with connect(app):
            pass
        assert ended

    async def test_a_peer_that_stalls_holds_the_sender_up(self) -> None:
        """It has room for 64 KiB; a send can be timed out all the same."""
        sent = 0

        @anyws.endpoint
        async def app(ws: anyws.WebSocket) -> None:
            nonlocal sent
            await ws.accept()
            await ws.receive_text()
            with anyio.move_on_after(2):
                while True:
                    await ws.send_bytes(bytes(1024))
                    sent += 1
            await ws.close(4000)

        async with connect(app) as ws:
            ws.stall()
            await ws.send_text("go")
            await anyio.sleep(3)
            ws.resume()
            received = [len(message) async for message in ws]
            assert ws.close_info is not None
            assert ws.close_info.code == 4000
        assert received == [1024] * sent
        assert 64 <= sent < 100

    async def test_a_slow_peer_reads_so_many_bytes_a_second(self) -> None:
        """The application is held up as long as that takes."""

        @anyws.endpoint(options=anyws.Options(close_timeout=60))
        async def app(ws: anyws.WebSocket) -> None:
            await ws.accept()
            for _ in range(64):
                await ws.send_bytes(bytes(16368))  # 16384 with what a message takes

        begin = anyio.current_time()
        async with connect(app) as ws:
            ws.slow(16384)
            for _ in range(64):
                assert len(await ws.receive_bytes()) == 16368
            assert anyio.current_time() - begin == pytest.approx(64, abs=1)

    async def test_a_slow_peer_can_be_too_slow(self) -> None:
        """The handler meets its `send_timeout`; a peer that resumes reads the rest."""
        saw: list[anyws.CloseInfo | None] = []

        @anyws.endpoint(options=anyws.Options(send_timeout=7))
        async def app(ws: anyws.WebSocket) -> None:
            await ws.accept()
            try:
                while True:
                    await ws.send_bytes(bytes(16368))
            finally:
                saw.append(ws.close_info)

        async with connect(app) as ws:
            ws.slow(1024)
            with pytest.raises(ValueError, match="above 0"):
                ws.slow(0)
            await anyio.sleep(60)
            ws.resume()
            with pytest.raises(anyws.ConnectionClosed):
                async for _ in ws:
                    pass
        assert saw == [anyws.CloseInfo(1006, "", "network", False)]


@pytest.mark.parametrize(
    ("leaves", "steps", "results"),
    [
        ("close", "receive send send receive send", ["one", None, None, 4001, GONE]),
        ("close", "receive pause send", ["one", GONE]),
        ("close", "receive close receive", ["one", None, 1000]),
        ("close", "receive pause close receive", ["one", GONE, 4001]),
        ("abort", "receive send send receive send", ["one", None, None, 1005, GONE]),
        ("abort", "receive pause send", ["one", GONE]),
        ("abort", "receive close receive receive", ["one", None, 1000, 1005]),
        ("abort", "send receive send", [None, "one", None]),
    ],
)
async def test_uvicorn_learns_of_the_end_when_the_loop_turns(
    leaves: str, steps: str, results: list[Any]
) -> None:
    """An answer given at once to the peer's last message meets no exception."""
    left = anyio.Event()

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await left.wait()
        for step in steps.split():
            if step == "pause":
                await anyio.wait_all_tasks_blocked()
            elif step == "receive":
                event = await receive()
                saw.append(event.get("text") or event["code"])
            else:
                event = {"type": f"websocket.{step}", "text": "answer"}
                saw.append(await outcome(send(event)))

    async with connect(app, server="uvicorn") as ws:
        await ws.send_text("one")
        if leaves == "close":
            await ws.close(4001)
        else:
            ws.abort()
        await anyio.wait_all_tasks_blocked()
        left.set()
    assert app.saw == results


async def test_uvicorn_reads_on_before_the_connect_is_received() -> None:
    """An application that accepts unasked learns of the peer's end all the same."""
    left = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await left.wait()
        event = {"type": "websocket.send", "text": "late"}
        saw.append(await outcome(send(event)))

    saw: list[Any] = []
    async with connect(app, server="uvicorn") as ws:
        await ws.close()
        await ws.wait_closed()
        left.set()
    assert saw == [GONE]


async def test_a_loop_of_nothing_but_sends_ends() -> None:
    """It would freeze uvicorn, but does not make a test hang."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await anyio.wait_all_tasks_blocked()
        while True:
            await send({"type": "websocket.send", "text": "tick"})

    async with connect(app, server="uvicorn") as ws:
        ws.flood(1)
        ws.abort()


async def test_uvicorn_answers_a_ping_behind_a_message_once_that_is_read() -> None:
    """It goes on reading in the next turn of the event loop."""
    sent = anyio.Event()

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await sent.wait()
        await receive()
        await receive()

    async with connect(app, server="uvicorn") as ws:
        await ws.send_text("unread")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping)
            await anyio.wait_all_tasks_blocked()
            sent.set()


async def test_uvicorn_reads_on_while_a_send_waits() -> None:
    """A send that waits for the peer learns of its end."""
    left = anyio.Event()

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await left.wait()
        await receive()
        event = {"type": "websocket.send", "bytes": bytes(2**16)}
        while (result := await outcome(send(event))) is None:
            saw.append("written")
        saw.append(result)

    async with connect(app, server="uvicorn") as ws:
        ws.stall()
        ws.flood(1)
        ws.send_eof()
        await anyio.wait_all_tasks_blocked()
        left.set()
        await anyio.wait_all_tasks_blocked()
    assert app.saw == ["written", "ClientDisconnected"]


class TestManners:
    """Some of what `test_dialects` holds against servers, as tests meet it."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Run on trio, where time passes at once."""
        clock = CLOCK_CLASSES.MockClock(autojump_threshold=0)
        return "trio", {"clock": clock}

    async def test_hypercorn_refuses_early_data_and_leaves_the_application(
        self,
    ) -> None:
        """The peer gets 400, and the application is never told of it."""
        with pytest.raises(ApplicationStillRunning) as caught:
            async with connect(silent, server="hypercorn-trio", early_data=["x"]):
                pytest.fail("not reached")
        assert isinstance(caught.value.__context__, Rejected)
        assert caught.value.__context__.status == 400

    @pytest.mark.parametrize(
        ("server", "error", "words"),
        [
            ("hypercorn-asyncio", anyws.HandshakeError, "hung up"),
            ("uvicorn", anyws.ProtocolError, "'other', which was not offered"),
        ],
    )
    async def test_a_subprotocol_that_was_not_offered(
        self, server: str, error: type[Exception], words: str
    ) -> None:
        """Hypercorn breaks the connection, uvicorn has the peer do so."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            saw.append(await outcome(send({**ACCEPT, "subprotocol": "other"})))

        with pytest.raises(error, match=words):
            async with connect(app, server=server):
                pytest.fail("not reached")
        assert app.saw == ["Exception" if server == "hypercorn-asyncio" else None]

    @pytest.mark.parametrize(
        ("server", "results"),
        [
            ("hypercorn-trio", ["waits", None]),
            ("uvicorn", [None, "ClientDisconnected"]),
            ("granian", [None, None]),
            ("strict", ["ClientDisconnected", "ClientDisconnected"]),
        ],
    )
    async def test_a_send_behind_a_reset_that_is_not_seen(
        self, server: str, results: list[Any]
    ) -> None:
        """With unread messages, Hypercorn waits for itself, and others are silent."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            await anyio.sleep(1)
            for _ in range(2):
                saw.append("waits")
                with anyio.move_on_after(1):
                    event = {"type": "websocket.send", "text": "tick"}
                    saw[-1] = await outcome(send(event))
                await anyio.sleep(1)  # uvicorn learns of it now

        async with connect(app, server=server) as ws:
            ws.flood(12)
            ws.abort()
        assert app.saw == results

    async def test_a_send_does_not_search_what_waits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It costs the same, however much the peer has sent ahead."""
        compared = 0

        def count(one: object, other: object) -> bool:
            nonlocal compared
            compared += 1
            return one is other

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            await receive()
            await send({"type": "websocket.send", "text": "tick"})

        monkeypatch.setattr(Message, "__eq__", count)
        async with connect(app, server="uvicorn") as ws:
            ws.flood(20)
            assert await ws.receive_text() == "tick"
        assert compared == 0

    async def test_granian_loses_what_a_cancelled_receive_has_taken(self) -> None:
        """The session of anyws never cancels one."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            await anyio.sleep(1)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await receive()
            saw.append((await receive())["text"])

        async with connect(app, server="granian") as ws:
            await ws.send_text("one")
            await ws.send_text("two")
        assert app.saw == ["two"]

    @pytest.mark.parametrize(
        ("server", "code", "told"),
        [
            ("hypercorn-asyncio", None, None),
            ("hypercorn-trio", 1006, None),
            ("hypercorn-engine", 1012, 1012),
            ("anyws-serve", 1012, 1012),
            ("anyws-uvicorn", 1012, 1012),
            ("uvicorn", 1012, 1012),
            ("granian", 1006, 1005),
        ],
    )
    async def test_a_server_that_stops(
        self, server: str, code: int | None, told: int | None
    ) -> None:
        """What the peer gets, and the application, within ten seconds."""
        saw: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            saw.append((await receive())["code"])

        ending = None
        async with connect(app, server=server, deadline=60) as ws:
            ws.shut_down_server()
            with anyio.move_on_after(10):
                ending = (await ws.wait_closed()).code
            assert ending == code
            assert saw == ([] if told is None else [told])

    @pytest.mark.parametrize(
        ("server", "ends_after"), [("anyws-serve", 3), ("anyws-uvicorn", 10)]
    )
    async def test_an_application_that_goes_on_when_the_server_stops(
        self, server: str, ends_after: float
    ) -> None:
        """`anyws.serve` cancels it; uvicorn waits, unless it is told for how long."""
        ended = anyio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            try:
                await anyio.sleep(10)
            finally:
                ended.set()

        async with connect(app, server=server, deadline=60) as ws:
            begin = anyio.current_time()
            ws.shut_down_server()
            await ended.wait()
            assert anyio.current_time() - begin == pytest.approx(ends_after)

    @pytest.mark.parametrize(
        ("server", "status"),
        [("granian", 403), ("uvicorn", 500), ("hypercorn-trio", 500)],
    )
    async def test_an_application_that_ends_in_a_denial_response(
        self, server: str, status: int
    ) -> None:
        """What it has said goes out; without any, the server says something."""

        async def silent_app(scope: Any, receive: Any, send: Any) -> None:
            await receive()

        async def half_an_app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.http.response.start", "status": 451})

        for app, expected in ((silent_app, status), (half_an_app, 451)):
            with pytest.raises(Rejected) as caught:
                async with connect(app, server=server):
                    pytest.fail("not reached")
            assert caught.value.status == expected

    @pytest.mark.parametrize(
        ("server", "results"),
        [
            ("hypercorn-trio", ["TypeError", "KeyError", None, None]),
            ("uvicorn", [None, None, None, None]),
            ("granian", ["RuntimeError", "RuntimeError", "RuntimeError", None]),
        ],
    )
    async def test_messages_without_one_payload(
        self, server: str, results: list[Any]
    ) -> None:
        """Each server takes them in its own way; none, both, and one are given."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            payloads: list[dict[str, Any]] = [
                {"text": None, "bytes": None},
                {},
                {"text": "a", "bytes": b"b"},
                {"text": None, "bytes": b"c"},
            ]
            events = [{"type": "websocket.send", **payload} for payload in payloads]
            saw += [await outcome(send(event)) for event in events]
            saw += [await receive() for _ in range(2 if server == "granian" else 1)]

        async with connect(app, server=server):
            await anyio.sleep(1)
        assert app.saw[:4] == results
        assert {event["type"] for event in app.saw[4:]} == {"websocket.disconnect"}

    @pytest.mark.parametrize(
        ("server", "code", "size", "saw", "info"),
        [
            ("hypercorn-trio", 1006, 3, [None, 1000], (1000, "xxx")),
            ("hypercorn-trio", 999, 3, [None, 1000], (1002, "invalid status code")),
            ("hypercorn-trio", 70000, 3, ["error"], (1006, "")),
            ("hypercorn-trio", 4000, 200, [None, 1000], (4000, "x" * 123)),
            ("uvicorn", 1006, 3, ["ProtocolError", 1006], (1006, "")),
            ("uvicorn", 4000, 200, ["ProtocolError", 4000], (1006, "")),
            ("granian", 1005, 3, [None, 1005], (1002, "invalid status code")),
            ("granian", 70000, 3, [None, 1005], (1000, "xxx")),
            ("granian", 4000, 200, [None, 1005], (1002, "control frame too long")),
        ],
    )
    async def test_a_close_that_no_frame_may_carry(
        self, server: str, code: int, size: int, saw: list[Any], info: tuple[int, str]
    ) -> None:
        """It is mended, refused with an end that is none, or breaks the protocol."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            await send(ACCEPT)
            event = {"type": "websocket.close", "code": code, "reason": "x" * size}
            saw.append(await outcome(send(event)))
            with anyio.move_on_after(1):
                saw.append((await receive())["code"])
            await anyio.sleep_forever()

        with pytest.raises(ApplicationStillRunning):
            async with connect(app, server=server) as ws:
                await anyio.sleep(2)
                ws.abort()
                assert ws.close_info is not None
                assert (ws.close_info.code, ws.close_info.reason) == info
        assert app.saw == saw

    @pytest.mark.parametrize(
        ("server", "told", "code"),
        [
            ("uvicorn", 1005, 1011),
            ("hypercorn-engine", 1011, 1011),
            ("hypercorn-trio", 1006, 1000),
            ("granian", 1000, 1000),
        ],
    )
    async def test_a_peer_that_answers_no_pings(
        self, server: str, told: int, code: int
    ) -> None:
        """Some servers give it up, and tell the application something of that."""
        async with connect(silent, server=server) as ws:
            ws.ignore_pings()
            ws.ignore_pings()  # once more does no harm
            await anyio.sleep(60)
        assert ws.close_info is not None
        assert ws.close_info.code == code
        assert silent.saw[-1]["code"] == told

    async def test_granian_takes_no_body_in_parts(self) -> None:
        """The part raises in the application; what is sent whole goes out."""

        @Raw
        async def app(receive: Any, send: Any, saw: list[Any]) -> None:
            kind = "websocket.http.response"
            await send({"type": f"{kind}.start", "status": 418})
            part = {"type": f"{kind}.body", "body": b"tea", "more_body": True}
            saw.append(await outcome(send(part)))
            await send({"type": f"{kind}.body", "body": b"pot"})

        with pytest.raises(Rejected) as caught:
            async with connect(app, server="granian"):
                pytest.fail("not reached")
        assert app.saw == ["RuntimeError"]
        assert caught.value.body == b"pot"

    async def test_an_application_that_calls_nothing(self) -> None:
        """The deadline's error says so, and that there was no event."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await anyio.sleep_forever()

        with pytest.raises(DeadlineExceeded) as caught:
            async with connect(app):
                pytest.fail("not reached")
        assert " in app, and has not called receive or send yet" in str(caught.value)
        assert "no event in either direction" in str(caught.value)


async def test_a_deadline_is_a_time_out() -> None:
    """The name says what it is, and plain `except TimeoutError` catches it."""
    with pytest.raises(TimeoutError, match=r"within 0.01 s"):
        async with connect(echo, deadline=0.01) as ws:
            await ws.receive_text()


async def test_a_cancelled_receive_has_lost_nothing() -> None:
    """A deadline of the test's own comes through as its own."""
    async with connect(echo) as ws:
        with anyio.move_on_after(0.01) as scope:
            await ws.receive_text()
        assert scope.cancelled_caught
        await ws.send_text("still there")
        assert await ws.receive_text() == "still there"


async def test_a_cancelled_test_cancels_the_application() -> None:
    """Nothing is waited for, and nothing left behind."""
    with anyio.move_on_after(0.05) as scope:
        async with connect(deaf):
            await anyio.sleep_forever()
    assert scope.cancelled_caught


# Lifespan


def starlette_app(saw: list[str], fails: str = "") -> Starlette:
    """Return an application with a lifespan, which may fail in one of its parts."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        saw.append("startup")
        if fails == "startup":
            raise Boom
        yield {"pool": "shared"}
        saw.append("shutdown")
        if fails == "shutdown":
            raise Boom

    async def handler(ws: PlainWebSocket) -> None:
        await ws.accept()
        await ws.send_text(ws.state.pool)
        await ws.close()
        saw.append("served")

    return Starlette(routes=[WebSocketRoute("/ws", handler)], lifespan=lifespan)


async def test_the_lifespan_is_run_when_asked_for() -> None:
    """Startup, connection, shutdown; what the startup made is in the state."""
    saw: list[str] = []
    async with connect(starlette_app(saw), lifespan=True) as ws:
        assert [text async for text in ws] == ["shared"]
    assert saw == ["startup", "served", "shutdown"]


async def test_the_lifespan_is_not_run_otherwise() -> None:
    """The state is empty."""
    saw: list[str] = []
    with pytest.raises(AttributeError, match="pool"):
        async with connect(starlette_app(saw)) as ws:
            await ws.receive_text()
    assert saw == []


@pytest.mark.parametrize("part", ["startup", "shutdown"])
async def test_a_failing_lifespan_comes_out(part: str) -> None:
    """As the error itself, since the application lets it out."""
    with pytest.raises(Boom):
        async with connect(starlette_app([], fails=part), lifespan=True) as ws:
            assert part == "shutdown"
            assert [text async for text in ws] == ["shared"]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (["startup.failed"], "lifespan.startup failed: no database"),
        (["startup.complete", "shutdown.failed"], "shutdown failed: no database"),
        ([], "lifespan.startup failed: it returned without an answer"),
    ],
    ids=repr,
)
async def test_a_lifespan_that_says_that_it_failed(
    events: list[str], words: str
) -> None:
    """Its message is in the error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in events:
                await receive()
                await send({"type": f"lifespan.{event}", "message": "no database"})
        else:
            await echo(scope, receive, send)

    with pytest.raises(LifespanFailed, match=words):
        async with connect(app, lifespan=True):
            pass


async def test_a_lifespan_that_says_something_else() -> None:
    """It raises in the application, and comes out."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.completed"})

    with pytest.raises(RuntimeError, match=r"'lifespan\.startup\.completed'"):
        async with connect(app, lifespan=True):
            pytest.fail("not reached")


async def test_a_lifespan_that_fails_after_its_shutdown() -> None:
    """What it raises comes out."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            await anyio.sleep(0.01)
            raise Boom
        await echo(scope, receive, send)

    with pytest.raises(Boom):
        async with connect(app, lifespan=True):
            pass


async def test_a_lifespan_serves_more_than_one_connection() -> None:
    """Its state is that of each, copied as servers do."""
    events = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope["state"]["hub"].append(scope["path"])
            scope["state"]["own"] = True
            await echo(scope, receive, send)
            return
        scope["state"]["hub"] = []
        for event in ("startup", "shutdown"):
            events.append(await receive())
            await send({"type": f"lifespan.{event}.complete"})

    async with lifespan(app) as state:
        scope = {"state": state}
        async with connect(app, "/a", scope=scope), connect(app, "/b", scope=scope):
            assert state == {"hub": ["/a", "/b"]}
        assert [event["type"] for event in events] == ["lifespan.startup"]
    assert [event["type"] for event in events][1:] == ["lifespan.shutdown"]


async def test_a_lifespan_leaves_what_its_block_raises_as_it_is() -> None:
    """What the shutdown raises is a note of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise Boom("at the end")

    with pytest.raises(ZeroDivisionError) as caught:
        async with lifespan(app):
            raise ZeroDivisionError
    assert caught.value.__notes__ == ["besides, Boom: at the end"]


async def test_a_lifespan_that_does_not_answer_meets_the_deadline() -> None:
    """The error says which part it was."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    with pytest.raises(DeadlineExceeded, match=r"complete lifespan\.startup within"):
        async with connect(app, lifespan=True, deadline=0.01):
            pytest.fail("not reached")


# What can be wrong with a peer


async def test_a_peer_that_aborts_is_lost_without_a_word() -> None:
    """The application is told 1006, after what was sent; here it is 1006 at once."""
    async with connect(silent) as ws:
        await ws.send_text("last words")
        ws.abort()
        assert ws.close_info == anyws.CloseInfo(1006, "", "network", False)
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send_text("late")
        ws.abort()  # once more does no harm
    assert silent.saw[-2:] == [
        {"type": "websocket.receive", "text": "last words"},
        {"type": "websocket.disconnect", "code": 1006},
    ]


async def test_a_half_close_is_an_end_to_the_server() -> None:
    """It has no closing frame, and the application is told 1006."""
    async with connect(silent) as ws:
        ws.send_eof()
        await anyio.wait_all_tasks_blocked()
        assert silent.saw[-1] == {"type": "websocket.disconnect", "code": 1006}
        info = await ws.wait_closed()  # since the application has ended
        assert info == anyws.CloseInfo(1006, "", "network", False)


async def test_a_flood_is_there_at_once() -> None:
    """All of it arrives, whatever the buffers hold."""
    total = 0

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        nonlocal total
        await ws.accept()
        async for _ in ws:
            total += 1

    async with connect(app, deadline=25) as ws:
        ws.flood(2000, "x" * 100)
    assert total == 2000


@pytest.mark.parametrize("fault", ["abort", "send_eof", "flood"])
async def test_a_fault_comes_after_what_was_sent(fault: str) -> None:
    """In order, although much of it has had no room yet."""
    seen: list[str] = []
    sent: list[str] = []
    reads = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await reads.wait()
        while (event := await receive())["type"] == "websocket.receive":
            seen.append(event["text"].split()[0])

    async with connect(app) as ws:
        with suppress(anyio.WouldBlock):
            while True:
                ws.send_nowait(f"{len(sent)} {'x' * 60_000}")
                sent.append(str(len(sent)))
                await anyio.wait_all_tasks_blocked()
        if fault == "flood":
            ws.flood(1, "flood")
            sent.append("flood")
        else:
            getattr(ws, fault)()
        reads.set()
    assert seen == sent


async def test_early_data_waits_for_the_accept() -> None:
    """The application gets it as its first messages."""
    async with connect(echo, early_data=["early", b"bird"]) as ws:
        assert await ws.receive_message() == "early"
        assert await ws.receive_message() == b"bird"


async def test_a_server_that_stops_tells_both_ends() -> None:
    """A strict one says 1012 to either."""
    async with connect(silent) as ws:
        ws.shut_down_server()
        with pytest.raises(anyws.ConnectionClosed):
            await ws.receive_text()
        assert ws.close_info == anyws.CloseInfo(1012, "", "peer", True)
    assert silent.saw[-1] == {"type": "websocket.disconnect", "code": 1012}

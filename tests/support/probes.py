"""What is asked of every server, and of the fake that takes on its manners.

A row is an application that notes what its `receive` and `send` do, and a client that
notes what it sees. A check is the same with a handler of anyws and one answer that is
right: the law. `app` runs them all, under a real server and in memory:
`/NAME?case=CASE` is the one of a row. Notes go to `NOTES`, and to a file of the folder
that the environment names, if it names one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

import anyws

FOLDER: Final = "PROBE_NOTES"  # in the environment
NOTES: defaultdict[str, list[Any]] = defaultdict(list)

# Seconds after which a call that has not returned is said to wait, and in which what
# was sent over a socket is there.
WAITS: Final = 0.4
ARRIVES: Final = 0.15

Note: TypeAlias = Callable[..., None]
App: TypeAlias = Callable[["Asgi"], Awaitable[None]]
Client: TypeAlias = Callable[[Any, Note], Awaitable[None]]
Handler: TypeAlias = Callable[["Asgi", anyws.WebSocket], Awaitable[None]]


class Boom(Exception):
    """The error that applications raise on purpose."""


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, bytes):
        return f"bytes: {value.decode('latin-1')}"
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class Asgi:
    """What an application of a row has: a scope, and calls that note what they do."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.raw_receive, self.raw_send = scope, receive, send
        query = dict(pair.split("=") for pair in scope["query_string"].decode().split())
        self.case = query["case"]

    def note(self, *values: Any) -> None:
        """Note something."""
        noted = plain(values)
        NOTES[self.case].append(noted)
        if folder := os.environ.get(FOLDER):
            with (Path(folder) / self.case).open("a") as file:
                file.write(f"{json.dumps(noted)}\n")

    async def outcome(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Return what a call returns or raises, or that it waits."""
        with anyio.move_on_after(WAITS):
            try:
                return await call()
            except Exception as exc:
                return type(exc).__name__
        return "waits"

    async def receive(self) -> Any:
        """Receive, and note how that went."""
        event = await self.outcome(self.raw_receive)
        self.note("receive", event)
        return event

    async def send(self, kind: str, **fields: Any) -> Any:
        """Send `websocket.KIND`, and note how that went."""
        event = {"type": f"websocket.{kind}", **fields}
        result = await self.outcome(partial(self.raw_send, event))
        self.note("send", kind, result)
        return result

    async def quietly(self, call: Awaitable[Any]) -> None:
        """Await a call, whatever it raises; none of that is a checkpoint of ours."""
        try:
            await call
        except anyws.ConnectionClosed:
            pass

    async def accept(self) -> None:
        """Take the `websocket.connect`, and accept."""
        await self.raw_receive()
        await self.raw_send({"type": "websocket.accept"})


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        app: The application.
        client: Its client, once the handshake is complete; until then it has no say.
        early: Messages that the client sends before the answer.
        subprotocols: Those that it offers.
        alone: Whether the row has a server for itself, which may end with it.
        pings: Whether that server expects answers to its pings soon.
    """

    app: App
    client: Client
    early: tuple[str, ...] = ()
    subprotocols: tuple[str, ...] = ()
    alone: bool = False
    pings: bool = False
    compression = False


ROWS: dict[str, Row] = {}


@dataclass(frozen=True)
class Check:
    """One promise of the law.

    Attributes:
        rule: Its number.
        app: A handler, given the notes as well.
        client: Its client.
        expected: What the two have to note.
        alone: Whether the check has a server for itself.
        compression: Whether the client offers it.
    """

    rule: int
    app: Handler
    client: Client
    expected: dict[str, list[Any]]
    alone: bool = False
    compression: bool = False
    early = subprotocols = ()
    pings = False


LAW: dict[str, Check] = {}


def row(client: Client, **settings: Any) -> Callable[[App], App]:
    """Make a row of an application and a client."""

    def decorate(app: App) -> App:
        name = getattr(app, "__name__", "")
        ROWS[name] = Row(app, client, **settings)
        return app

    return decorate


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Run the application of a row."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})
        return
    asgi = Asgi(scope, receive, send)
    end = "cancelled"
    name = scope["path"].removeprefix("/")
    silent = name in LAW and not LAW[name].expected["app"]
    try:
        if name in LAW:
            await anyws.endpoint(partial(LAW[name].app, asgi))(scope, receive, send)
        else:
            await ROWS[name].app(asgi)
        end = "returned"
    except Exception as exc:
        end = f"raised {type(exc).__name__}"
        raise
    finally:
        if not silent:
            asgi.note("over", end)


# Clients


async def end_of(ws: Any, note: Note) -> None:
    """Note how the connection ends."""
    messages = []
    try:
        while True:
            messages.append(await ws.receive_message())
    except anyws.ConnectionClosed:
        pass
    info = ws.close_info
    note("end", messages, info.code, info.reason)


async def leave(ws: Any, note: Note) -> None:
    """Let the application do something, and leave."""
    await anyio.sleep(ARRIVES)


async def wait_and_leave(ws: Any, note: Note) -> None:
    """Give it more time for that."""
    await anyio.sleep(5 * WAITS)


async def close_4001(ws: Any, note: Note) -> None:
    """Close with a code and a reason."""
    await ws.close(4001, "bye")
    await wait_and_leave(ws, note)


async def abort(ws: Any, note: Note) -> None:
    """Reset the connection."""
    await anyio.sleep(ARRIVES)
    ws.abort()
    await wait_and_leave(ws, note)


# The scope and messages


@row(leave, subprotocols=("one", "two"))
async def scope(asgi: Asgi) -> None:
    """What the scope says."""
    scope = asgi.scope
    await asgi.accept()
    asgi.note(sorted(scope))
    asgi.note(scope["asgi"]["spec_version"], scope["http_version"], scope["scheme"])
    asgi.note(*(type(scope[side][1]).__name__ for side in ("client", "server")))
    asgi.note(sorted(scope["extensions"]), scope["subprotocols"])
    asgi.note(scope["path"], scope["raw_path"], scope["root_path"])
    names = {name for name, _ in scope["headers"]}
    asgi.note(*(name in names for name in (b"host", b"sec-websocket-protocol")))


async def send_some(ws: Any, note: Note) -> None:
    """Send messages of both kinds, and empty ones."""
    for message in ("text", b"bytes", "", b""):
        await ws.send_message(message)
    await end_of(ws, note)


@row(send_some)
async def messages(asgi: Asgi) -> None:
    """How messages are spelled, both ways."""
    await asgi.accept()
    for _ in range(4):
        await asgi.receive()
    await asgi.send("send", text="text")
    await asgi.send("send", bytes=b"bytes")
    await asgi.send("send", text=None, bytes=b"one key is None")
    await asgi.send("send", text="both", bytes=b"bytes win")
    await asgi.send("close")


@row(end_of)
async def no_payload(asgi: Asgi) -> None:
    """A message event without a payload."""
    await asgi.accept()
    await asgi.send("send", text=None, bytes=None)
    await asgi.send("send")
    await asgi.send("close")


# The peer leaves


async def after_the_end(asgi: Asgi) -> None:
    """What comes with the disconnect, and what can be done after it."""
    await asgi.accept()
    await asgi.receive()
    await asgi.send("send", text="late")
    await asgi.send("close", code=4002)
    await asgi.receive()


@row(close_4001)
async def peer_closes(asgi: Asgi) -> None:
    """With a code and a reason."""
    await after_the_end(asgi)


async def close_without_code(ws: Any, note: Note) -> None:
    """Close as a browser does that is given no code."""
    await ws.close(None)
    await wait_and_leave(ws, note)


@row(close_without_code)
async def peer_closes_without_code(asgi: Asgi) -> None:
    """With an empty closing frame."""
    await after_the_end(asgi)


@row(abort)
async def peer_aborts(asgi: Asgi) -> None:
    """By a reset."""
    await after_the_end(asgi)


async def half_close(ws: Any, note: Note) -> None:
    """End the sending half."""
    await anyio.sleep(ARRIVES)
    ws.send_eof()
    await wait_and_leave(ws, note)


@row(half_close)
async def peer_half_closes(asgi: Asgi) -> None:
    """By a FIN."""
    await after_the_end(asgi)


@row(close_4001)
async def send_before_receive(asgi: Asgi) -> None:
    """The application sends, and has not received that the peer is gone."""
    await asgi.accept()
    await anyio.sleep(ARRIVES)
    await asgi.send("send", text="late")
    await asgi.send("send", text="later")
    await asgi.receive()


def leaves_while_busy(how: str) -> Client:
    """Send a message and leave while the application looks at nothing."""

    async def client(ws: Any, note: Note) -> None:
        await ws.send_text("one")
        await anyio.sleep(ARRIVES)  # in a segment of its own
        if how == "abort":
            ws.abort()
        else:
            await ws.close(4001, "bye")
            note("close", (await ws.wait_closed()).clean)
        await wait_and_leave(ws, note)

    return client


def answers(*steps: str) -> App:
    """Be busy while the peer leaves behind a message; then take these steps."""

    async def app(asgi: Asgi) -> None:
        await asgi.accept()
        await anyio.sleep(ARRIVES + 2 * WAITS)
        for step in steps:
            if step == "send":
                await asgi.send("send", text="answer")
            elif step == "close":
                await asgi.send("close")
            elif step == "receive":
                await asgi.receive()
            else:
                await anyio.sleep(ARRIVES)

    return app


for how in ("abort", "close"):
    for steps in (
        ("send",),
        ("send", "send", "receive"),
        ("send", "pause", "send"),
        ("pause", "send", "send", "receive"),
        ("close", "receive", "close"),
        ("pause", "close", "receive"),
    ):
        name = f"{how}_while_busy_{'_'.join(steps)}"
        ROWS[name] = Row(answers("receive", *steps), leaves_while_busy(how))
    name = f"{how}_while_busy_first_send"
    ROWS[name] = Row(answers("send", "receive", "close"), leaves_while_busy(how))


async def answer_no_pings(ws: Any, note: Note) -> None:
    """Read nothing until the server has given up, if it does."""
    ws.ignore_pings()
    await anyio.sleep(5 * WAITS)
    ws.resume()
    with anyio.move_on_after(WAITS):
        await end_of(ws, note)
        return
    note("end", "nothing")


@row(answer_no_pings, alone=True, pings=True)
async def peer_answers_no_pings(asgi: Asgi) -> None:
    """Not in the time that the server's keepalive has for that."""
    await asgi.accept()
    await anyio.sleep(4 * WAITS)
    await asgi.receive()
    await asgi.send("send", text="late")
    await asgi.send("close", code=4002)
    await asgi.receive()


# The application leaves


def closes(code: int, reason: str) -> App:
    """Close with what no frame may carry, and then with what one may."""

    async def app(asgi: Asgi) -> None:
        await asgi.accept()
        await asgi.send("close", code=code, reason=reason)
        await asgi.receive()
        await asgi.send("close", code=4003)
        await asgi.receive()

    return app


for code in (999, 1005, 1006, 1015, 5000, 70000):
    ROWS[f"own_close_{code}"] = Row(closes(code, "why"), end_of)
ROWS["own_close_long_reason"] = Row(closes(4002, "x" * 200), end_of)


@row(end_of)
async def own_close(asgi: Asgi) -> None:
    """With a code and a reason; what comes then, and what can be sent."""
    await asgi.accept()
    await asgi.send("close", code=4002, reason="why")
    await asgi.receive()
    await asgi.receive()


@row(end_of)
async def own_close_twice(asgi: Asgi) -> None:
    """More events when the peer has answered."""
    await asgi.accept()
    await asgi.raw_send({"type": "websocket.close", "code": 4002})
    await anyio.sleep(ARRIVES)
    await asgi.send("send", text="later")
    await asgi.send("close", code=4003)


async def stall(ws: Any, note: Note) -> None:
    """Read nothing, so that no closing frame is answered."""
    ws.stall()
    await ws.send_text("stalled")
    await anyio.sleep(3 * WAITS)
    ws.abort()
    await anyio.sleep(2 * WAITS)


@row(stall)
async def own_close_unanswered(asgi: Asgi) -> None:
    """The peer does not answer."""
    await asgi.accept()
    await asgi.raw_receive()
    await asgi.send("close", code=4002)
    await asgi.send("send", text="late")
    await asgi.send("close", code=4003)
    await asgi.send("accept")
    await asgi.receive()


async def send_behind_close(ws: Any, note: Note) -> None:
    """Send what crosses the application's close."""
    ws.stall()
    await ws.send_text("first")
    await anyio.sleep(ARRIVES)
    await ws.send_text("second")
    await anyio.sleep(3 * WAITS)


@row(send_behind_close)
async def message_behind_own_close(asgi: Asgi) -> None:
    """A message that crosses the close."""
    await asgi.accept()
    await asgi.raw_receive()
    await asgi.raw_send({"type": "websocket.close", "code": 4002})
    await anyio.sleep(2 * ARRIVES)
    await asgi.receive()


@row(end_of)
async def returns_late(asgi: Asgi) -> None:
    """It returns without a close."""
    await asgi.accept()


@row(end_of)
async def raises_late(asgi: Asgi) -> None:
    """It raises."""
    await asgi.accept()
    raise Boom


@row(leave)
async def returns_early(asgi: Asgi) -> None:
    """It returns without an answer to the handshake."""
    await asgi.raw_receive()


@row(leave)
async def raises_early(asgi: Asgi) -> None:
    """It raises before it has answered."""
    await asgi.raw_receive()
    raise Boom


# The handshake


@row(leave)
async def rejects(asgi: Asgi) -> None:
    """A close before the accept, and what can be done then."""
    await asgi.raw_receive()
    await asgi.send("close", code=4003, reason="no")
    await asgi.receive()
    await asgi.send("send", text="late")
    await asgi.send("close")


@row(leave)
async def rejects_twice(asgi: Asgi) -> None:
    """More events at once, before the peer has hung up."""
    await asgi.raw_receive()
    await asgi.send("close", code=4003)
    await asgi.send("close")
    await asgi.send("send", text="late")
    await asgi.receive()


@row(leave)
async def denies_and_rejects(asgi: Asgi) -> None:
    """A close at once behind a denial response."""
    await asgi.raw_receive()
    headers = [(b"content-length", b"0")]
    await asgi.send("http.response.start", status=418, headers=headers)
    await asgi.send("http.response.body", body=b"")
    await asgi.send("close")


@row(leave)
async def denies(asgi: Asgi) -> None:
    """A denial response, and what comes then."""
    await asgi.raw_receive()
    headers = [(b"x-a", b"1"), (b"content-length", b"6")]
    await asgi.send("http.response.start", status=418, headers=headers)
    await asgi.send("http.response.body", body=b"tea", more_body=True)
    await asgi.send("http.response.body", body=b"pot", more_body=False)
    await asgi.receive()
    await asgi.send("send", text="late")


@row(end_of, subprotocols=("one", "two"))
async def accepts_with(asgi: Asgi) -> None:
    """A subprotocol and a header."""
    await asgi.raw_receive()
    headers = [(b"x-a", b"1")]
    await asgi.send("accept", subprotocol="two", headers=headers)
    await asgi.send("close")


@row(end_of)
async def accepts_with_white_space(asgi: Asgi) -> None:
    """Around the value of a header, as `http.cookies` writes one."""
    await asgi.raw_receive()
    await asgi.send("accept", headers=[(b"x-a", b" 1\t")])
    await asgi.send("close")


@row(end_of)
async def our_class_takes_white_space(asgi: Asgi) -> None:
    """The same by our class, without `async with`."""
    ws = anyws.WebSocket(asgi.scope, asgi.raw_receive, asgi.raw_send)
    await ws.accept(headers=[(b"x-a", b" 1\t")])
    await ws.close()


@row(end_of)
async def a_block_takes_white_space(asgi: Asgi) -> None:
    """The same by our class, with `async with`."""
    async with anyws.WebSocket(asgi.scope, asgi.raw_receive, asgi.raw_send) as ws:
        await ws.accept(headers=[(b"x-a", b" 1\t")])


async def try_headers(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """Offer headers that no server may send, and then one that is good."""
    for name, value in (
        (b"content-length", b"5"),
        (b"te", b"trailers"),
        (b"x-a", b"1\r\nx-b: 2"),
        (b"x-a", b"\x01"),
        (b"x a", b"1"),
    ):
        accept = partial(ws.accept, headers=[(name, value)])
        asgi.note(name, await asgi.outcome(accept))
    await ws.accept(headers=[(b"x-a", b"1")])
    await ws.close()


@row(end_of)
async def our_class_refuses_headers(asgi: Asgi) -> None:
    """Before the state changes, so that an accept without them follows."""
    ws = anyws.WebSocket(asgi.scope, asgi.raw_receive, asgi.raw_send)
    await try_headers(asgi, ws)


@row(end_of)
async def a_block_refuses_headers(asgi: Asgi) -> None:
    """The same with `async with`."""
    async with anyws.WebSocket(asgi.scope, asgi.raw_receive, asgi.raw_send) as ws:
        await try_headers(asgi, ws)


@row(end_of, subprotocols=("one",), alone=True)
async def accepts_unoffered(asgi: Asgi) -> None:
    """A subprotocol that was not offered."""
    await asgi.raw_receive()
    await asgi.send("accept", subprotocol="other")


@row(end_of)
async def out_of_order(asgi: Asgi) -> None:
    """Events that the state does not allow."""
    await asgi.raw_receive()
    await asgi.send("send", text="too early")
    await asgi.send("accept")
    await asgi.send("accept")
    await asgi.send("close")


@row(close_4001)
async def accepts_unasked(asgi: Asgi) -> None:
    """The connect is not received before the peer has closed."""
    await asgi.send("accept")
    await anyio.sleep(ARRIVES + WAITS)
    await asgi.send("send", text="late")
    await asgi.receive()
    await asgi.receive()


@row(end_of, early=("early", "bird"))
async def early_data(asgi: Asgi) -> None:
    """Messages that come before the accept."""
    await asgi.raw_receive()
    await anyio.sleep(ARRIVES)
    await asgi.send("accept")
    await asgi.receive()
    await asgi.receive()
    await asgi.send("close")


# What is not read


def pings_behind(count: int) -> Client:
    """Send so many messages, and then a ping."""

    async def client(ws: Any, note: Note) -> None:
        for n in range(count):
            await ws.send_text(str(n))
            await anyio.sleep(0.01)  # each in a segment of its own
        with anyio.move_on_after(WAITS):
            await ws.ping()
            note("ping", "answered")
            return
        note("ping", "waits")

    return client


async def busy(asgi: Asgi) -> None:
    """The application does something else."""
    await asgi.accept()
    await anyio.sleep(4 * WAITS)


for count in (0, 1, 5, 9, 10, 11, 30):
    ROWS[f"ping_behind_{count}"] = Row(busy, pings_behind(count))


def leaves_behind(count: int, how: str) -> Client:
    """Send so many messages, and leave."""

    async def client(ws: Any, note: Note) -> None:
        for n in range(count):
            await ws.send_text(str(n))
            await anyio.sleep(0.01)
        if how == "abort":
            ws.abort()
        else:
            with anyio.move_on_after(WAITS):
                await ws.close(4001)
                note("close", (await ws.wait_closed()).clean)
        await wait_and_leave(ws, note)

    return client


async def only_sends(asgi: Asgi) -> None:
    """The application sends, and then looks at what has come."""
    await asgi.accept()
    await anyio.sleep(ARRIVES + 2 * WAITS)
    for _ in range(3):
        await asgi.send("send", text="tick")
        await anyio.sleep(0.02)
    for _ in range(14):
        event = await asgi.outcome(asgi.raw_receive)
        if not (isinstance(event, dict) and event["type"] == "websocket.receive"):
            asgi.note("then", event)
            break


for count in (0, 5, 12):
    for how in ("abort", "close"):
        ROWS[f"{how}_behind_{count}"] = Row(only_sends, leaves_behind(count, how))


@row(stall)
async def peer_stalls(asgi: Asgi) -> None:
    """A send that waits for a peer that does not read, and is cancelled."""
    await asgi.accept()
    await asgi.raw_receive()
    begin = anyio.current_time()
    with anyio.move_on_after(WAITS) as scope:
        while True:
            await asgi.raw_send({"type": "websocket.send", "bytes": bytes(2**16)})
            await checkpoint()  # Hypercorn's silent send is none: it would freeze
    took = anyio.current_time() - begin
    asgi.note(scope.cancelled_caught, "in time" if took < 2 * WAITS else "late")


async def send_numbers(ws: Any, note: Note) -> None:
    """Send what the application may lose."""
    for n in range(20):
        await ws.send_text(str(n))
    await anyio.sleep(3 * WAITS)


@row(send_numbers)
async def cancelled_receives(asgi: Asgi) -> None:
    """Receives that are cancelled as soon as they can be."""
    await asgi.accept()
    await anyio.sleep(ARRIVES)
    got = []

    async def receive() -> None:
        got.append((await asgi.raw_receive())["text"])

    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await checkpoint()
            tasks.cancel_scope.cancel()
    with anyio.move_on_after(WAITS):
        while len(got) < 20:
            await receive()
    asgi.note(
        "loses" if len(got) < 20 else "loses nothing", got == sorted(got, key=int)
    )


# The server stops


async def see_it_stop(ws: Any, note: Note) -> None:
    """Note what the peer gets."""
    await anyio.sleep(ARRIVES)
    ws.shut_down_server()
    with anyio.move_on_after(8):
        await end_of(ws, note)
        return
    note("end", "nothing")


@row(see_it_stop, alone=True)
async def stops(asgi: Asgi) -> None:
    """The application waits in a receive."""
    await asgi.accept()
    begin = anyio.current_time()
    event: Any = None
    try:
        event = await asgi.raw_receive()
    finally:
        asgi.note("receive", event, "after", round(anyio.current_time() - begin))


# The law: what holds with a session round the handler, on every server


def law(
    rule: int, client: Client, app: list[Any], peer: list[Any], **settings: Any
) -> Callable[[Handler], Handler]:
    """Make a check of a handler, its client, and what they have to note."""
    expected = {"app": app, "client": [["open", None, None], *peer]}

    def decorate(handler: Handler) -> Handler:
        name = getattr(handler, "__name__", "")
        LAW[name] = Check(rule, handler, client, plain(expected), **settings)
        return handler

    return decorate


RETURNED: Final = ["over", "returned"]


async def send_numbers_slowly(ws: Any, note: Note) -> None:
    """Send what the handler must not lose."""
    for n in range(200):
        await ws.send_text(str(n))
        if n % 3 == 0:
            await anyio.sleep(0.001)
    await end_of(ws, note)


@law(
    1,
    send_numbers_slowly,
    [["got", list(range(200))], RETURNED],
    [["end", [], 1000, ""]],
)
async def cancelled_receives_lose_nothing(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """Receives with deadlines that pass as messages arrive return all of them."""
    await ws.accept()
    got: list[int] = []
    while len(got) < 200:
        with anyio.move_on_after(0.0015):
            got.append(int(await ws.receive_text()))
    asgi.note("got", got)


async def check_what_comes(ws: Any, note: Note) -> None:
    """Note whether every message is whole."""
    count = 0
    whole = True
    while (text := await ws.receive_text()) != "end":
        checksum, _, body = text.partition(":")
        whole = whole and checksum == str(zlib.crc32(body.encode()))
        count += 1
    note("whole", whole, count > 0)
    await end_of(ws, note)


@law(
    2,
    check_what_comes,
    [RETURNED],
    [["whole", True, True], ["end", [], 1000, ""]],
    compression=True,
)
async def cancelled_sends_are_whole_or_not_sent(
    asgi: Asgi, ws: anyws.WebSocket
) -> None:
    """Sends that are cancelled tear no message, compressed ones neither."""
    await ws.accept()

    async def sender(number: int) -> None:
        for n in range(20):
            body = f"{number} {n} " * (number * 40)
            text = f"{zlib.crc32(body.encode())}:{body}"
            async with anyio.create_task_group() as sending:
                sending.start_soon(ws.send_text, text)
                for _ in range(n % 7):
                    await checkpoint()
                sending.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(sender, number)
    await ws.send_text("end")


async def hear_one_and_abort(ws: Any, note: Note) -> None:
    """Reset the connection when the first message has come."""
    await ws.receive_text()
    ws.abort()


async def tick(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """Send until that raises, within two seconds."""
    await ws.accept()
    with anyio.move_on_after(2):
        try:
            while True:
                await ws.send_text("tick")
                await anyio.sleep(0.02)
        except anyws.ConnectionClosed:
            asgi.note("send", "raises")


@law(3, hear_one_and_abort, [["send", "raises"], RETURNED], [])
async def a_send_to_a_lost_peer_raises(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """A handler that only sends learns that its peer has gone."""
    await tick(asgi, ws)


async def send_five_and_close(ws: Any, note: Note) -> None:
    """Close behind some messages."""
    for n in range(5):
        await ws.send_text(str(n))
    await ws.close(4001, "bye")


@law(
    3,
    send_five_and_close,
    [["read", ["0", "1", "2", "3", "4", "ConnectionClosed"]], RETURNED],
    [],
)
async def what_came_before_the_end_is_readable(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """Messages that are there when the peer leaves can be read after that."""
    await ws.accept()
    await ws.wait_closed()
    asgi.note("read", [await asgi.outcome(ws.receive_text) for _ in range(6)])


@law(3, close_4001, [["close", 4001], RETURNED], [])
async def the_peers_close_code_is_known(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """`close_info` has the code of the peer's closing frame."""
    await ws.accept()
    asgi.note("close", (await ws.wait_closed()).code)


@law(3, close_4001, [["reason", "bye"], RETURNED], [])
async def the_peers_close_reason_is_known(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """`close_info` has the reason of the peer's closing frame."""
    await ws.accept()
    asgi.note("reason", (await ws.wait_closed()).reason)


@law(4, hear_one_and_abort, [["turns", True], RETURNED], [], alone=True)
async def a_hot_loop_starves_nobody(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """A loop of nothing but sends lets other tasks and deadlines have their turn."""
    await ws.accept()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.01)
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        with anyio.move_on_after(1):
            while True:
                await asgi.quietly(ws.send_text("x"))
        tasks.cancel_scope.cancel()
    asgi.note("turns", turns > 10)


@law(5, stall, [["in time", True], RETURNED], [])
async def a_send_can_be_timed_out(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """A deadline ends a send to a peer that does not read."""
    await ws.accept()
    await ws.receive_text()
    begin = anyio.current_time()
    with anyio.move_on_after(WAITS) as scope:
        while True:
            await ws.send_bytes(os.urandom(2**16))
    took = anyio.current_time() - begin
    asgi.note("in time", scope.cancelled_caught and took < 2 * WAITS)


async def send_without_end(ws: Any, note: Note) -> None:
    """Send until that waits, but not for ever."""
    sent = 0
    with anyio.move_on_after(5):
        while sent < 64:
            with anyio.fail_after(1):
                await ws.send_bytes(bytes(2**20))
            sent += 1
    note("held up", sent < 64)
    ws.abort()


async def send_until_held_up(ws: Any, note: Note) -> None:
    """Note whether 64 MiB are more than the other end takes."""
    try:
        await send_without_end(ws, note)
    except TimeoutError:
        note("held up", True)
        ws.abort()


@law(5, send_until_held_up, [RETURNED], [["held up", True]], alone=True)
async def a_chatty_peer_is_held_up(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """What nobody receives fills bounded buffers, and then TCP's."""
    await ws.accept()
    await anyio.sleep(3)


async def send_in_parts(ws: Any, note: Note) -> None:
    """Send one message, as three fragments and an empty one."""
    async with ws.send_stream("text") as out:
        for part in "abc":
            await out.send(part)
    await end_of(ws, note)


@law(
    5,
    send_in_parts,
    [["parts", "abc"], RETURNED],
    [["end", ["abc", "plain"], 1000, ""]],
    compression=True,
)
async def messages_pass_in_parts(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """In both directions, whatever the size of the message; and one uncompressed."""
    await ws.accept()

    async def echo() -> str:
        async with ws.receive_stream() as message:
            parts = [str(part) async for part in message]
        async with ws.send_stream("text") as out:
            for part in parts:
                await out.send(part)
        await ws.send_text("plain", compress=False)
        return "".join(parts)

    asgi.note("parts", await asgi.outcome(echo))


@law(6, send_five_and_close, [["cancelled", True], RETURNED], [])
async def leaving_cancels_a_busy_handler(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """`cancel_on_disconnect()` ends its block, with messages unread."""
    await ws.accept()
    with anyio.move_on_after(3):
        try:
            with ws.cancel_on_disconnect():
                await anyio.sleep_forever()
        except anyws.ConnectionClosed:
            asgi.note("cancelled", True)


async def send_two(ws: Any, note: Note) -> None:
    """Send two messages."""
    await anyio.sleep(ARRIVES)
    await ws.send_text("one")
    await ws.send_text("two")
    await end_of(ws, note)


@law(
    7,
    send_two,
    [["second", "BusyResourceError"], ["first", "one"], ["then", "two"], RETURNED],
    [["end", [], 1000, ""]],
)
async def one_receiver_at_a_time(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """A second one is told so, and takes nothing from the first."""
    await ws.accept()

    async def first() -> None:
        asgi.note("first", await ws.receive_text())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        for _ in range(5):
            await checkpoint()
        asgi.note("second", await asgi.outcome(ws.receive_text))
    asgi.note("then", await ws.receive_text())


@law(7, end_of, [RETURNED], [["end", ["1!", "2!", "3!"], 1000, ""]])
async def no_message_goes_round_a_middleware(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """It has them all, in the order of the calls, however long it takes for each."""
    await ws.accept()

    async def wrapped(event: Any) -> None:
        if event["type"] == "websocket.send":
            await anyio.sleep(WAITS / 10 / int(event["text"]))
            event = {**event, "text": event["text"] + "!"}
        await ws.send(event)

    async with anyws.WebSocket(ws.scope, ws.receive, wrapped) as inside:
        inside.send_nowait("1")
        await inside.send_text("2")
        inside.send_nowait("3")


@law(8, end_of, [RETURNED], [["end", [], 1000, ""]])
async def returning_closes_with_1000(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """That is what the peer sees."""
    await ws.accept()


@law(8, end_of, [["over", "raised Boom"]], [["end", [], 1011, ""]])
async def raising_closes_with_1011(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """That is what the peer sees."""
    await ws.accept()
    raise Boom


@law(8, end_of, [RETURNED], [])
async def returning_early_rejects_with_403(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """The handshake is answered."""
    await ws.receive()


LAW["returning_early_rejects_with_403"].expected["client"] = [
    ["rejected", 403, None, "bytes: "]
]


@law(9, close_4001, [["close", [None, None]], RETURNED], [])
async def close_never_raises(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """Neither when the peer has gone, nor when it is called twice."""
    await ws.accept()
    await ws.wait_closed()
    asgi.note("close", [await asgi.outcome(ws.close) for _ in range(2)])


@law(10, end_of, [["left", "Boom"], RETURNED], [["end", [], 1000, ""]])
async def one_cause_is_not_in_a_group(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """What leaves a block of the connection is the error itself."""
    await ws.accept()
    try:
        with ws.cancel_on_disconnect():
            raise Boom
    except Exception as exc:
        asgi.note("left", type(exc).__name__)


@law(
    11,
    end_of,
    [["refused", "ValueError", "ValueError"], RETURNED],
    [["end", ["accepted"], 1000, ""]],
)
async def nothing_invalid_reaches_the_server(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """A subprotocol that was not offered, and a code that no frame carries."""
    unoffered = await asgi.outcome(partial(ws.accept, "not-offered"))
    await ws.accept()
    await ws.send_text("accepted")
    asgi.note("refused", unoffered, await asgi.outcome(partial(ws.close, 1006)))


async def send_bytes_and_text(ws: Any, note: Note) -> None:
    """Send a message of the wrong kind first."""
    await ws.send_bytes(b"bytes")
    await ws.send_text("text")
    await end_of(ws, note)


@law(
    12,
    send_bytes_and_text,
    [["kinds", "MessageTypeError", "text"], RETURNED],
    [["end", ["", "bytes: "], 1000, ""]],
)
async def messages_are_the_same_everywhere(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """The wrong kind is one typed error, and empty messages are messages."""
    await ws.accept()
    kinds = [await asgi.outcome(ws.receive_text) for _ in range(2)]
    asgi.note("kinds", *kinds)
    await ws.send_text("")
    await ws.send_bytes(b"")


@law(12, close_without_code, [["close", 1005], RETURNED], [])
async def a_missing_code_is_1005(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """As a browser leaves that is told no code."""
    await ws.accept()
    asgi.note("close", (await ws.wait_closed()).code)


@law(12, see_it_stop, [], [["end", [], 1012, ""]], alone=True)
async def a_server_that_stops_closes_with_1012(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """The peer gets a closing frame; the handler its end, or a cancellation."""
    await ws.accept()
    await ws.wait_closed()


@law(13, end_of, [["ping", [True] * 3], RETURNED], [["end", [], 1000, ""]])
async def a_handler_can_ping_its_peer(asgi: Asgi, ws: anyws.WebSocket) -> None:
    """It has the round-trip time, and the address of the transport's other end."""
    await ws.accept()

    async def ask() -> list[bool]:
        seconds = await ws.ping()
        address = ws.peer_address
        told = isinstance(address, tuple) and address[0] == "127.0.0.1"
        return [seconds >= 0, ws.latency is not None, told]

    asgi.note("ping", await asgi.outcome(ask))

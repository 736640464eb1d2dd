"""Each file that a page shows does what the page says, on every backend."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from anyio.from_thread import start_blocking_portal

import anyws
from anyws.testing import Rejected, connect, lifespan

from ..support.redis_servers import NEEDS_REDIS, redis_server
from ..support.snippets import DOCS, SNIPPETS, blocks_of, load

pytest_plugins = ["pytester"]

# On the newest Python alone: what they show is tested on every one elsewhere.
pytestmark = pytest.mark.slow


async def request(app: Any, method: str, path: str) -> Any:
    """Return the JSON that an application answers a request with."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://a") as client:
        return (await client.request(method, path)).json()


async def echoes(app: Any, path: str = "/ws") -> None:
    """Check that an application sends back what it receives."""
    async with connect(app, path) as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"


@pytest.mark.parametrize("name", ["fastapi_line", "hypercorn_run", "observe"])
async def test_echoes(name: str) -> None:
    """The smallest applications echo."""
    await echoes(load(name).app)


async def test_fastapi_guarded() -> None:
    """The clock ticks until its client leaves."""
    async with connect(load("fastapi_guarded").app, "/clock?seconds=0.001") as ws:
        first, second = await ws.receive_json(), await ws.receive_json()
    assert first["now"] < second["now"]


async def test_fastapi_router() -> None:
    """The annotation gives the guarded class, which closes with 1000."""
    async with connect(load("fastapi_router").app, "/api/ws/ann") as ws:
        assert await ws.receive_text() == "hello, ann"
        assert (await ws.wait_closed()).code == 1000


async def test_the_class() -> None:
    """The class works in a bare ASGI application."""
    async with connect(load("the_class").app) as ws:
        assert await ws.receive_text() == "hello"
        assert (await ws.wait_closed()).code == 1000


async def test_trio_server(anyio_backend_name: str) -> None:
    """A nursery holds the server and its client."""
    if anyio_backend_name != "trio":
        pytest.skip("for trio")
    assert await load("trio_server").main() == "hello"


def noted(module: Any) -> tuple[list[str], anyio.Event]:
    """Return what the module prints from now on, and what is set by the first line."""
    printed, listening = list[str](), anyio.Event()

    def note(line: str, flush: bool) -> None:
        printed.append(line)
        listening.set()

    module.print = note
    return printed, listening


async def test_asyncio_server(anyio_backend_name: str) -> None:
    """The server serves until its task is cancelled; the client sees 1012."""
    if anyio_backend_name != "asyncio":
        pytest.skip("for asyncio")
    module = load("asyncio_server")
    printed, listening = noted(module)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(module.main, 0)
        await listening.wait()
        async with anyws.connect(printed[0]) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                assert (await ws.wait_closed()).code == 1012


async def test_client_and_sync() -> None:
    """A client in async code, and one in a thread, ask the same server."""
    handler = load("tls").echo
    async with anyws.serve(handler, "127.0.0.1") as server:
        assert await load("client").main(server.url) == "hello"
        ask = load("sync").ask
        for backend in ("asyncio", "trio"):
            answer = await anyio.to_thread.run_sync(ask, server.url, "hi", backend)
            assert answer == "hi"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sync_loop(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways take the messages of several connections, and raise what ends them."""
    answers = iter(["one", "two", None, "one", "two", None])

    async def handler(ws: anyws.WebSocket) -> None:
        if text := next(answers):
            await ws.accept()
            await ws.send_text(text)

    at_once = anyws.Retry(initial_delay=0)
    monkeypatch.setattr(anyws, "connect", partial(anyws.connect, retry=at_once))
    module, taken = load("sync_loop"), list[str]()
    serving = anyws.serve(handler, "127.0.0.1")
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(serving) as server:
            with pytest.raises(anyws.HandshakeRejected):
                module.follow(server.url, taken.append, backend)
            with pytest.raises(anyws.HandshakeRejected):
                with module.following(server.url, backend) as messages:
                    taken.extend(iter(messages.get, None))
    assert taken == ["one", "two"] * 2


def test_leaving_what_fills_a_queue() -> None:
    """Its connection is closed, and its thread ends."""
    closed = list[int]()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text("hello")
        closed.append((await ws.wait_closed()).code)

    serving = anyws.serve(handler, "127.0.0.1")
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(serving) as server:
            with load("sync_loop").following(server.url) as messages:
                assert messages.get() == "hello"
    assert closed == [1012]


@pytest.mark.parametrize(
    "name",
    [
        "test_a_rejection",
        "test_a_close_code",
        "test_a_lost_client",
        "test_a_client_that_does_not_read",
    ],
)
async def test_the_tests(name: str) -> None:
    """The tests that the page on testing shows pass."""
    await getattr(load("testing_more"), name)()


@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("/token", {"headers": {"authorization": "Bearer secret-of-ann"}}),
        ("/token", {"subprotocols": ["bearer", "secret-of-ann"]}),
        ("/cookie", {"cookies": {"session": "secret-of-ann"}}),
        ("/query?token=secret-of-ann", {}),
    ],
)
async def test_authenticate(path: str, how: dict[str, Any]) -> None:
    """A known token is greeted, and no token is rejected with 403."""
    app = load("authenticate").app
    async with connect(app, path, **how) as ws:
        assert await ws.receive_text() == "hello, ann"
    with pytest.raises(Rejected) as caught:
        async with connect(app, path.partition("?")[0]):
            pass
    assert caught.value.status == 403


async def test_origin() -> None:
    """Pages of the route's site and programs pass, and other pages do not."""
    app = load("origin").app
    for headers in ({}, {"origin": "https://admin.example.org"}):
        async with connect(app, "/admin", headers=headers) as ws:
            assert await ws.receive_text() == "welcome"
    for origin in ("https://www.example.org", "https://example.com"):
        with pytest.raises(Rejected):
            async with connect(app, "/admin", headers={"origin": origin}):
                pass


async def test_bearer() -> None:
    """A known token is greeted, in a header or as a subprotocol."""
    module = load("bearer")
    assert await module.main() == "hello, ann"
    app = anyws.endpoint(module.greet)
    async with connect(app, subprotocols=["bearer", "secret-of-ann"]) as ws:
        assert ws.subprotocol == "bearer"
        assert await ws.receive_text() == "hello, ann"
    with pytest.raises(Rejected) as caught:
        async with connect(app, subprotocols=["bearer", "guessed"]):
            pass
    assert caught.value.status == 401


async def test_reject() -> None:
    """A client without a key gets 401 and a body; others agree on a subprotocol."""
    app = load("reject").app
    with pytest.raises(Rejected) as caught:
        async with connect(app):
            pass
    assert caught.value.status == 401
    assert caught.value.body == b"no key"
    offered = ["chat.v1", "chat.v2"]
    async with connect(app, headers={"x-key": "1"}, subprotocols=offered) as ws:
        assert ws.subprotocol == "chat.v2"
        assert await ws.receive_text() == "speaking chat.v2"


async def test_limits() -> None:
    """A route's limits are its own, and the application's hold on the others."""
    app = load("limits").app
    async with connect(app, "/large") as ws:
        await ws.send_text("x" * 1000)
        assert await ws.receive_text() == "1000"
    async with connect(app, "/small") as ws:
        await ws.send_text("x" * 101)
        assert (await ws.wait_closed()).code == 1009
    async with connect(app, "/small") as ws:
        for _ in range(25):
            ws.send_nowait("x")
            await anyio.lowlevel.checkpoint()
        assert (await ws.wait_closed()).code == 1008


async def test_rooms() -> None:
    """Members hear each other and the history, and are listed."""
    app = load("rooms").app
    async with (
        lifespan(app) as state,
        connect(app, "/rooms/1?name=ann", scope={"state": state}) as ann,
    ):
        await ann.send_text("hello")
        assert await ann.receive_text() == "ann: hello"
        async with connect(app, "/rooms/1?name=bob", scope={"state": state}) as bob:
            assert await bob.receive_text() == "ann: hello"
            assert await request(app, "GET", "/rooms/1") == ["ann", "bob"]


async def test_elsewhere() -> None:
    """An HTTP route, a thread and a background task reach the clients."""
    module = load("elsewhere")
    module.PACE, app = 0.01, module.app
    async with lifespan(app), connect(app, "/news") as ws:
        assert (await ws.receive_text()).startswith("tick")
        assert await request(app, "POST", "/news?text=one") == 1
        assert await request(app, "POST", "/from-a-thread?text=two") == 1
        texts: list[str] = []
        while len(texts) < 2:
            text = await ws.receive_text()
            texts += [text] * (not text.startswith("tick"))
    assert texts == ["one", "two"]


async def test_stream_answer() -> None:
    """An answer ends at the next question, at "stop", or at its own end."""
    module = load("stream_answer")

    async def endless(question: str) -> Any:
        for _ in range(3 if question == "short" else 10**6):
            await anyio.lowlevel.checkpoint()
            yield question

    module.answer = endless
    async with connect(module.app) as ws:
        await ws.send_text("one")
        assert await ws.receive_text() == "one"
        await ws.send_text("two")
        while await ws.receive_text() == "one":
            pass
        await ws.send_text("stop")
        await ws.send_text("short")
        while await ws.receive_text() != "[done]":
            pass


async def test_send_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler ends when the client leaves."""
    async with connect(load("send_only").app, server="uvicorn") as ws:
        assert await ws.receive_text() == "token 0"
        ws.abort()


async def test_large_file(tmp_path: Any) -> None:
    """A file goes up and down in parts, and in many messages."""
    module, path = load("large_file"), tmp_path / "file"
    path.write_bytes(bytes(300_000))

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        if ws.url.path == "/up":
            await ws.send_text(str(len(await ws.receive_bytes())))
        else:
            await ws.send_bytes(bytes(200_000))

    async with anyws.serve(handler, "127.0.0.1") as server:
        await module.upload(f"{server.url}/up", path)
        assert await module.download(f"{server.url}/down", path) == 200_000
    assert len(path.read_bytes()) == 200_000
    async with (
        anyws.serve(load("upload_parts").handler, "127.0.0.1") as server,
        anyws.connect(server.url) as ws,
    ):
        async with ws.send_stream("binary") as out:
            await out.send(b"one")
            await out.send(b"two")
        assert await ws.receive_text() == sha256(b"onetwo").hexdigest()
    served = load("large_serve")
    async with connect(served.app) as ws:
        assert await ws.receive_bytes() == served.FILE.read_bytes()
        assert (await ws.wait_closed()).code == 1000


class TestSlowPeer:
    """What a handler does about a peer that does not read; time passes at once."""

    @pytest.fixture
    def anyio_backend(self) -> Any:
        """Override the backend: trio with a clock of its own."""
        trio_testing = pytest.importorskip("trio.testing")
        return "trio", {"clock": trio_testing.MockClock(autojump_threshold=0)}

    @pytest.mark.parametrize(("name", "seconds"), [("give_up", 11), ("close_it", 1)])
    async def test_it_is_closed(self, name: str, seconds: float) -> None:
        """It is closed with 1013."""
        async with connect(getattr(load("slow_peer"), name)) as ws:
            ws.stall()
            await anyio.sleep(seconds)
            ws.resume()
            assert (await ws.wait_closed()).code == 1013

    async def test_old_values_are_dropped(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It gets the newest values."""
        async with connect(load("slow_peer").newest_only) as ws:
            texts = [text async for text in ws.iter_text()]
        assert texts[-1] == "999"
        assert "dropped" in capsys.readouterr().out

    async def test_it_gets_less(self) -> None:
        """It gets fewer messages than one that reads."""
        async with connect(load("slow_peer").adapt) as ws:
            texts = [text async for text in ws.iter_text()]
        assert len(texts) == 100


async def test_reconnect() -> None:
    """A client that is cut off goes on where it was."""
    module = load("reconnect")
    async with module.hub, anyws.serve(module.feed, "127.0.0.1") as server:
        module.hub.publish("feed", "one")
        sender, messages = anyio.create_memory_object_stream[str](10)
        async with anyio.create_task_group() as tasks, sender, messages:
            tasks.start_soon(module.follow, server.url, sender.send_nowait)
            assert await messages.receive() == "one"
            server.connections[0].close(1012)
            module.hub.publish("feed", "two")
            assert await messages.receive() == "two"
            tasks.cancel_scope.cancel()


async def test_reconnect_loop(capsys: pytest.CaptureFixture[str]) -> None:
    """The loop collects over several connections, and gives up at a 401."""

    async def handler(ws: anyws.WebSocket) -> None:
        if ws.bearer_token() != "t":
            return await ws.reject(401)
        await ws.accept()
        return await ws.send_text(ws.headers["authorization"])

    module = load("reconnect_loop")
    async with anyws.serve(handler, "127.0.0.1") as server:
        assert await module.listen(server.url, "t", 2) == ["Bearer t"] * 2
        assert await module.listen(server.url, "guessed", 2) == []
    told = "giving up: the server rejected the WebSocket: 401 Unauthorized\n"
    assert capsys.readouterr().out == told


async def test_shutdown_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections are drained before uvicorn's own shutdown begins."""
    module, called = load("shutdown_uvicorn"), []

    async def shutdown(self: Any, sockets: Any) -> None:
        called.append(module.drain.connections)

    monkeypatch.setattr(module.uvicorn.Server, "shutdown", shutdown)
    async with connect(module.app) as ws:
        await module.Server(module.uvicorn.Config(module.app)).shutdown()
        assert (await ws.wait_closed()).code == 1012
    assert called == [0]


async def test_shutdown() -> None:
    """The handler ends the turn that is under way, and the close is 1012."""
    module = load("shutdown")
    module.drain.spread = 0
    async with anyio.create_task_group() as tasks, connect(module.app) as ws:
        await ws.send_text("one")
        assert await ws.receive_text() == "the answer to one"
        tasks.start_soon(module.drain.aclose)
        await anyio.wait_all_tasks_blocked()
        await ws.send_text("two")
        assert await ws.receive_text() == "the answer to two"
        assert (await ws.wait_closed()).code == 1012


OBSERVE = (DOCS / "howto" / "observe.md").read_text()
VALUE = r"(?<==)('[^']*'|[\w./]+)"


@pytest.fixture
def quiet_again() -> Iterator[None]:
    """Undo what the file says to the logger."""
    yield
    logging.getLogger("anyws.connection").setLevel(logging.NOTSET)


async def test_observe(quiet_again: None, caplog: pytest.LogCaptureFixture) -> None:
    """Connections are counted, and logged."""
    module = load("observe")
    await echoes(module.app)
    assert module.counts.counts["closed 1000"] == 1
    assert module.counts.counts["messages received"] == 1
    assert "code=1000" in caplog.text
    # The page shows such a line, with other values.
    [shown] = [text for kind, text in blocks_of(OBSERVE) if kind == "text"]
    lines = [record.getMessage() for record in caplog.records]
    [line] = [each for each in lines if each.startswith("server ")]
    assert re.findall(r"(\w+)=", line) == re.findall(r"(\w+)=", shown)
    assert re.sub(VALUE, "", line) == re.sub(VALUE, "", shown.rstrip("\n"))


async def test_share() -> None:
    """Three tasks send on one connection, and one receives."""
    async with connect(load("share").app) as ws:
        await ws.send_text("a")
        await ws.send_text("b")
        texts = {await ws.receive_text() for _ in range(5)}
    assert texts == {"tick 0", "tick 1", "tick 2", "done: a", "done: b"}


async def test_typed() -> None:
    """Values go in and out; an invalid one closes with 1007."""
    async with connect(load("typed").app) as ws:
        await ws.send_json({"type": "add", "left": 1, "right": 2})
        assert await ws.receive_json() == {"value": 3}
        await ws.send_json({"type": "add", "left": "one"})
        assert (await ws.wait_closed()).code == 1007


async def test_typed_pydantic() -> None:
    """An invalid message is answered, and the connection goes on."""
    async with connect(load("typed_pydantic").app) as ws:
        await ws.send_json({"item": "tea"})
        assert "quantity" in (await ws.receive_json())["text"]
        await ws.send_json({"item": "tea", "quantity": 2})
        assert await ws.receive_json() == {"text": "2 of tea"}


async def test_fastapi_typed() -> None:
    """Questions are answered, and the document has their types."""
    app = load("fastapi_typed").app
    async with connect(app, "/questions") as ws:
        await ws.send_json({"text": "why"})
        assert await ws.receive_json() == {"text": "WHY"}
    document = await request(app, "GET", "/asyncapi.json")
    assert {"Question", "Answer"} <= set(document["components"]["schemas"])


async def test_in_process_and_peer_facts() -> None:
    """A client asks an application in its own process; a handler knows its peer."""
    assert await load("in_process").main() == "hello"
    async with (
        anyws.serve(load("peer_facts").handler, "127.0.0.1") as server,
        anyws.connect(server.url) as ws,
    ):
        facts = await ws.receive_json()
    assert facts["address"].startswith("('127.0.0.1'")
    assert facts["TLS"] is None


async def test_compression() -> None:
    """Both ends agree, or do not, and the messages pass."""
    module = load("compression")
    async with anyws.serve(module.app, "127.0.0.1") as server:
        for connector in (
            anyws.connect(server.url),
            module.without_compression(server.url),
        ):
            async with connector as ws:
                for message in ("x" * 1000, b"x" * 1000):
                    await ws.send_message(message)
                    assert await ws.receive_message() == message


async def test_heartbeat() -> None:
    """A peer's "ping" is answered by "pong", which the handler does not see."""
    async with connect(load("heartbeat").app) as ws:
        await ws.send_text("ping")
        await ws.send_text("hello")
        assert await ws.receive_text() == "pong"
        assert await ws.receive_text() == "hello"


async def test_address() -> None:
    """A trusted proxy is believed, and nobody else."""
    app = load("address").app
    headers = {"x-forwarded-for": "203.0.113.7"}
    for client, shown in (("127.0.0.1", "203.0.113.7"), ("192.0.2.1", "192.0.2.1")):
        scope = {"client": (client, 1)}
        async with connect(app, headers=headers, scope=scope) as ws:
            assert await ws.receive_text() == shown


@NEEDS_REDIS
async def test_redis_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two applications with a Redis between them are one chat."""
    pytest.importorskip("coredis")
    with redis_server() as server:
        monkeypatch.setenv("REDIS", server.url)
        one, two = load("redis_rooms").app, load("redis_rooms").app
        async with lifespan(one), lifespan(two):
            async with (
                connect(one, "/rooms/1?name=ann") as ann,
                connect(two, "/rooms/1?name=bob") as bob,
            ):
                await ann.send_text("hello")
                for member in (ann, bob):
                    assert await member.receive_text() == "ann: hello"


async def test_subscribe() -> None:
    """Events of several topics are iterated over in order."""
    assert await load("subscribe").main() == ["news: hello", "room.1: hi"]


async def test_backend() -> None:
    """What one hub publishes reaches the members of the other."""
    assert await load("backend").main() == "hello"


async def test_timeouts() -> None:
    """A name is used."""
    async with connect(load("timeouts").app) as ws:
        assert await ws.receive_text() == "your name?"
        await ws.send_text("ann")
        assert await ws.receive_text() == "hello, ann"


async def test_tls(tmp_path: Any) -> None:
    """A client that trusts the authority connects by TLS."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    module = load("tls")
    path = str(tmp_path / "own.pem")
    async with module.secure_server(path, path) as server:
        authority_path = str(tmp_path / "ca.pem")
        async with module.client_of_own_authority(server.url, authority_path) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"


async def test_presence() -> None:
    """A watcher gets who is there, and then each change."""
    module = load("presence")
    presence = module.hub.presence
    async with module.hub, connect(module.who) as ws:
        assert await ws.receive_json() == []
        with presence.track("room", "ann", {"on": "phone"}):
            assert await ws.receive_json() == ["join", "ann", [{"on": "phone"}]]
        assert await ws.receive_json() == ["leave", "ann", []]


async def test_trio_signals(anyio_backend_name: str) -> None:
    """SIGTERM closes the connections with 1012, and ends the program."""
    if anyio_backend_name != "trio":
        pytest.skip("for trio")
    module = load("trio_signals")
    printed, listening = noted(module)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(module.main, 0)
        await listening.wait()
        async with anyws.connect(printed[0]) as ws:
            signal.raise_signal(signal.SIGTERM)
            assert (await ws.wait_closed()).code == 1012


def test_test_time(pytester: pytest.Pytester) -> None:
    """The test passes, also where the tests are for asyncio, and in no time."""
    copied = {"test_time.py": "test_time.py", "testing_fixtures.py": "conftest.py"}
    for name, target in copied.items():
        (pytester.path / target).write_text((SNIPPETS / name).read_text())
    (pytester.path / "echo.py").write_text("app = None")
    pytester.syspathinsert()
    run = pytester.runpytest_inprocess("-p", "anyio", "-p", "anyws")
    run.assert_outcomes(passed=1)

"""The examples, run as the README says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ..support.redis_servers import NEEDS_REDIS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
WORKERS = ("asyncio", "trio")

pytestmark = pytest.mark.usefixtures("ctrl_c")


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def running(*command: str, seconds: float = 30) -> Iterator[subprocess.Popen[str]]:
    """Run a Python command in the folder of the examples; end it by its pid."""
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=EXAMPLES,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    # Hypercorn's worker is a process of its own, and would keep the pipe open.
    kill = partial(os.killpg, process.pid, signal.SIGKILL)
    watchdog = threading.Timer(seconds, kill)  # reading the output may not hang
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        with suppress(ProcessLookupError):
            kill()
        process.communicate()


@contextmanager
def served(module: str, worker: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve an example as its docstring says; yield the address of its WebSockets."""
    bind = ("-b", "127.0.0.1:0", "--graceful-timeout", "1")
    with running("-m", "hypercorn", "-k", worker, *bind, f"{module}:app") as process:
        [address] = re.findall(r"http:(\S+)", wait_for_line(process, "Running on"))
        yield process, f"ws:{address}"


def wait_for_line(process: subprocess.Popen[str], words: str) -> str:
    """Read the output until a line holds the words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    pytest.fail(f"ended without saying {words!r}")


@pytest.mark.parametrize("worker", WORKERS)
def test_echo(worker: str) -> None:
    """Both kinds of message come back."""
    with served("echo", worker) as (_, url), connect(url) as client:
        for message in ("hello", b"hello"):
            client.send(message)
            assert client.recv(timeout=5) == message


@pytest.mark.parametrize("worker", WORKERS)
def test_ticker(worker: str) -> None:
    """The time comes, and the handler stops when its client leaves."""
    with served("ticker", worker) as (process, url):
        with connect(url) as client:
            assert re.fullmatch(r"[\d-]+T[\d:]+\+00:00", str(client.recv(timeout=5)))
        assert "CloseInfo(code=1006" in wait_for_line(process, "the client has gone")


@pytest.mark.parametrize("worker", WORKERS)
def test_fastapi_app(worker: str) -> None:
    """A plain FastAPI application answers, and a closed tab leaves no traceback."""
    if find_spec("fastapi") is None:
        pytest.skip("fastapi is not installed")
    with served("fastapi_app", worker) as (process, url):
        with connect(f"{url}/items/7?unit=USD") as client:
            client.send("2")
            answer = json.loads(client.recv(timeout=5))
        assert answer == {"item": 7, "price": 6, "unit": "USD"}
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
        assert "Traceback" not in output


def next_said(client: ClientConnection) -> dict[str, Any]:
    """Receive what is said next in the chat: a line, or who is there."""
    event = json.loads(client.recv(timeout=15))
    assert set(event) == {"topic", "position", "text"}
    said: dict[str, Any] = json.loads(event["text"])
    return said


def lines(client: ClientConnection, *expected: str) -> None:
    """Receive the expected lines; who is there comes between them."""
    got: list[str] = []
    while len(got) < len(expected):
        said = next_said(client)
        if "note" in said:
            got.append(f"* {said['note']}")
        elif "text" in said:
            got.append(f"{said['name']}: {said['text']}")
    assert got == list(expected)


@contextmanager
def chatting(worker: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the README's main job; yield the address that it prints."""
    port = str(free_port())
    with running("chat.py", "--worker", worker, "--port", port) as process:
        line = wait_for_line(process, f"Chat on {worker}")
        [url] = re.findall(r"http://\S+", line)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(port))).close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                break
        yield process, url


@pytest.mark.parametrize("worker", WORKERS)
def test_chat(worker: str) -> None:
    """Rooms are apart, members hear each other, and stopping closes with 1012."""
    with chatting(worker) as (process, url):
        ws = url.replace("http", "ws") + "ws"
        with (
            connect(f"{ws}/one?name=ann") as ann,
            connect(f"{ws}/two?name=eve") as eve,
        ):
            with connect(f"{ws}/one?name=bob") as bob:
                lines(ann, "* ann has come", "* bob has come")
                lines(bob, "* ann has come", "* bob has come")
                bob.send("hello")
                lines(bob, "bob: hello")
            lines(ann, "bob: hello", "* bob has gone")
            lines(eve, "* eve has come")
            process.send_signal(signal.SIGINT)
            for client in (ann, eve):
                with pytest.raises(ConnectionClosed) as caught:
                    while True:
                        client.recv(timeout=5)  # who is there, until the end
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1012
        assert process.wait(10) == 0


@NEEDS_REDIS
@pytest.mark.skipif(not find_spec("coredis"), reason="coredis is not installed")
@pytest.mark.skipif(not find_spec("uvicorn"), reason="uvicorn is not installed")
def test_the_chat_of_two_processes() -> None:
    """Members of both hear each other, and see who is there."""
    command = ("chat_processes.py", "--port", str(free_port()))
    with running(*command, seconds=120) as process:
        line = wait_for_line(process, "The same chat on")
        urls = re.findall(r"http\S+/", line)
        one, other = (url.replace("http", "ws") for url in urls)
        with (
            joined(f"{one}ws/one?name=ann") as ann,
            joined(f"{other}ws/one?name=bob") as bob,
        ):
            bob.send("hello")
            for client in (ann, bob):
                heard: list[dict[str, Any]] = []
                people: set[str] = set()
                while people != {"ann", "bob"} or "hello" not in str(heard):
                    heard.append(next_said(client))
                    if "people" in heard[-1]:
                        people = {person["name"] for person in heard[-1]["people"]}
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def joined(url: str) -> ClientConnection:
    """Connect to a server that may just be starting."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return connect(url)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@contextmanager
def standing(script: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an example that is a server of its own; yield the address it prints."""
    with running(script, "--port", "0") as process:
        line = wait_for_line(process, "Ctrl-C stops it")
        yield process, line.partition(";")[0]


def stopped(process: subprocess.Popen[str], *clients: ClientConnection) -> None:
    """Stop a server; each client sees 1012, and the process ends in order."""
    process.send_signal(signal.SIGINT)
    for client in clients:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                client.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
    assert process.wait(10) == 0
    assert process.stdout is not None
    assert "Traceback" not in process.stdout.read()


def test_sensor() -> None:
    """Each client has the values of its sensor, until the nursery is cancelled."""
    with standing("sensor.py") as (process, url):
        with connect(url) as one, connect(url) as two:
            one.send("cellar")
            two.send("roof")
            for client, sensor in ((one, "cellar"), (two, "roof")):
                for _ in range(2):
                    line = client.recv(timeout=5)
                    assert isinstance(line, str)
                    assert re.fullmatch(rf"{sensor}: \d\d\.\d", line)
            stopped(process, one, two)


def test_counter() -> None:
    """All clients see one value, and a wrong path is refused."""
    with standing("counter.py") as (process, url):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url.replace("/counter", "/"))
        with connect(url) as one:
            assert json.loads(one.recv(5)) == {"value": 0, "clients": 1}
            with connect(url) as two:
                for client in (one, two):
                    assert json.loads(client.recv(5)) == {"value": 0, "clients": 2}
                two.send("plus")
                two.send("plus")
                one.recv(5)
                assert json.loads(one.recv(5)) == {"value": 2, "clients": 2}
            assert json.loads(one.recv(5)) == {"value": 2, "clients": 1}
            one.send("minus")
            assert json.loads(one.recv(5)) == {"value": 1, "clients": 1}
            stopped(process, one)

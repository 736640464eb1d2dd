"""The session at a terminal that a page shows is what a terminal shows."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from anyio.from_thread import start_blocking_portal

import anyws

from ..support.snippets import DOCS, blocks_of

pytestmark = pytest.mark.slow

PAGE = (DOCS / "start" / "client.md").read_text()
[SESSION] = [text for kind, text in blocks_of(PAGE) if kind == "console"]
SHOWN = "ws://127.0.0.1:8000/"


async def echo(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


class Screen:
    """The lines of a terminal, by the few sequences that the client writes."""

    def __init__(self) -> None:
        self.lines, self.row, self._kept = [""], 0, 0
        self._written = b""

    def show(self, written: bytes) -> None:
        """Write all that was written, from the beginning, on an empty screen."""
        self._written += written
        self.lines, self.row = [""], 0
        text = self._written.decode(errors="replace")
        for sequence, plain in re.findall(
            r"(\x1b[78]|\x1b\[\d*\w|\n)|([^\x1b\n]+)", text
        ):
            self._apply(sequence, plain.replace("\r", ""))

    def _apply(self, sequence: str, plain: str) -> None:
        number = int(re.sub(r"\D", "", sequence[1:]) or 1)
        match sequence[-1:]:
            case "":
                self.lines[self.row] += plain
            case "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            case "7":
                self._kept = self.row
            case "8":
                self.row = self._kept
            case "A":
                self.row -= number
            case "B":
                self.row += number
            case "L":
                self.lines[self.row : self.row] = [""] * number
            case other:
                pytest.fail(f"the client writes {other!r}")


def shown_by_a_terminal(url: str, typed: list[tuple[str, str]]) -> list[str]:
    """Run the client at a terminal; type each line when what is before it is there."""
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "anyws", url],
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    screen = Screen()
    try:
        while True:
            prompted = screen.lines[screen.row] == "> "
            if typed and prompted and typed[0][0] in "\n".join(screen.lines):
                os.write(outside, f"{typed.pop(0)[1]}\n".encode())
            written = os.read(outside, 10_000)
            screen.show(written)
    except OSError:  # the other end of the terminal is closed
        return screen.lines
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        os.close(outside)


def test_the_session() -> None:
    """Messages, a ping and a close look as the page says; and so does a pipe."""
    first, second = re.split(r"^\$ .+\n", SESSION, flags=re.MULTILINE)[1:]
    typed = re.findall(r"^> (.+)$", first, re.MULTILINE)
    before = ["\n> ", "\n< hello", "\npong"]
    serving = anyws.serve(echo, "127.0.0.1")
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(serving) as server:
            url = f"{server.url}/"
            lines = shown_by_a_terminal(url, list(zip(before, typed, strict=True)))
            output = subprocess.run(
                [sys.executable, "-P", "-m", "anyws", "-q", "-1", url],
                input="hello\n",
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            ).stdout
    seen = "\n".join(lines).replace(url, SHOWN)
    latency = re.compile(r"[\d.]+ ms")
    assert latency.sub("ms", seen) == latency.sub("ms", first)
    assert output == second

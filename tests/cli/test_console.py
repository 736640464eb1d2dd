"""What the command line shows, what it makes of lines and of arguments."""

from __future__ import annotations

import json
import os
import tty
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads
from typing import TextIO
from unicodedata import category

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import CloseInfo
from anyws._cli import arguments as _arguments
from anyws._cli.arguments import settings_of
from anyws._cli.console import (
    HELP,
    Action,
    CloseCommand,
    HelpCommand,
    PingCommand,
    action_of,
    ending_line,
    escape,
    line_of,
    rows_of,
)
from anyws._cli.conversation import main
from anyws._cli.terminal import Lines, Output, Sink

from ..support.servers import need

ANY_TEXT = st.text(st.characters(exclude_categories=()))


# What is shown


@given(ANY_TEXT)
def test_nothing_but_shapes_is_shown(text: str) -> None:
    """Whatever a peer sends, there is no control, no format and no line's end in it."""
    shown = escape(text)

    assert all(char.isprintable() or category(char) == "Zs" for char in shown)


@given(st.text())
def test_escaped_json_is_the_same_json(text: str) -> None:
    """A script that decodes a line gets what was sent."""
    assert json.loads(escape(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain, größer, 日本\u3000語, \u00a0!",
            "plain, größer, 日本\u3000語, \u00a0!",
        ),
        ("\x1b[2J", r"\u001b[2J"),
        ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
        ("\x9b31m", r"\u009b31m"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\u2028\u200b\ufeff", r"\u2028\u200b\ufeff"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\ud800", r"\ud800"),
        ("\x00\x7f", r"\u0000\u007f"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    """What drives a terminal or misleads a reader is escaped, and nothing else."""
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("message", "most_bytes", "line"),
    [
        ("a\nb", None, r"a\nb"),
        ("text is whole", 2, "text is whole"),
        (b"", None, "(binary, 0 bytes)"),
        (b"\x00", 2, "(binary, 1 byte) 00"),
        (b"\x00\x01\xff", 2, "(binary, 3 bytes) 0001..."),
        (b"\x00\x01\xff", None, "(binary, 3 bytes) 0001ff"),
    ],
)
def test_the_line_of_a_message(
    message: str | bytes, most_bytes: int | None, line: str
) -> None:
    """A binary message is hex, with its size, and may be cut."""
    assert line_of(message, most_bytes=most_bytes) == line


@pytest.mark.parametrize(
    ("info", "line"),
    [
        (
            CloseInfo(1001, "", "peer", True),
            "closed by the peer: 1001 (going away)",
        ),
        (CloseInfo(4000, "so", "peer", True), "closed by the peer: 4000: so"),
        (CloseInfo(1000, "", "local", True), "closed: 1000 (normal closure)"),
        (
            CloseInfo(1000, "", "local", False),
            "closed: 1000 (normal closure), without an answer from the peer",
        ),
        (
            CloseInfo(1006, "", "network", False),
            "connection lost: 1006 (abnormal closure)",
        ),
    ],
)
def test_the_line_of_an_ending(info: CloseInfo, line: str) -> None:
    """It says who ended the connection, with which code, and why."""
    assert ending_line(info) == line


@pytest.mark.parametrize(
    ("text", "rows"),
    [("", 1), ("x" * 10, 1), ("x" * 11, 2), ("日" * 5, 1), ("x" + "日" * 5, 2)],
)
def test_rows(text: str, rows: int) -> None:
    """A wide character that does not fit goes to the next row."""
    assert rows_of(text, 10) == rows


def test_what_combines_takes_no_room() -> None:
    """An accent stands above the letter before it."""
    assert rows_of("e\u0301" * 10, 10) == 1


# What is typed


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("", ""),
        ("hello", "hello"),
        (" /ping", " /ping"),
        ("//ping", "/ping"),
        ("/ping", PingCommand()),
        ("/ping ab c", PingCommand(b"ab c")),
        ("/binary 00 fF", b"\x00\xff"),
        ("/binary", b""),
        ("/close", CloseCommand()),
        ("/close ", CloseCommand()),
        ("/close 1001", CloseCommand(1001)),
        ("/close 4000 so be it", CloseCommand(4000, "so be it")),
        ("/help", HelpCommand()),
    ],
)
def test_what_a_line_asks_for(line: str, action: Action) -> None:
    """A line is a text message, unless it begins with one slash."""
    assert action_of(line) == action


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("/", "'/' is not a command"),
        ("/etc/passwd", "'/etc/passwd' is not a command; see /help"),
        ("/binary 0", "'0' is not pairs of hex digits"),
        ("/binary xy", "'xy' is not pairs"),
        ("/close me", "'me' is not a close code"),
        ("/close -1", "'-1' is not a close code"),
        ("/close 1005", "close code 1005 must not be sent"),
        ("/ping " + "x" * 126, "at most 125 bytes, not 126"),
    ],
)
def test_commands_without_meaning(line: str, complaint: str) -> None:
    """It says what is wrong with a command."""
    with pytest.raises(ValueError, match=complaint):
        action_of(line)


def test_the_help_names_every_command() -> None:
    """What is said to be a command is one."""
    for command in ("/ping", "/binary", "/close", "/help"):
        assert f"{command} " in HELP
        action_of(command)


# The arguments


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: URL"),
        (["localhost:8000"], "did you mean ws://localhost:8000?"),
        (["ws://x", "--backend", "curio"], "invalid choice: 'curio'"),
        (["ws://x", "-H", "nonsense"], "'nonsense' is not 'Name: value'"),
        (["ws://x", "-H", "Upgrade: x"], "header 'Upgrade' cannot be set"),
        (["ws://x", "-s", "a b"], "'a b' is not a subprotocol"),
        (["ws://x", "--proxy", "ftp://x"], "proxy's URL is invalid"),
        (["ws://x", "--open-timeout", "soon"], "'soon' is not a number of seconds"),
        (["ws://x", "--wait", "nan"], "'nan' is not a number of seconds"),
        (["ws://x", "--count", "0"], "'0' is not a number of at least 1"),
        (["ws://x", "--max-message-bytes", "0"], "max_message_bytes must be"),
        (["wss://x", "--cacert", os.devnull], f"--cacert {os.devnull}: "),
        (["wss://x", "--cacert", "no/such"], "No such file"),
        (["wss://x", "-k", "--cacert", "x"], "not allowed with"),
    ],
)
def test_arguments_without_meaning(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be meant ends with 2, before anything is tried, and says why."""
    with pytest.raises(SystemExit) as caught:
        settings_of(arguments)

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_backend_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trio is an extra: where it is missing, that is what is said."""
    monkeypatch.setattr(_arguments, "find_spec", lambda name: None)

    with pytest.raises(SystemExit):
        settings_of(["--backend", "trio", "ws://x"])

    assert "--backend trio: trio is not installed" in capsys.readouterr().err


def test_the_url_is_shown_without_its_secrets() -> None:
    """A password and a query are nobody's business."""
    assert settings_of(["ws://me:pass@x:1/y?key=z"]).where == "ws://x:1/y"


# Streams


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Give a pipe: what to read from, and a text stream to write to."""
    reader, writer = os.pipe()
    with open(writer, "w", encoding="ascii") as stream:
        yield reader, stream
    os.close(reader)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Output]]:
    """Give the other side of a terminal of four rows of ten, and what writes to it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "4")
    outside, inside = os.openpty()
    tty.setraw(inside)
    with open(inside, "w", encoding="utf-8") as stream:
        sink = Sink(stream)
        yield outside, Output(sink, sink, interactive=True)
    os.close(outside)


def expect(outside: int, written: str) -> None:
    """Hold that a terminal gets to see exactly this; it may come in pieces."""
    seen = ""
    while len(seen) < len(written):
        seen += os.read(outside, 1000).decode()
    assert seen == written


def source_of(file: int) -> TextIO:
    """Return a text stream that reads."""
    return open(file, encoding="utf-8")


def test_a_stream_of_few_characters(pipe: tuple[int, TextIO]) -> None:
    """What the encoding of an output has not is escaped, and is no error."""
    reader, stream = pipe
    Sink(stream).write("größer\n")

    assert os.read(reader, 100) == b"gr\\xf6\\xdfer\n"


async def test_a_full_pipe(pipe: tuple[int, TextIO]) -> None:
    """Writing to a pipe that nobody reads lets others run, and loses nothing."""
    reader, stream = pipe
    received = b""

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Sink(stream).send, "x" * 1_000_000)
        await anyio.wait_all_tasks_blocked()
        while len(received) < 1_000_000:
            await anyio.wait_readable(reader)
            received += os.read(reader, 100_000)

    assert received == b"x" * 1_000_000


async def test_a_file(tmp_path: Path) -> None:
    """A file is never waited for."""
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        sink = Sink(stream)
        await sink.send("one\n")
        await sink.send("two\n")

    assert (tmp_path / "out").read_text() == "one\ntwo\n"


def test_a_pipe_that_does_not_block(pipe: tuple[int, TextIO]) -> None:
    """Where somebody has made it non-blocking, a write still writes everything."""
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    received = bytearray()

    def read() -> None:
        while len(received) < 1_000_000:
            received.extend(os.read(reader, 100_000))

    thread = Thread(target=read)
    thread.start()
    Sink(stream).write("x" * 1_000_000)
    thread.join()

    assert received == b"x" * 1_000_000


async def test_lines(pipe: tuple[int, TextIO]) -> None:
    """Lines come without their ends; the last one needs none."""
    reader, stream = pipe
    with source_of(os.dup(reader)) as source:
        lines = Lines(source)
        lines.start()
        stream.write("one\r\ntwo\nth")
        stream.flush()
        assert await lines.next_batch() == [b"one", b"two"]
        stream.write("ree")
        stream.close()

        assert await lines.next_batch() == [b"three"]
        assert await lines.next_batch() == []


async def test_a_terminal_that_has_gone() -> None:
    """What cannot be read any more has ended."""
    outside, inside = os.openpty()
    os.close(inside)
    with source_of(outside) as source:
        lines = Lines(source)
        lines.start()

        assert await lines.next_batch() == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_lines_for_nobody(pipe: tuple[int, TextIO], backend: str) -> None:
    """What comes when the event loop has ended is no error, and ends the thread."""
    reader, stream = pipe

    async def start() -> None:
        Lines(source).start()

    with source_of(os.dup(reader)) as source:
        anyio.run(start, backend=need(backend))
        threads = [one for one in enumerate_threads() if one.name == "anyws lines"]
        stream.write("x\n")
        stream.close()
        for thread in threads:
            thread.join()

    assert threads


def test_interrupted_without_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where signals cannot be handled, Ctrl-C still has its exit status."""

    def run(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", run)

    assert main(["ws://x"]) == 130


async def test_streams_that_are_closed() -> None:
    """Without an input there are no lines; without an output nothing is written."""
    lines = Lines(None)
    lines.start()
    assert await lines.next_batch() == []

    output = Output(Sink(None), Sink(None), interactive=False)
    await output.message("x")
    output.say("x")


async def test_nobody_to_tell(pipe: tuple[int, TextIO]) -> None:
    """What nobody reads any more is told to nobody; for messages it is an error."""
    reader, stream = pipe
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
    output = Output(Sink(stream), Sink(stream), interactive=False)

    output.say("x")
    with pytest.raises(BrokenPipeError):
        await output.message("x")


async def test_above_the_prompt(terminal: tuple[int, Output]) -> None:
    """What comes is written into a gap that is made above the line being typed."""
    outside, output = terminal
    output.prompt()
    await output.message("12345678")
    output.say("12345678901\x1b")

    expect(
        outside,
        "> "
        "\x1b7\n\x1b[1A\x1b[1L\r< 12345678\x1b8\x1b[1B"
        "\x1b7\n\n\x1b[2A\x1b[2L\r12345678901\\u001b\x1b8\x1b[2B",
    )


async def test_higher_than_the_terminal(terminal: tuple[int, Output]) -> None:
    """What has no room above the prompt is written over it, and asked for again."""
    outside, output = terminal
    output.prompt()
    text = "x" * 100
    await output.message(text)
    output.end_prompt()

    expect(outside, f"> \r\x1b[K< {text}\n> \r\x1b[K")


async def test_after_a_line_was_entered(terminal: tuple[int, Output]) -> None:
    """Where there is no prompt, there is nothing to write above, nor to erase."""
    outside, output = terminal
    output.prompt()
    output.entered()
    await output.message("x")
    output.end_prompt()
    output.prompt()

    expect(outside, "> < x\n> ")

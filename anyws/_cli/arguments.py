"""The arguments of the command line."""

from __future__ import annotations

import ssl
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final, Literal

from .._client.connect import Connector, connect
from .._client.url import parse_url, shown
from .._values.options import Options
from .console import HELP

ENDED_OTHERWISE: Final = 1
USAGE: Final = 2
NOT_CONNECTED: Final = 3
REJECTED: Final = 4
SIGNALLED: Final = 128

_EPILOG: Final = f"""\
Each line of standard input is sent as a text message. Each received message is
printed as one line of standard output: control characters are escaped as in
JSON, and binary messages are in hex. Everything else goes to standard error.

A line that begins with a slash is a command:
{HELP}

python -m anyws serve --help describes the server.

The end of input (Ctrl-D) closes the connection. If the input is not a terminal,
the connection is closed once no message has come for --wait seconds, and an
invalid command closes it, too.

exit status:
0    closed with 1000, 1001 or no code, or closed by this end
1    ended in another way, or before --count messages came
2    an argument or a line of input was not valid
3    could not connect
4    the server rejected the WebSocket with another HTTP status than 101
130  interrupted by Ctrl-C (143 by SIGTERM), after closing with 1001
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The arguments, parsed and checked.

    Attributes:
        connector: Opens the connection.
        where: The URL to show, without its user, password and query.
        backend: The event loop, by AnyIO's name.
        wait: Seconds without a message, after the end of input, that end the
            conversation.
        count: Messages to receive before closing; `None` for no limit.
        quiet: Whether only messages and errors are written.
    """

    connector: Connector
    where: str
    backend: Literal["asyncio", "trio"]
    wait: float
    count: int | None
    quiet: bool


def settings_of(argv: Sequence[str] | None) -> Settings:
    """Parse the arguments; exit with 2 and an explanation if one is not valid."""
    parser = _parser()
    args = parser.parse_args(argv)
    if find_spec(args.backend) is None:
        parser.error(
            f"--backend {args.backend}: {args.backend} is not installed: "
            f"pip install 'anyws-websockets[{args.backend}]'"
        )
    try:
        connector = connect(
            args.url,
            subprotocols=args.subprotocol,
            headers=args.header,
            origin=args.origin,
            ssl_context=_ssl_context(args.insecure, args.cacert),
            proxy=None if args.proxy == "none" else args.proxy or True,
            compression=None if args.no_compression else "deflate",
            unix_path=args.unix,
            options=Options(max_message_bytes=args.max_message_bytes),
            open_timeout=args.open_timeout,
        )
    except (ValueError, TypeError) as exc:
        parser.error(str(exc))
    except OSError as exc:  # `ssl.SSLError` is one
        parser.error(f"--cacert {args.cacert}: {exc.strerror or exc}")
    return Settings(
        connector=connector,
        where=shown(parse_url(args.url)),
        backend=args.backend,
        wait=args.wait,
        count=args.count,
        quiet=args.quiet,
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m anyws",
        usage="%(prog)s [OPTION ...] URL",
        description="Talk to a WebSocket server.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("url", metavar="URL", help="ws:// or wss://")
    add("--version", action="version", version=f"anyws {version('anyws-websockets')}")
    add(
        "--backend",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="(default: asyncio)",
    )
    add("-q", "--quiet", action="store_true", help="print only messages and errors")
    opening = parser.add_argument_group("the opening handshake")
    add = opening.add_argument
    add(
        *("-H", "--header"),
        type=_header,
        action="append",
        metavar="'NAME: VALUE'",
        help="add a header to the request; can be repeated",
    )
    add(
        *("-s", "--subprotocol"),
        action="append",
        default=[],
        metavar="NAME",
        help="offer a subprotocol; can be repeated",
    )
    add("-o", "--origin", metavar="ORIGIN", help="send this Origin header")
    add("--no-compression", action="store_true", help="do not offer permessage-deflate")
    add(
        "--open-timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="limit for the whole handshake and name look-up (default: 10)",
    )
    way = parser.add_argument_group("the connection")
    trust = way.add_mutually_exclusive_group()
    trust.add_argument(
        *("-k", "--insecure"),
        action="store_true",
        help="do not verify the server's certificate",
    )
    trust.add_argument(
        "--cacert", metavar="FILE", help="trust only the authorities in this PEM file"
    )
    add = way.add_argument
    add(
        "--proxy",
        metavar="URL",
        help="an http, https or socks5 proxy; none: no proxy (default: the "
        "proxy that the environment names)",
    )
    add("--unix", metavar="PATH", help="connect to a unix socket instead")
    messages = parser.add_argument_group("messages")
    add = messages.add_argument
    add(
        "--max-message-bytes",
        type=int,
        default=Options().max_message_bytes,
        metavar="BYTES",
        help="close with 1009 if a larger message comes (default: 16 MiB)",
    )
    add(
        *("-w", "--wait"),
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="after the end of input, close when no message has come for this "
        "time (default: 2); inf: wait until the peer closes",
    )
    add(
        *("-n", "--count"),
        type=_count,
        metavar="N",
        help="close after N messages have come",
    )
    add("-1", dest="count", action="store_const", const=1, help="the same as --count 1")
    return parser


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ArgumentTypeError(f"{text!r} is not 'Name: value'")
    return name.strip(), value.strip()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _ssl_context(insecure: bool, cacert: str | None) -> ssl.SSLContext | None:
    if not insecure and cacert is None:
        return None
    context = ssl.create_default_context(cafile=cacert)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

"""The command line of the server: `python -m anyws serve module:app`; see `--help`."""

from __future__ import annotations

import logging
import ssl
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

import anyio

from .._serve.application import load_application
from .._serve.server import Server, serve
from .._serve.signals import signalled, wait_first
from .._values.options import Options
from .arguments import ENDED_OTHERWISE, USAGE

_DEFAULTS: Final = Options()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve an application until SIGINT or SIGTERM; return the exit status.

    Args:
        argv: The arguments behind `serve`; by default those of the process.
    """
    parser = _parser()
    arguments = parser.parse_args(sys.argv[2:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    package = {"asyncio": "anyio"}.get(arguments.backend, arguments.backend)
    if find_spec(package) is None:
        parser.error(
            f"--backend {package}: {package} is not installed: "
            f"pip install 'anyws-websockets[{package}]'"
        )
    try:
        server = _server_of(arguments)
    except (LookupError, TypeError, ValueError, OSError) as exc:
        sys.stderr.write(f"{parser.prog}: {exc}\n")
        return USAGE
    uvloop = arguments.backend == "uvloop"
    try:
        anyio.run(
            _serve,
            server,
            backend="asyncio" if uvloop else arguments.backend,
            backend_options={"use_uvloop": True} if uvloop else {},
        )
    except KeyboardInterrupt:  # before the signals were heeded, or a second one
        return ENDED_OTHERWISE
    except (OSError, RuntimeError) as exc:
        sys.stderr.write(f"{parser.prog}: {exc}\n")
        return ENDED_OTHERWISE
    return 0


async def _serve(server: Server) -> None:
    async with server:
        sys.stderr.write(f"serving {' '.join(server.urls)}\n")
        await wait_first(server.wait_closed, signalled)


def _server_of(arguments: Namespace) -> Server:
    """Return the server that the arguments ask for.

    Raises:
        LookupError: There is no such module or application.
        TypeError, ValueError: An argument is invalid.
        OSError: A certificate cannot be read.
    """
    named: dict[str, Any] = {
        "max_message_bytes": arguments.max_message_bytes,
        "ping_interval": arguments.ping_interval or None,
        "ping_timeout": arguments.ping_timeout or None,
    }
    return serve(
        load_application(arguments.application),
        None if arguments.unix else arguments.host,
        arguments.port,
        unix_path=arguments.unix,
        ssl_context=_ssl_context(arguments.certfile, arguments.keyfile),
        options=Options(**named),
        compression=None if arguments.no_compression else "deflate",
        max_connections=arguments.max_connections,
        open_timeout=arguments.open_timeout,
        drain_timeout=arguments.drain_timeout,
        allowed_origins=arguments.allowed_origin,
    )


def _ssl_context(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        if keyfile is not None:
            raise ValueError("--keyfile is the key of a --certfile")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile)
    except OSError as exc:
        raise OSError(f"--certfile {certfile}: {exc.strerror or exc}") from exc
    return context


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m anyws serve",
        usage="%(prog)s [OPTION ...] MODULE:APPLICATION",
        description="Serve the WebSockets of an application.",
        epilog="SIGINT (Ctrl-C) and SIGTERM close every connection with 1012. "
        "exit status: 0 after that, 1 if the server could not start or failed, "
        "2 if an argument is not valid",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "application",
        metavar="MODULE:APPLICATION",
        help="a handler or an ASGI application, in a module or a file (default: app)",
    )
    add("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="0: any free port (default: 8000)")
    add("--unix", metavar="PATH", help="listen on a unix socket instead")
    add(
        "--backend",
        choices=("asyncio", "trio", "uvloop"),
        default="asyncio",
        help="(default: asyncio)",
    )
    add("--certfile", metavar="FILE", help="serve wss, with this certificate (PEM)")
    add("--keyfile", metavar="FILE", help="the private key, if it is in another file")
    add(
        "--allowed-origin",
        action="append",
        metavar="ORIGIN",
        help="origin of pages that may connect: https://example.com, "
        "https://*.example.com or same-origin; can be repeated (default: all pages)",
    )
    limits = parser.add_argument_group("limits")
    add = limits.add_argument
    add(
        "--max-connections",
        type=int,
        metavar="N",
        help="refuse more with 503 (default: no limit)",
    )
    add(
        "--max-message-bytes",
        type=int,
        default=_DEFAULTS.max_message_bytes,
        metavar="BYTES",
        help="close with 1009 if a larger message comes (default: 16 MiB)",
    )
    add(
        "--no-compression",
        action="store_true",
        help="do not agree to permessage-deflate",
    )
    for name, default, text in (
        ("--open-timeout", 10.0, "limit for TLS and the request (default: 10)"),
        ("--drain-timeout", 3.0, "for handlers to end at shutdown (default: 3)"),
        (
            "--ping-interval",
            _DEFAULTS.ping_interval,
            "between pings; 0: no pings (default: 20)",
        ),
        (
            "--ping-timeout",
            _DEFAULTS.ping_timeout,
            "for the answer to a ping; 0: no limit (default: 20)",
        ),
    ):
        add(name, type=float, default=default, metavar="SECONDS", help=text)
    return parser

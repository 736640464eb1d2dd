"""The echo client that Autobahn's fuzzing server tests, on a backend of your choice.

    python tests/support/autobahn_client.py ws://127.0.0.1:9001 --backend trio

It asks the server for the number of its cases, echoes through each, and has the server
write its report.
"""

from __future__ import annotations

import argparse

import anyio

import anyws

# Case 9.* sends messages of 16 MiB; case 10 and 12 compress, and none may be cut short.
OPTIONS = anyws.Options(max_message_bytes=64 * 1024 * 1024, ping_interval=None)


async def run(url: str, agent: str, case_timeout: float) -> None:
    """Echo through all cases."""
    async with anyws.connect(f"{url}/getCaseCount") as ws:
        count = int(await ws.receive_text())
    for case in range(1, count + 1):
        with anyio.move_on_after(case_timeout):
            await echo(f"{url}/runCase?case={case}&agent={agent}")
    async with anyws.connect(f"{url}/updateReports?agent={agent}") as ws:
        await ws.wait_closed()


async def echo(url: str) -> None:
    """Send back what comes, until the connection is over."""
    try:
        async with anyws.connect(url, options=OPTIONS) as ws:
            async for message in ws:
                await ws.send_message(message)
    except anyws.ConnectionClosed:
        pass  # many cases end it by a violation


def main() -> None:
    """Run it by the arguments."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("url")
    parser.add_argument("--agent", default="anyws")
    parser.add_argument("--backend", default="asyncio", choices=["asyncio", "trio"])
    parser.add_argument("--case-timeout", type=float, default=130.0)
    arguments = parser.parse_args()
    anyio.run(
        run,
        arguments.url,
        arguments.agent,
        arguments.case_timeout,
        backend=arguments.backend,
    )


if __name__ == "__main__":
    main()

"""Messages from a server, over many connections, in code that is not async."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import anyio
from anyio.from_thread import start_blocking_portal

import anyws

Messages = SimpleQueue[str | None]


def follow(url: str, take: Callable[[str], None], backend: str = "asyncio") -> None:
    """Take each message in this thread; connect again until Ctrl-C, or an error."""
    with start_blocking_portal(backend) as portal:
        loop = aiter(anyws.connect(url))
        while True:
            ws = portal.call(loop.__anext__)
            # The block swallows the end of its own connection.
            with portal.wrap_async_context_manager(ws):
                while True:
                    take(portal.call(ws.receive_text))


@contextmanager
def following(url: str, backend: str = "asyncio") -> Iterator[Messages]:
    """Fill a queue in the background; its last item is `None`, after an error.

    The error is raised when the block is left.
    """
    messages: Messages = SimpleQueue()
    with start_blocking_portal(backend) as portal:
        task = portal.start_task_soon(fill, messages, url)
        yield messages
        if not task.cancel():
            task.result()


async def fill(messages: Messages, url: str) -> None:
    """Put all messages into the queue, over as many connections as needed."""
    try:
        async for ws in anyws.connect(url):
            async with ws:
                async for text in ws.iter_text():
                    messages.put(text)
                    if messages.qsize() > 1000:  # the server waits during this
                        await emptied(messages)
    finally:
        messages.put(None)


async def emptied(messages: Messages) -> None:
    """Wait until the other thread has taken all messages."""
    while not messages.empty():  # noqa: ASYNC110  # a thread sets no AnyIO event
        await anyio.sleep(0.01)

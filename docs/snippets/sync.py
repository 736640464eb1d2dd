"""A connection in code that is not async: a script, a thread, a notebook."""

from __future__ import annotations

from anyio.from_thread import start_blocking_portal

import anyws


def ask(url: str, question: str, backend: str = "asyncio") -> str:
    """Ask a server, and return its answer."""
    with start_blocking_portal(backend) as portal:
        with portal.wrap_async_context_manager(anyws.connect(url)) as ws:
            portal.call(ws.send_text, question)
            return portal.call(ws.receive_text)

"""A client that connects again whenever its connection is over."""

from __future__ import annotations

import anyws


async def listen(url: str, token: str, wanted: int) -> list[str | bytes]:
    """Collect messages, over as many connections as needed."""
    messages: list[str | bytes] = []
    retry = anyws.Retry(max_delay=30, give_up_after=600)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async for ws in anyws.connect(url, headers=headers, retry=retry):
            async with ws:  # swallows the end of its connection; the loop goes on
                async for message in ws:
                    messages.append(message)
                    if len(messages) == wanted:
                        return messages
    except (anyws.HandshakeError, anyws.ConnectionClosed) as exc:
        print(f"giving up: {exc}")
    return messages

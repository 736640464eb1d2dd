"""A client that reconnects, and resumes after the last message."""

from __future__ import annotations

from collections.abc import Callable

import anyws
from anyws import Event, Position

hub = anyws.Hub(history=1000)


@anyws.endpoint
async def feed(ws: anyws.WebSocket) -> None:
    """Send the topic `feed`, from the client's last position on."""
    await ws.accept()
    since = Position(ws.headers.get("x-since", Position.OLDEST))
    with hub.attach(ws, "feed", since=since, encode=Event.as_json):
        await ws.wait_closed()


async def follow(url: str, take: Callable[[str], None]) -> None:
    """Take the messages of the feed, once each and in order, whatever happens."""
    position: str = Position.OLDEST

    def headers() -> dict[str, str]:  # called before each try
        return {"X-Since": position}

    retry = anyws.Retry(give_up_after=600)
    async for ws in anyws.connect(url, headers=headers, retry=retry):
        async with ws:
            async for event in ws.iter_json():
                if "text" in event:
                    take(event["text"])
                    position = event["position"]
                elif "gap" in event:
                    take("some messages are no longer kept")

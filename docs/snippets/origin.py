"""A dependency that lets only pages of our own site in."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Header, WebSocketException

from anyws.fastapi import Guarded

OURS = {"https://example.org", "https://www.example.org"}


def from_our_site(origin: Annotated[str | None, Header()] = None) -> None:
    """Reject pages of other sites with 403."""
    if origin is not None and origin not in OURS:
        raise WebSocketException(1008, "wrong origin")


app = FastAPI()


@app.websocket("/ws", dependencies=[Depends(from_our_site)])
async def handler(ws: Guarded) -> None:
    """Greet the page."""
    await ws.accept()
    await ws.send_text("welcome")

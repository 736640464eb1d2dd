"""The token of a program, in a header, or of a page, among the subprotocols."""

from __future__ import annotations

import anyws

TOKENS = {"secret-of-ann": "ann"}


async def greet(ws: anyws.WebSocket) -> None:
    """Greet a user; no answer shows the token."""
    user = TOKENS.get(ws.bearer_token() or "")
    if user is None:
        await ws.reject(401, "unknown token")
        return
    await ws.accept()
    await ws.send_text(f"hello, {user}")


async def main() -> str:
    """Start the server, and connect to it with a token."""
    headers = {"Authorization": "Bearer secret-of-ann"}
    async with (
        anyws.serve(greet, "127.0.0.1") as server,
        anyws.connect(server.url, headers=headers) as ws,
    ):
        return await ws.receive_text()

"""Tell a client about people who enter or leave a room."""

from __future__ import annotations

import anyws

hub = anyws.Hub()


@anyws.endpoint
async def who(ws: anyws.WebSocket) -> None:
    """Send the people of the room, then each change."""
    await ws.accept()
    with hub.presence.watch("room") as changes, ws.cancel_on_disconnect():
        await ws.send_json(sorted(hub.presence.list("room")))
        async for change in changes:  # a PresenceChange
            metas = list(change.metas)  # the metadata under the key now
            await ws.send_json([change.kind, change.key, metas])

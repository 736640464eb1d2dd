"""A server and a client with TLS."""

from __future__ import annotations

import ssl

import anyws


async def echo(ws: anyws.WebSocket) -> None:
    """Serve one connection."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


def secure_server(certificate: str, key: str) -> anyws.Server:
    """Make a `wss` server, to be entered with `async with`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return anyws.serve(echo, "127.0.0.1", 0, ssl_context=context)


def client_of_own_authority(url: str, authority: str) -> anyws.Connector:
    """Trust one authority, such as that of a self-signed certificate."""
    return anyws.connect(url, ssl_context=ssl.create_default_context(cafile=authority))

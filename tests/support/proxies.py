"""Small proxies: scripts for `peers.serving` that open a tunnel when asked to."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import ip_address

import anyio
from anyio.abc import ByteStream

from .peers import BROKEN, HOST, Visit


@dataclass
class Tunnels:
    """What a proxy was asked for, and how it answers.

    Attributes:
        port: Where its tunnels lead to, on this machine, whatever was asked for.
        asked: The requests: the heads of HTTP's, the hosts and ports of SOCKS's.
        users: The users and passwords that were given to SOCKS.
        answer: HTTP's, to a request for a tunnel.
        wants_user: Whether SOCKS asks for a user and password.
        code: SOCKS's, to a request for a tunnel.
    """

    port: int = 0
    asked: list[str] = field(default_factory=list)
    users: list[tuple[str, str]] = field(default_factory=list)
    answer: str = "HTTP/1.1 200 Connection established\r\n\r\n"
    wants_user: bool = False
    code: int = 0

    async def http(self, visit: Visit) -> None:
        """Be an HTTP proxy."""
        self.asked.append((await visit.read_head()).decode())
        await visit.send(self.answer)
        if " 200" in self.answer:
            await self._join(visit.stream)
        else:
            await visit.gone()

    async def socks5(self, visit: Visit) -> None:
        """Be a SOCKS proxy of version 5 (RFC 1928, RFC 1929)."""
        version, count = await _exactly(visit, 2)
        methods = await _exactly(visit, count)
        assert version == 5
        method = 2 if self.wants_user else 0
        if method not in methods:
            await visit.send(b"\x05\xff")
            return
        await visit.send(bytes([5, method]))
        if self.wants_user:
            user = (await _exactly(visit, (await _exactly(visit, 2))[1])).decode()
            password = (await _exactly(visit, (await _exactly(visit, 1))[0])).decode()
            self.users.append((user, password))
            good = password == "pa55word"
            await visit.send(bytes([1, not good]))
            if not good:
                return
        *_, kind = await _exactly(visit, 4)
        if kind == 3:
            host = (await _exactly(visit, (await _exactly(visit, 1))[0])).decode()
        else:
            host = str(ip_address(await _exactly(visit, 4 if kind == 1 else 16)))
        (port,) = struct.unpack("!H", await _exactly(visit, 2))
        self.asked.append(f"{host}:{port}")
        await visit.send(bytes([5, self.code, 0, 1, 0, 0, 0, 0, 0, 0]))
        if not self.code:
            await self._join(visit.stream)

    async def socks4(self, visit: Visit) -> None:
        """Be a SOCKS proxy of version 4, which may be asked for a name (4a)."""
        version, _, port, *address = struct.unpack("!BBH4B", await _exactly(visit, 8))
        assert version == 4
        user = await _text(visit)
        host = str(ip_address(bytes(address)))
        if host.startswith("0.0.0."):
            host = await _text(visit)
        self.users.append((user, ""))
        self.asked.append(f"{host}:{port}")
        await visit.send(bytes([0, self.code or 90, 0, 0, 0, 0, 0, 0]))
        if not self.code:
            await self._join(visit.stream)

    async def _join(self, client: ByteStream) -> None:
        async def pump(source: ByteStream, sink: ByteStream) -> None:
            try:
                async for data in source:
                    await sink.send(data)
            except BROKEN:
                pass
            tg.cancel_scope.cancel()

        async with (
            await anyio.connect_tcp(HOST, self.port) as server,
            anyio.create_task_group() as tg,
        ):
            tg.start_soon(pump, client, server)
            tg.start_soon(pump, server, client)


async def _exactly(visit: Visit, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await visit.stream.receive(size - len(data))
    return data


async def _text(visit: Visit) -> str:
    data = b""
    while not data.endswith(b"\0"):
        data += await visit.stream.receive(1)
    return data[:-1].decode()

"""A TCP proxy that holds what it carries: a slow wire before a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from streambench.clock import NS_PER_S, now_ns
from streambench.pacer import Pacer

CHUNK_BYTES = 1 << 16


class SlowWire:
    """A port of loopback behind which a server stands, as far away as one likes.

    Attributes:
        there_s: How long what goes to the server takes; read for each piece.
        back_s: How long what comes from the server takes.
        port: The port.

    Args:
        host: Host of the server.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.there_s = 0.0
        self.back_s = 0.0
        self.port = 0
        self._server = (host, port)
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'127.0.0.1:{self.port}'

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
            with suppress(ConnectionError, asyncio.CancelledError):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._carry(reader, to_server, there=True))
                    tasks.create_task(self._carry(from_server, writer, there=False))
            for end in (to_server, writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()
        finally:
            self._connections.discard(task)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool
    ) -> None:
        """Carry one direction until it ends: pieces leave in order, each when it is due."""
        pieces: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

        async def read() -> None:
            data = b'.'
            while data:
                data = await reader.read(CHUNK_BYTES)
                wire_s = self.there_s if there else self.back_s
                pieces.put_nowait((now_ns() + round(wire_s * NS_PER_S), data))

        async with Pacer() as pacer, asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            while True:
                due_ns, data = await pieces.get()
                await pacer.until(due_ns)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            with suppress(OSError):
                writer.write_eof()

    async def close(self) -> None:
        """End the connections that are left."""
        left = list(self._connections)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    @classmethod
    @asynccontextmanager
    async def before(cls, host: str, port: int) -> AsyncIterator[SlowWire]:
        """Open a port before a server."""
        wire = cls(host, port)
        listening = await asyncio.start_server(wire._serve, '127.0.0.1', 0)
        try:
            wire.port = listening.sockets[0].getsockname()[1]
            yield wire
        finally:
            listening.close()
            await wire.close()
            await listening.wait_closed()

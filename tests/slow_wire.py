"""A TCP proxy that holds what it carries: a slow wire before a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from streambench.clock import NS_PER_S, now_ns
from streambench.pacer import Pacer

CHUNK_BYTES = 1 << 16
# What one way holds before its sender must wait.
PIECES = 256


class SlowWire:
    """A port behind which a server stands, as far away as one likes.

    Attributes:
        there_s: How long what goes to the server takes; read for each piece.
        back_s: How long what comes from the server takes.
        port: The port.

    Args:
        host: Host of the server.
        port: Its port.
        only: Address of the one host that is far away; all are, if absent.
    """

    def __init__(self, host: str, port: int, *, only: str | None = None) -> None:
        self.there_s = 0.0
        self.back_s = 0.0
        self.port = 0
        self._server = (host, port)
        self._only = only
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'127.0.0.1:{self.port}'

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        far = self._only in (None, writer.get_extra_info('peername')[0])
        ends = [writer]
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
            ends.append(to_server)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(reader, to_server, lambda: self.there_s * far))
                tasks.create_task(self._carry(from_server, writer, lambda: self.back_s * far))
        except* (OSError, asyncio.CancelledError):
            # One end is gone, or this wire: then the other goes too.
            pass
        finally:
            for end in ends:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
            self._connections.discard(task)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        takes_s: Callable[[], float],
    ) -> None:
        """Carry one direction until it ends: pieces leave in order, each when it is due."""
        pieces: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        room = asyncio.Semaphore(PIECES)

        async def read() -> None:
            data = b'.'
            while data:
                await room.acquire()
                data = await reader.read(CHUNK_BYTES)
                pieces.put_nowait((now_ns() + round(takes_s() * NS_PER_S), data))

        async with Pacer() as pacer, asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            while True:
                due_ns, data = await pieces.get()
                await pacer.until(due_ns)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
                room.release()
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
    async def before(
        cls,
        host: str,
        port: int,
        *,
        at: tuple[str, int] = ('127.0.0.1', 0),
        only: str | None = None,
    ) -> AsyncIterator[SlowWire]:
        """Open a port before a server.

        Args:
            host: Host of the server.
            port: Its port.
            at: Where to listen.
            only: Address of the one host that is far away; all are, if absent.
        """
        wire = cls(host, port, only=only)
        listening = await asyncio.start_server(wire._serve, *at)
        try:
            wire.port = listening.sockets[0].getsockname()[1]
            yield wire
        finally:
            listening.close()
            await wire.close()
            await listening.wait_closed()

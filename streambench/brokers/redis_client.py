"""The two ends of a Redis topic: pipelined PUBLISH commands, and a subscription.

redis-py's connection does the talking; what is done about its loss is decided here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from streambench.brokers.base import Acked
from streambench.errors import BrokerError, in_one_line

if TYPE_CHECKING:
    from redis.asyncio import Connection

WRITE_BYTES = 256 * 1024


async def ask(connection: Connection, *words: str) -> Any:
    """Return the answer to a command that takes a server no time: as much as connecting may take.

    A server that accepts connections and says nothing may be stopped, or be another program.

    Raises:
        RedisError: If the server refused it or closed the connection.
        OSError: If the connection broke, or the server is silent.
    """
    try:
        async with asyncio.timeout(connection.socket_connect_timeout):
            await connection.send_command(*words)
            return await connection.read_response()
    except TimeoutError:
        silent_s = connection.socket_connect_timeout
        raise TimeoutError(f'it accepts connections and is silent for {silent_s:g} s') from None


async def read_answer(connection: Connection) -> Any:
    """Return the next answer of a connection that is used with RESP2 and without timeouts.

    It asks the parser: `Connection.read_response` would add three calls and an error text to every
    message and every acknowledgement, a tenth of the time of a small item.

    Raises:
        RedisError: If the server answered with an error or closed the connection.
        OSError: If the connection broke.
    """
    if connection.socket_timeout is not None or connection.health_check_interval:
        return await connection.read_response(disconnect_on_error=False)
    parser: Any = connection._parser
    answer = await parser.read_response()
    if isinstance(answer, Exception):
        raise answer
    return answer


class RedisPublisher:
    """PUBLISH commands written one after the other, their answers read by a task."""

    def __init__(
        self,
        connection: Connection,
        connect: Callable[[], Awaitable[Connection]],
        topic: str,
        *,
        limit: int | None = None,
    ) -> None:
        self.reconnects = 0
        self._connect = connect
        self._limit = limit
        name = topic.encode()
        self._head = b'*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n' % (len(name), name)
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._waiting: deque[Acked] = deque()
        self._answered = asyncio.Event()
        self._start(connection)

    def _start(self, connection: Connection) -> None:
        self._connection = connection
        self._broken: str | None = None
        self._reader = asyncio.create_task(self._read(), name='redis-publisher-answers')

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Write a PUBLISH command; its answer is read by the task.

        Small frames that follow each other at once are written together: a system call each would
        cost as much as all the rest.
        """
        if self._broken is not None:
            await self._reader
            await self._connection.disconnect(nowait=True)
            self._unwritten, self._unwritten_bytes = [], 0
            self._start(await self._connect())
            self.reconnects += 1
        length = sum(map(len, parts))
        if self._limit is not None and length > self._limit:
            # The server would cut the connection off, often before it has said why.
            raise BrokerError(
                f'a message of {length} bytes is above the limit of Redis, {self._limit}: raise the '
                "server's setting proto-max-bulk-len, or lower --data-size-bytes."
            )
        self._waiting.append(acked)
        self._unwritten += (
            b'%b$%d\r\n' % (self._head, length),
            *parts,
            b'\r\n',
        )
        self._unwritten_bytes += length
        if more and self._unwritten_bytes < WRITE_BYTES:
            return
        await self._write()

    async def _write(self) -> None:
        from redis.exceptions import ConnectionError as RedisConnectionError

        pieces, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        try:
            await self._connection.send_packed_command(pieces, False)
        except (RedisConnectionError, OSError) as error:
            # The reader notices the same loss and answers for everything that waits.
            self._broken = str(error)
            await self._reader

    async def flush(self) -> None:
        """Return when every frame has been answered."""
        if self._unwritten:
            await self._write()
        while self._waiting:
            self._answered.clear()
            await self._answered.wait()

    async def _read(self) -> None:
        from redis.exceptions import RedisError, ResponseError

        try:
            while True:
                try:
                    receivers = await read_answer(self._connection)
                except ResponseError as refusal:
                    self._answer(None, BrokerError(f'Redis refused a message: {refusal}'))
                else:
                    self._answer(receivers, None)
        except (RedisError, OSError) as error:
            self._broken = str(error)
        finally:
            lost = BrokerError(f'the connection to Redis was lost ({self._broken})')
            while self._waiting:
                self._answer(None, lost)

    def _answer(self, receivers: int | None, error: BrokerError | None) -> None:
        self._waiting.popleft()(receivers, error)
        if not self._waiting:
            self._answered.set()

    async def close(self) -> None:
        """End the reading task and the connection."""
        self._reader.cancel()
        try:
            # Not awaited itself: its cancellation and our own would look alike.
            await asyncio.wait([self._reader])
        finally:
            await self._connection.disconnect(nowait=True)


class RedisSubscriber:
    """A subscription that is made anew, and says so, when its connection is lost."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], topic: str) -> None:
        self.reconnects = 0
        self.on_gap: Callable[[], None] = lambda: None
        self._connect = connect
        self._topic = topic
        self._connection: Connection | None = None

    async def subscribe(self, connection: Connection) -> None:
        """Subscribe on a connection; return when Redis has confirmed it.

        Raises:
            BrokerError: If it doesn't.
        """
        from redis.exceptions import RedisError

        self._connection = connection
        try:
            await ask(connection, 'SUBSCRIBE', self._topic)
        except (RedisError, OSError) as error:
            raise BrokerError(
                f'Redis does not confirm the subscription of {self._topic!r} ({in_one_line(error)}): '
                'see that it is well, and that its user may subscribe.'
            ) from None

    async def receive(self) -> bytes:
        """Return the next frame.

        Raises:
            BrokerError: If Redis is gone and doesn't come back.
        """
        from redis.exceptions import RedisError

        while True:
            assert self._connection is not None
            try:
                answer = await read_answer(self._connection)
            except (RedisError, OSError):
                await self._connection.disconnect(nowait=True)
                await self.subscribe(await self._connect())
                self.reconnects += 1
                self.on_gap()
                continue
            if answer[0] == b'message':
                frame: bytes = answer[2]
                return frame

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)

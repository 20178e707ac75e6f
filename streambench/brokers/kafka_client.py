"""Clients of aiokafka: opened, watched and closed, and their errors translated.

`kafka` imports this module when a client is needed, since aiokafka is slow to import. What is used
of aiokafka beyond its documented interface is used here, and the contract tests depend on it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import CloseReason
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)

from streambench.brokers.base import Acked
from streambench.errors import BrokerError
from streambench.threads import to_its_end

__all__ = [
    'CLOSE_S',
    'CONNECT_S',
    'FAILURES',
    'AIOKafkaAdminClient',
    'AIOKafkaConsumer',
    'AIOKafkaProducer',
    'Connection',
    'KafkaPublisher',
    'KafkaSubscriber',
    'NewTopic',
    'TopicAlreadyExistsError',
    'for_code',
    'parameters',
]

CONNECT_S = 8.0
CLOSE_S = 2.0
# So many records are unpacked at once: more would hold the loop for long when they are small.
RECORDS = 256
WAIT_MS = 3_600_000

FAILURES = (KafkaError, OSError, TimeoutError)


class Connection:
    """A client of aiokafka, and what is known of its losses.

    Attributes:
        client: The client.
        lost: Why it is of no use any more, or None.
        waits: Waits that shall end in TimeoutError when it is lost.
        on_back: Called when a lost connection was made anew.
        on_lost: Called when it was not.
    """

    def __init__(self, client: Any, where: str, *, reconnect_s: float) -> None:
        """Watch a client that isn't connected yet."""
        self._reconnect_s = reconnect_s
        self.client = client
        self.lost: BrokerError | None = None
        self.waits: set[asyncio.Timeout] = set()
        self.on_back: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self._where = where
        self._check: asyncio.Task[None] | None = None
        # aiokafka tells nobody that it reconnects; this method of its inside is where it notices.
        self._inside = client.client if hasattr(client, 'client') else client._client
        self._noticed = self._inside._on_connection_closed
        self._inside._on_connection_closed = self._connection_closed

    async def start(self) -> None:
        """Connect; cut off in the middle, aiokafka would leave a socket behind."""
        starting = asyncio.create_task(self.client.start())
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.shield(starting)
        finally:
            if not starting.done():
                await to_its_end(self._cut_off(starting))

    async def _cut_off(self, starting: asyncio.Task[None]) -> None:
        await asyncio.wait([starting], timeout=1.0)
        starting.cancel()
        await asyncio.wait([starting])

    def _connection_closed(self, connection: Any, reason: Any) -> None:
        self._noticed(connection, reason)
        unwanted = reason in (CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT)
        if unwanted and self.lost is None and self._check is None:
            self._check = asyncio.create_task(self._ask_again(), name='kafka-reconnect')

    async def _ask_again(self) -> None:
        try:
            async with asyncio.timeout(self._reconnect_s):
                # No event tells that a server is back.
                while not await self._inside.force_metadata_update():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.lost = BrokerError(
                f'the connection to Kafka at {self._where} was lost and did not come back within '
                f'{self._reconnect_s:.0f} s: see the log of the server.'
            )
            for wait in self.waits:
                wait.reschedule(asyncio.get_running_loop().time())
            self.on_lost()
        else:
            self.on_back()
        finally:
            self._check = None

    async def close(self) -> None:
        """Close the client, also when cancelled meanwhile."""
        await to_its_end(self._close())

    async def _close(self) -> None:
        if self._check is not None:
            self._check.cancel()
            await asyncio.wait([self._check])
        error = await self._step(
            self.client.stop() if hasattr(self.client, 'stop') else self.client.close()
        )
        await self._step(self._inside.close())
        # On a broken connection aiokafka may fail to close; a KeyError comes from trying again what
        # has been given up.
        if error is not None and not isinstance(error, KafkaError | KeyError | OSError):
            raise error

    async def _step(self, work: Coroutine[Any, Any, None]) -> BaseException | None:
        """Do a step of closing, also when a silent server takes neither bytes nor requests."""
        writers = self._writers()
        task = asyncio.create_task(work)
        patience_s = CLOSE_S if self.lost is None else 0.1
        while not (await asyncio.wait([task], timeout=patience_s))[0]:
            for writer in writers | self._writers():
                writer.transport.abort()
            # Some steps inside swallow a cancellation and go on to the next.
            task.cancel()
            patience_s = 0.1
        return None if task.cancelled() else task.exception()

    def _writers(self) -> set[asyncio.StreamWriter]:
        return {link._writer for link in self._inside._conns.values()} - {None}


class KafkaPublisher:
    """The sending end of a topic."""

    def __init__(self, connection: Connection, topic: str, where: str) -> None:
        """Take over a connected producer."""
        self.reconnects = 0
        self._connection = connection
        self._producer = connection.client
        self._topic = topic
        self._where = where
        self._unanswered = 0
        self._answered = asyncio.Event()
        connection.on_back = self._count
        connection.on_lost = self._give_up

    def _count(self) -> None:
        self.reconnects += 1

    async def find_topic(self) -> None:
        """Return when the topic is there."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._producer.partitions_for(self._topic)
        except (KafkaError, TimeoutError) as error:
            raise BrokerError(
                f'Kafka at {self._where} shows no topic {self._topic!r} ({error!r}): '
                'open its subscriber first.'
            ) from None

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Hand a frame to the client; return when it can take another."""
        connection = self._connection
        if connection.lost is not None:
            raise connection.lost
        frame = parts[0] if len(parts) == 1 else b''.join(parts)
        try:
            async with asyncio.timeout(None) as wait:
                connection.waits.add(wait)
                try:
                    answer = await self._producer.send(self._topic, frame, partition=0)
                finally:
                    connection.waits.discard(wait)
        except MessageSizeTooLargeError:
            acked(
                None,
                BrokerError(
                    f'a message of {len(frame)} bytes is above the limit of the kafka client: '
                    f'raise it with --stream-option max_request_size={2 * len(frame)}.'
                ),
            )
        except (KafkaError, TimeoutError) as error:
            raise connection.lost or self._failure(error) from None
        else:
            self._unanswered += 1
            answer.add_done_callback(partial(self._settle, acked))

    async def flush(self) -> None:
        """Return when every frame has been answered."""
        while self._unanswered:
            self._answered.clear()
            await self._answered.wait()

    def _settle(self, acked: Acked, answer: asyncio.Future[Any]) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._answered.set()
        error = answer.exception()
        acked(None, None if error is None else self._connection.lost or self._failure(error))

    def _failure(self, error: BaseException) -> BrokerError:
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return BrokerError(
                f'Kafka at {self._where} refused a message as too large: raise max.message.bytes '
                f"of the topic {self._topic!r}, or the broker's message.max.bytes, "
                'replica.fetch.max.bytes and socket.request.max.bytes.'
            )
        return BrokerError(
            f'Kafka at {self._where} did not take a message ({error!r}): see that the server is '
            'well, and that its socket.request.max.bytes is above the size of a message.'
        )

    def _give_up(self) -> None:
        """Answer for everything that waits, which is unknown to have been delivered.

        aiokafka itself would go on trying, also when it is closed.
        """
        accumulator = self._producer._message_accumulator
        for batch in [batch for batches in accumulator._batches.values() for batch in batches]:
            # Nobody may be waiting for its turn; an error there would be reported as forgotten.
            batch.drain_ready()
            if batch.retry_count:
                # Put back to be sent again: aiokafka's callback takes it out of the pending ones,
                # where it no longer is, and fails.
                accumulator._pending_batches.add(batch)
        accumulator.fail_all(KafkaConnectionError('the publisher was closed before an answer'))
        accumulator._batches.clear()

    async def close(self) -> None:
        """Give up what isn't answered, and close its connection."""
        await to_its_end(self._close())

    async def _close(self) -> None:
        if self._unanswered:
            self._give_up()
            # The answers are given by callbacks of the loop.
            await self.flush()
        await self._connection.close()


class KafkaSubscriber:
    """The receiving end of a topic."""

    def __init__(self, connection: Connection, topic: str, where: str) -> None:
        """Take over a connected consumer."""
        self.reconnects = 0
        self._connection = connection
        connection.on_back = self._count
        # Never called: Kafka keeps what was published while the connection was away.
        self.on_gap: Callable[[], None] = lambda: None
        self._consumer = connection.client
        self._partition = TopicPartition(topic, 0)
        self._where = where
        self._frames: deque[bytes] = deque()

    def _count(self) -> None:
        self.reconnects += 1

    async def find_position(self, *, new: bool) -> None:
        """Begin at the beginning of a new topic, at the end of another."""
        try:
            async with asyncio.timeout(CONNECT_S):
                ends = await self._consumer.end_offsets([self._partition])
        except (KafkaError, TimeoutError) as error:
            raise BrokerError(
                f'Kafka at {self._where} tells no position in the topic '
                f'{self._partition.topic!r} ({error!r}): see that it is well, and that its '
                'advertised.listeners can be reached from here.'
            ) from None
        # Without a pause between the two, aiokafka never has a partition without a position.
        self._consumer.assign([self._partition])
        self._consumer.seek(self._partition, 0 if new else ends[self._partition])

    async def receive(self) -> bytes:
        """Return the next frame."""
        frames = self._frames
        while not frames:
            await self._fetch()
        return frames.popleft()

    async def _fetch(self) -> None:
        connection = self._connection
        if connection.lost is not None:
            raise connection.lost
        try:
            async with asyncio.timeout(None) as wait:
                connection.waits.add(wait)
                try:
                    fetched = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=RECORDS)
                finally:
                    connection.waits.discard(wait)
        except (KafkaError, TimeoutError) as error:
            raise connection.lost or BrokerError(
                f'Kafka at {self._where} does not deliver the topic '
                f'{self._partition.topic!r} ({error!r}): see the log of the server.'
            ) from None
        for records in fetched.values():
            self._frames.extend([record.value or b'' for record in records])

    async def close(self) -> None:
        """Close its connection."""
        await self._connection.close()


def parameters(kind: Any) -> dict[str, Any]:
    """Return the keyword parameters of a client and their defaults."""
    parameters = inspect.signature(kind.__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items()}

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streambench.brokers.base import Acked, BrokerPlugin, Publisher, Subscriber
from streambench.kinds import count
from streambench.options import option

topics: dict[str, list['QueueSubscriber']] = {}


class QueuePublisher:
    def __init__(self, topic: str) -> None:
        self.reconnects = 0
        self.topic = topic

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        subscribers = topics.get(self.topic, [])
        for subscriber in subscribers:
            await subscriber.frames.put(b''.join(parts))
        acked(len(subscribers), None)

    async def flush(self) -> None:
        return  # every frame was answered in send()


class QueueSubscriber:
    def __init__(self, depth: int) -> None:
        self.reconnects = 0
        self.on_gap: Callable[[], None] = lambda: None
        self.frames: asyncio.Queue[bytes] = asyncio.Queue(depth)

    async def receive(self) -> bytes:
        return await self.frames.get()


@dataclass(frozen=True, kw_only=True)
class QueueBroker(BrokerPlugin):
    """An asyncio.Queue for each topic."""

    name = 'queue'
    summary = 'an asyncio.Queue in this process'
    in_process = True

    queue_depth: int = option('Frames that a topic holds.', count(), default=100, group='broker')

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        yield QueuePublisher(topic)

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        subscriber = QueueSubscriber(self.queue_depth)
        topics.setdefault(topic, []).append(subscriber)
        try:
            yield subscriber  # from here on nothing that is published may be missed
        finally:
            del topics[topic]

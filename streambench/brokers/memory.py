"""The broker `memory`: a topic is a list of subscribers in this process.

It takes frames from any thread's event loop, so a generator on a thread worker can use it too. It is
the reference for what a broker costs when it costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from streambench.brokers.base import BrokerPlugin, Publisher, Subscriber


@dataclass(frozen=True, kw_only=True)
class MemoryBroker(BrokerPlugin):
    """Frames handed over inside this process."""

    name: ClassVar[str] = 'memory'
    summary: ClassVar[str] = 'inside this process; needs nothing'
    tested: ClassVar[str] = 'yes'
    in_process: ClassVar[bool] = True

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end of a topic."""
        from streambench.brokers.memory_topic import MemoryPublisher

        yield MemoryPublisher(topic)

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open the receiving end of a topic."""
        from streambench.brokers.memory_topic import MemorySubscriber, topics

        subscriber = MemorySubscriber()
        topics.setdefault(topic, []).append(subscriber)
        try:
            yield subscriber
        finally:
            topics[topic].remove(subscriber)
            if not topics[topic]:
                del topics[topic]

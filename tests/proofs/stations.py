"""Stations that hold every item for a known time, and plugins that put them into a real run.

They stand where a broker, an executor or a store would be slow. How long they hold is read for each
item, so the control run and the delayed run of one session differ in nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from proxystore.connectors.file import FileConnector, FileKey

from streambench import worker
from streambench.brokers.base import Acked, Publisher, Subscriber
from streambench.brokers.memory import MemoryBroker
from streambench.clock import NS_PER_S, now_ns
from streambench.connectors.file import FileConnectorPlugin
from streambench.executors.base import OpenExecutor
from streambench.executors.pools import ThreadExecutor
from streambench.executors.simulated import SimulatedExecutorPlugin
from streambench.pacer import Pacer

_held_s: dict[str, float] = {}


@contextmanager
def holding(station: str, seconds: float) -> Iterator[None]:
    """Hold every item at a station.

    Args:
        station: Name of the stage in which the hold lies.
        seconds: How long.
    """
    _held_s[station] = seconds
    try:
        yield
    finally:
        del _held_s[station]


def _held_until_ns(station: str) -> int:
    return now_ns() + round(_held_s.get(station, 0.0) * NS_PER_S)


def _hold(station: str) -> None:
    """Hold the calling thread."""
    seconds = _held_s.get(station, 0.0)
    if seconds:
        time.sleep(seconds)


class HeldPublisher:
    """A publisher whose `send` returns late, like a client that is full: the next item leaves late."""

    def __init__(self, inner: Publisher, pacer: Pacer) -> None:
        self.reconnects = 0
        self._inner = inner
        self._pacer = pacer

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Send at once, return late."""
        await self._inner.send(parts, acked, more=more)
        await self._pacer.until(_held_until_ns('publish_delay'))

    async def flush(self) -> None:
        """Flush."""
        await self._inner.flush()


class HeldSubscriber:
    """A subscriber that gets every message late, however many are on their way."""

    def __init__(self, inner: Subscriber, pacer: Pacer) -> None:
        self.reconnects = 0
        self.on_gap: Callable[[], None] = lambda: None
        self._inner = inner
        self._pacer = pacer
        self._frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def read(self) -> None:
        """Take messages from the broker until cancelled."""
        while True:
            frame = await self._inner.receive()
            self._frames.put_nowait((_held_until_ns('delivery'), frame))

    async def receive(self) -> bytes:
        """Return the next frame when it is due."""
        due_ns, frame = await self._frames.get()
        await self._pacer.until(due_ns)
        return frame


@dataclass(frozen=True, kw_only=True)
class HeldBroker(MemoryBroker):
    """The memory broker with a station at either end."""

    name: ClassVar[str] = 'held'

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end."""
        async with super().open_publisher(topic) as inner, Pacer() as pacer:
            yield HeldPublisher(inner, pacer)

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open the receiving end."""
        async with super().open_subscriber(topic) as inner, Pacer() as pacer:
            subscriber = HeldSubscriber(inner, pacer)
            reader = asyncio.create_task(subscriber.read())
            try:
                yield subscriber
            finally:
                reader.cancel()
                with suppress(asyncio.CancelledError):
                    await reader


def _held_task(function: Callable[[worker.Task], worker.Outcome], task: worker.Task) -> worker.Outcome:
    _hold('dispatch')
    outcome = function(task)
    _hold('return')
    return outcome


class HeldPool(Executor):
    """A pool that takes tasks slowly, starts them late and brings them back late."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit at once, return late: what the bridge submits next waits for that."""
        future = self._pool.submit(_held_task, fn, *args, **kwargs)
        _hold('queue_wait')
        return future


@dataclass(frozen=True, kw_only=True)
class HeldThreads(ThreadExecutor):
    """Threads behind stations."""

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool."""
        async with super().open(slots=slots, directory=directory, session=session) as opened:
            yield OpenExecutor(executor=HeldPool(opened.executor), slots=slots)


class HeldConnector(FileConnector):
    """A store of files that takes and gives objects late; each thread has one of its own."""

    def put(self, obj: Any) -> FileKey:
        """Put late."""
        _hold('put')
        return super().put(obj)

    def get(self, key: FileKey) -> Any:
        """Get late."""
        _hold('resolve')
        return super().get(key)


@dataclass(frozen=True, kw_only=True)
class HeldFiles(FileConnectorPlugin):
    """Files behind stations."""

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        _, arguments, key_class = super().connector(name)
        return f'{__name__}.HeldConnector', arguments, key_class


class SecretlyLate(Executor):
    """Simulated servers that sit on some items before they begin, without a word in any stamp.

    Args:
        servers: The servers.
        held_s: Returns how long a server sits on the item of a sequence number.
    """

    def __init__(self, servers: Executor, held_s: Callable[[int], float]) -> None:
        self._servers = servers
        self._held_s = held_s

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a task whose server is busy for longer than it says."""
        (task,) = args
        held_s = self._held_s(task[1])
        held_ns = round(held_s * NS_PER_S)
        told: Future[worker.Outcome] = Future()

        def ended(future: Future[worker.Outcome]) -> None:
            if future.cancelled():
                told.cancel()
                told.set_running_or_notify_cancel()
                return
            outcome = future.result()
            start, resolved, verified = (instant + held_ns for instant in outcome[:3])
            told.set_result((start, resolved, verified, *outcome[3:]))

        longer = (*task[:2], task[2] + held_s, *task[3:])
        self._servers.submit(fn, longer, **kwargs).add_done_callback(ended)
        return told


@dataclass(frozen=True, kw_only=True)
class SecretlyLateServers(SimulatedExecutorPlugin):
    """Simulated servers that are late now and then."""

    held_s: Callable[[int], float]

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the servers."""
        async with super().open(slots=slots, directory=directory, session=session) as opened:
            yield OpenExecutor(executor=SecretlyLate(opened.executor, self.held_s), slots=slots)

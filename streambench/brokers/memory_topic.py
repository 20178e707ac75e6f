"""The topics of the broker `memory`: lists of subscribers, usable from any thread's event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from streambench.brokers.base import Acked

# The broker's memory: topics of this process, whichever loop or thread they are used from.
topics: dict[str, list[MemorySubscriber]] = {}

BUFFER_BYTES = 256 * 1024 * 1024


class MemorySubscriber:
    """The receiving end: a list of frames in this process."""

    def __init__(self) -> None:
        self.reconnects = 0
        self.on_gap: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the frames held here have reached the broker's memory."""
        return self._held_bytes >= BUFFER_BYTES

    def deliver(self, frame: bytes) -> None:
        """Take a frame from any thread."""
        self._held_bytes += len(frame)
        self._frames.append(frame)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._wake()
        else:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> bytes:
        """Return the next frame."""
        while not self._frames:
            self._waiter = self._loop.create_future()
            try:
                if not self._frames:
                    await self._waiter
            finally:
                self._waiter = None
        frame = self._frames.popleft()
        self._held_bytes -= len(frame)
        return frame


class MemoryPublisher:
    """The sending end: hands frames to whoever subscribes at that moment."""

    def __init__(self, topic: str) -> None:
        self.reconnects = 0
        self._topic = topic

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Deliver a frame, once its receivers have room."""
        subscribers = topics.get(self._topic, [])
        # A subscriber may live on another thread's loop, so there is no event to wait for.
        while any(subscriber.full for subscriber in subscribers):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        frame = parts[0] if len(parts) == 1 else b''.join(parts)
        for subscriber in subscribers:
            subscriber.deliver(frame)
        acked(len(subscribers), None)

    async def flush(self) -> None:
        """Return at once: every frame was answered when it was sent."""
        return

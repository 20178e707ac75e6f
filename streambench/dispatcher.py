"""The dispatcher: receive, hold in a bounded queue, keep a bounded number of tasks in flight.

The queue is bounded in items and in bytes; while it is full the reader stands still, which is the
backpressure that a broker sees. Completions are taken in any order.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable

from streambench import reach, worker
from streambench.bridge import Bridge
from streambench.brokers.base import Subscriber
from streambench.clock import NS_PER_S, now_ns
from streambench.ledger import Ledger
from streambench.message import KIND_KEY, Message, decode
from streambench.records import WARMUP, ItemRow

Keyed = Callable[[ItemRow, tuple[object, ...]], None]


class Dispatcher:
    """Turn messages into tasks.

    Args:
        run: Number drawn for the run; tells its messages from others.
        ledgers: The account of each phase.
        bridge: Takes the tasks.
        max_in_flight: Most tasks submitted and not completed.
        batch: How many of them come back before more are submitted, once it is reached.
        queue_size: Most items received and not submitted.
        queue_bytes: Most bytes received and not submitted; a larger item passes alone.
        session: Name under which thread workers find their interrupt.
        store: Description of the store, or nothing.
        keyed: Called with an item and the key of its payload in the store.
        woken: Called with the instant of each receipt.
    """

    def __init__(
        self,
        *,
        run: int,
        ledgers: dict[str, Ledger],
        bridge: Bridge,
        max_in_flight: int,
        batch: int,
        queue_size: int,
        queue_bytes: int,
        session: str,
        store: str,
        keyed: Keyed,
        woken: Callable[[int], None] | None = None,
    ) -> None:
        self.max_in_flight = max_in_flight
        self.batch = batch
        self._filled = False
        self.in_flight = 0
        self.submitted = 0
        self.foreign = 0
        self.held_bytes = 0
        self._run = run
        self._ledgers = ledgers
        self._bridge = bridge
        self._queue_size = queue_size
        self._queue_bytes = queue_bytes
        self._session = session
        self._store = store
        self._keyed = keyed
        self._woken = woken
        self._sleep_s = {WARMUP: 0.0}
        self._full = True
        self._needs: reach.Needs | None = None
        self._queue: deque[tuple[ItemRow, Message]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._standing_since_ns: int | None = None
        self._stood_ns = 0

    def configure(
        self, phase: str, *, sleep_s: float, full: bool, needs: reach.Needs | None = None
    ) -> None:
        """Set what the tasks of a phase do.

        Args:
            phase: Of the run.
            sleep_s: How long they sleep.
            full: Whether they verify payloads in full.
            needs: What each of them opens beside.
        """
        self._sleep_s[phase] = sleep_s
        self._full = full
        self._needs = needs

    @property
    def queue_depth(self) -> int:
        """Items received and not submitted."""
        return len(self._queue)

    @property
    def backpressure_s(self) -> float:
        """Seconds the reader has stood still because the queue was full."""
        now = 0 if self._standing_since_ns is None else now_ns() - self._standing_since_ns
        return (self._stood_ns + now) / NS_PER_S

    async def read(self, subscriber: Subscriber) -> None:
        """Receive until cancelled."""
        subscriber.on_gap = self._gap
        while True:
            frame = await subscriber.receive()
            receive_ns = now_ns()
            if self._woken is not None:
                self._woken(receive_ns)
            message = decode(frame, run=self._run)
            if message is None:
                self.foreign += 1
                continue
            ledger = self._ledgers[WARMUP if message.warmup else 'measure']
            if message.sequence >= ledger.expected:
                # Its header is damaged: nobody sent such an item.
                self.foreign += 1
                continue
            item = ledger.received_item(message, receive_ns)
            if item is None:
                continue
            if not self._fits(len(frame)):
                await self._until_room(len(frame))
            self.held_bytes += len(frame)
            self._queue.append((item, message))
            # Nothing may hold megabytes while the next message is waited for.
            del frame, message
            self.pump()

    def _gap(self) -> None:
        for ledger in self._ledgers.values():
            ledger.gap()

    def _fits(self, length: int) -> bool:
        if not self._queue:
            return True
        return len(self._queue) < self._queue_size and self.held_bytes + length <= self._queue_bytes

    async def _until_room(self, length: int) -> None:
        self._standing_since_ns = now_ns()
        try:
            while not self._fits(length):
                self._room = asyncio.get_running_loop().create_future()
                await self._room
        finally:
            self._room = None
            self._stood_ns += now_ns() - self._standing_since_ns
            self._standing_since_ns = None

    def pump(self) -> None:
        """Submit what waits, as far as the number in flight allows.

        Once that number is reached, a part of it must have come back before more goes out: tasks
        that leave one by one make every thread on their way wake up for each of them.
        """
        if self._filled and self.in_flight > self.max_in_flight - self.batch:
            return
        self._filled = False
        while self._queue and self.in_flight < self.max_in_flight:
            item, message = self._queue.popleft()
            self.held_bytes -= len(message.frame)
            try:
                task = self._task(item, message)
            except (ValueError, TypeError):
                self._ledgers[item.phase].unreadable(item, 'no key can be read from it', now_ns())
                continue
            self.in_flight += 1
            self.submitted += 1
            if self._needs is None:
                self._bridge.submit(item, task)
            else:
                self._bridge.submit(item, (task, self._needs), reach.warm_up_task)
        self._filled = self.in_flight >= self.max_in_flight
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _task(self, item: ItemRow, message: Message) -> worker.Task:
        key: tuple[object, ...] = ()
        frame: bytes | None = message.frame
        if message.kind == KIND_KEY:
            key = tuple(json.loads(bytes(message.body())))
            frame = None
            self._keyed(item, key)
        return (
            self._session,
            message.sequence,
            self._sleep_s[item.phase],
            self._full,
            frame,
            key,
            message.size_bytes,
            message.checksum,
            self._store if frame is None else '',
        )

    def completed(
        self,
        item: ItemRow,
        outcome: worker.Outcome | None,
        failure: BaseException | None,
        complete_ns: int,
    ) -> None:
        """Take the end of a task and submit what may follow."""
        self.in_flight -= 1
        self._ledgers[item.phase].task_ended(item, outcome, failure, complete_ns)
        self.pump()

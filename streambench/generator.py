"""The generator: one item after the other, each at its intended instant, never by a chain of sleeps.

It runs as a coroutine on the dispatcher's loop, or as a long task on one of the workers
(`generate_on_worker`), where it opens broker and connector itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streambench import registry, worker
from streambench.arrivals import Sizes, Traffic, traffic_of
from streambench.brokers.base import Acked, Publisher
from streambench.clock import clock_domain, now_ns
from streambench.errors import StreamBenchError
from streambench.message import KIND_KEY, KIND_PAYLOAD, Message
from streambench.pacer import Pacer
from streambench.payload import PayloadPool

LEAD_NS = 20_000_000
YIELD_EVERY = 16
JOIN_BELOW_BYTES = 65_536
INTERRUPT_POLL_S = 0.1

Put = Callable[[Sequence[bytes]], Awaitable[tuple[Any, ...]]]


class Credits:
    """Permits of the closed loop: one per item published and not completed.

    Attributes:
        free: How many can be taken at once.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiter: asyncio.Future[None] | None = None

    async def take(self) -> None:
        """Wait for a credit and take it."""
        while self.free <= 0:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self.free -= 1

    def give(self, number: int) -> None:
        """Return credits; a negative number takes them back, also from what is not free yet."""
        self.free += number
        if self.free > 0 and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When items leave.

    Attributes:
        count: How many.
        traffic: When they leave and how long they are.
        warmup: Whether they belong to the warm-up.
        first: Sequence number of the first.
        duration_ns: Time after which a closed loop ends, whatever the count.
        share: Which of the items this generator publishes, and of how many generators it is one: item
            n is the business of generator n mod their number.
        start_ns: Instant of this host's clock from which arrivals count; soon, if absent.
        ahead_ns: By how much this host's clock is ahead of the dispatcher's, on which messages are
            stamped.
    """

    count: int
    traffic: Traffic
    warmup: bool = False
    first: int = 0
    duration_ns: int | None = None
    share: tuple[int, int] = (0, 1)
    start_ns: int | None = None
    ahead_ns: int = 0


def payload_pool(sizes: Sizes) -> PayloadPool:
    """Return payloads of these sizes; making them takes a while."""
    return PayloadPool(sizes.largest_bytes, heads=sizes.varying)


async def generate(
    schedule: Schedule,
    *,
    run: int,
    payloads: PayloadPool,
    publisher: Publisher,
    pacer: Pacer,
    published: Callable[[Message], Acked],
    put: Put | None = None,
    permits: Credits | None = None,
    keyed: Callable[[Message, tuple[Any, ...]], None] | None = None,
) -> int:
    """Publish the items of a schedule and wait until the broker has answered for all.

    Args:
        schedule: When they leave.
        run: Number drawn for the run.
        payloads: What they carry.
        publisher: Where they go.
        pacer: Waits for their instants.
        published: Called with each message just before it is sent; returns what takes its answer.
        put: Puts a payload into the store; None for method `default`.
        permits: Credits of a closed loop.
        keyed: Called with a message and its payload's key before it is sent.

    Returns:
        Time in the broker client, in ns: what publishing demands of the generator.

    Raises:
        BrokerError: If the broker is gone.
        ConnectorError: If the store is gone.
    """
    start_ns = schedule.start_ns or now_ns() + LEAD_NS
    ahead_ns = schedule.ahead_ns
    own, of = schedule.share
    arrivals, sizes = schedule.traffic.arrivals, schedule.traffic.sizes
    offsets_ns = None if arrivals is None else arrivals.offsets_ns
    end_ns = None if schedule.duration_ns is None else now_ns() + schedule.duration_ns
    publishing_ns = 0
    for number in range(own, schedule.count, of):
        if offsets_ns is None:
            if permits is not None:
                await permits.take()
            intended_ns = now_ns()
            if end_ns is not None and intended_ns >= end_ns:
                break
        else:
            intended_ns = start_ns + offsets_ns[number]
            await pacer.until(intended_ns)
        if number // of % YIELD_EVERY == 0:
            # A client that takes everything at once would never let the dispatcher run.
            await asyncio.sleep(0)
        sequence = schedule.first + number
        put_start_ns = now_ns()
        size_bytes = sizes[number]
        parts: Sequence[bytes] = payloads.parts(sequence, size_bytes)
        key: tuple[Any, ...] | None = None
        send_ns = put_start_ns
        if put is not None:
            key = await put(parts)
            parts = (json.dumps(key).encode(),)
            send_ns = now_ns()
        message = Message(
            run=run,
            sequence=sequence,
            warmup=schedule.warmup,
            kind=KIND_PAYLOAD if put is None else KIND_KEY,
            size_bytes=size_bytes,
            checksum=payloads.checksum(sequence, size_bytes),
            intended_ns=intended_ns - ahead_ns,
            put_start_ns=put_start_ns - ahead_ns,
            put_done_ns=send_ns - ahead_ns,
            send_ns=send_ns - ahead_ns,
        )
        if keyed is not None and key is not None:
            keyed(message, key)
        frame: Sequence[bytes] = (message.header(), *parts)
        if size_bytes < JOIN_BELOW_BYTES:
            frame = (b''.join(frame),)
        following = number + of
        more = put is None and following < schedule.count and following // of % YIELD_EVERY != 0
        if more and offsets_ns is None:
            more = permits is None or permits.free > 0
        elif more and offsets_ns is not None:
            more = start_ns + offsets_ns[following] <= now_ns()
        acked = published(message)
        begin_ns = now_ns()
        await publisher.send(frame, acked, more=more)
        publishing_ns += now_ns() - begin_ns
    await publisher.flush()
    return publishing_ns


def generate_on_worker(plain: dict[str, Any]) -> dict[str, Any]:
    """Run a generator as a task of an executor.

    Args:
        plain: Names and settings of broker and connector, topic, run, count and traffic, its share of
            the items, when the first is due, and how far known clocks are ahead of the dispatcher's.

    Returns:
        Counts, the keys that were put, the pacing floor, and the error, if any.
    """
    return asyncio.run(_generate_remotely(plain))


async def _generate_remotely(plain: dict[str, Any]) -> dict[str, Any]:
    broker = registry.load('broker', plain['broker'])(**plain['broker_settings'])
    traffic = traffic_of(plain['traffic'])
    payloads = await asyncio.to_thread(payload_pool, traffic.sizes)
    result: dict[str, Any] = {
        'sent': 0,
        'publish_failed': 0,
        'first_intended_ns': None,
        'keys': [],
        'failed_sequences': [],
        'error': '',
        'reconnects': 0,
    }
    ahead_ns: int | None = plain['ahead_ns'].get(await asyncio.to_thread(clock_domain))
    if ahead_ns is None:
        # Its instants would mean nothing to the dispatcher.
        host = os.uname().nodename
        result['error'] = f'no task ran on its host {host} before, so that its clock is unknown'
        return result
    schedule = Schedule(
        count=plain['count'],
        traffic=traffic,
        share=tuple(plain['share']),
        # Several have to begin at one instant.
        start_ns=plain['start_ns'] + ahead_ns if plain['share'][1] > 1 else None,
        ahead_ns=ahead_ns,
    )

    def published(message: Message) -> Acked:
        result['sent'] += 1
        if result['first_intended_ns'] is None:
            result['first_intended_ns'] = message.intended_ns

        def acked(receivers: int | None, error: StreamBenchError | None) -> None:
            if error is not None or receivers == 0:
                result['publish_failed'] += error is not None
                result['failed_sequences'].append(message.sequence)
                result['error'] = result['error'] or str(error or '')

        return acked

    store: str = plain['store']

    async def put(pieces: Sequence[bytes]) -> tuple[Any, ...]:
        key = await asyncio.to_thread(worker.put, b''.join(pieces), store)
        result['keys'].append(key)
        return key

    try:
        async with Pacer() as pacer, broker.open_publisher(plain['topic']) as publisher:
            result['floor_ns'] = pacer.floor_ns
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch_interrupt(plain['session']))
                result['publishing_ns'] = await generate(
                    schedule,
                    run=plain['run'],
                    payloads=payloads,
                    publisher=publisher,
                    pacer=pacer,
                    published=published,
                    put=put if store else None,
                )
                watch.cancel()
            result['reconnects'] = publisher.reconnects
    except* StreamBenchError as group:
        result['error'] = str(group.exceptions[0])
    except* worker.InterruptedTaskError:
        result['error'] = 'the session ended while the generator ran'
    return result


async def _watch_interrupt(session: str) -> None:
    """Raise when the session ends: a thread worker's generator can't be killed."""
    event: threading.Event | None = worker.interrupts.get(session)
    while event is not None:
        if event.is_set():
            raise worker.InterruptedTaskError('the session ended')
        await asyncio.sleep(INTERRUPT_POLL_S)

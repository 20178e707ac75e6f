"""The sending side of a run: the warm-up, then the generator on this loop or on a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from streambench.arrivals import Traffic
from streambench.brokers.base import Acked, Publisher
from streambench.clock import NS_PER_S, now_ns
from streambench.config import WORKER
from streambench.connectors.store import OpenStore
from streambench.dispatcher import Dispatcher
from streambench.errors import BrokerError, ExecutorError
from streambench.generator import Credits, Schedule, generate, generate_on_worker
from streambench.ledger import Ledger
from streambench.message import Message
from streambench.offsets import Offsets
from streambench.pacer import Pacer
from streambench.payload import PayloadPool
from streambench.records import MEASURE, WARMUP
from streambench.run_spec import RunSpec
from streambench.surroundings import Surroundings, plain
from streambench.threads import outcome_of
from streambench.warm_up import WarmUp

REMOTE_LEAD_S = 1.0

Keys = dict[tuple[str, int], tuple[Any, ...]]


class Production:
    """Everything that a run sends.

    Args:
        session: What is open.
        spec: What is asked.
        topic: The run's fresh topic.
        run: Number drawn for the run.
        ledgers: The account of each phase.
        offsets: Takes what is learnt of the clocks of other hosts.
        keys: Keys of payloads in the store, by phase and sequence.
        store: The store of method `proxy`, or None.
        publisher: The sending end of the topic.
        pacer: Waits for intended instants.
        payloads: What the items carry.
        traffic: When the items leave and how long they are.
    """

    def __init__(
        self,
        session: Surroundings,
        spec: RunSpec,
        *,
        topic: str,
        run: int,
        ledgers: dict[str, Ledger],
        offsets: Offsets,
        keys: Keys,
        store: OpenStore | None,
        publisher: Publisher,
        pacer: Pacer,
        payloads: PayloadPool,
        traffic: Traffic,
        woken: Callable[[int], None] | None = None,
    ) -> None:
        self.finished = False
        self.publishing_ns: int | None = None
        self.floor_ns = pacer.floor_ns
        self._remote_reconnects = 0
        outstanding = spec.max_outstanding
        self._credits = Credits(outstanding) if outstanding is not None else None
        self._session = session
        self._spec = spec
        self._config = spec.config
        self._topic = topic
        self._run = run
        self._ledgers = ledgers
        self._measured = ledgers[MEASURE]
        duration = spec.config.duration if spec.endless else None
        self._duration_ns = None if duration is None else round(duration * NS_PER_S)
        self._keys = keys
        self._offsets = offsets
        self._store = store
        self._publisher = publisher
        self._pacer = pacer
        self._payloads = payloads
        self._traffic = traffic
        self._woken = woken

    @property
    def reconnects(self) -> int:
        """Times that a publishing connection was made anew."""
        return self._publisher.reconnects + self._remote_reconnects

    @property
    def credits_free(self) -> int | None:
        """Credits that can be taken now, of a closed loop."""
        return None if self._credits is None else self._credits.free

    def item_ended(self, change: int) -> None:
        """Return the credit of a measured item; with -1 take it back, since it came all the same."""
        if self._credits is not None:
            self._credits.give(change)

    async def warm_up(self, dispatcher: Dispatcher) -> int:
        """Run real items until every worker has had one, and return how many workers ran one.

        Args:
            dispatcher: Takes the items on the other side.

        Raises:
            ExecutorError: If no worker answers, all their tasks fail, one can't open what it will
                need, or the executor gives up.
            BrokerError: If the broker refuses all items.
        """
        warm_up = WarmUp(
            self._session,
            self._config,
            topic=self._topic,
            ledger=self._ledgers[WARMUP],
            offsets=self._offsets,
            store=self._store,
            generate=self._generate_here,
        )
        return await warm_up.prove(dispatcher)

    async def generate(self) -> None:
        """Publish the items of the measurement.

        Raises:
            BrokerError: If the broker is gone.
            ConnectorError: If the store is gone.
            ExecutorError: If the generator on a worker fails.
        """
        await asyncio.to_thread(self._offsets.settle)
        if self._config.generator == WORKER:
            await self._generate_elsewhere()
        else:
            self.publishing_ns = await self._generate_here(
                Schedule(
                    count=self._measured.expected,
                    traffic=self._traffic,
                    duration_ns=self._duration_ns,
                )
            )
            self._measured.expected = self._measured.sent
        self.finished = True

    async def _generate_here(self, schedule: Schedule) -> int:
        ledger = self._ledgers[WARMUP if schedule.warmup else MEASURE]

        def published(message: Message) -> Acked:
            if self._woken is not None:
                self._woken(message.send_ns)
            item = ledger.published(message)

            def acked(receivers: int | None, error: BrokerError | None) -> None:
                ledger.acked(item, ack_ns=now_ns(), receivers=receivers, error=error)

            return acked

        def keyed(message: Message, key: tuple[Any, ...]) -> None:
            self._keys[ledger.phase, message.sequence] = key

        return await generate(
            schedule,
            run=self._run,
            payloads=self._payloads,
            publisher=self._publisher,
            pacer=self._pacer,
            published=published,
            put=self._store.put if self._store else None,
            permits=None if schedule.warmup else self._credits,
            keyed=keyed,
        )

    async def _generate_elsewhere(self) -> None:
        """Run the generators as long tasks on some of the executor's workers."""
        session, measured, of = self._session, self._measured, self._config.generators
        asked = measured.expected
        given: dict[str, Any] = plain(session, topic=self._topic, store=self._store) | {
            'run': self._run,
            'count': asked,
            'traffic': self._traffic.plain(),
            # Each has to be taken by a worker and to connect before the first item is due.
            'start_ns': now_ns() + round(REMOTE_LEAD_S * NS_PER_S),
            'ahead_ns': dict(self._offsets.ahead_ns),
        }
        submit = session.executor.executor.submit
        futures = [
            await asyncio.to_thread(submit, generate_on_worker, given | {'share': (own, of)})
            for own in range(of)
        ]
        try:
            results = await asyncio.gather(*map(outcome_of, futures))
        except Exception as error:
            raise ExecutorError(f'the generator on a worker failed: {error}') from error
        self._remote_reconnects = sum(result['reconnects'] for result in results)
        spent = [result['publishing_ns'] for result in results if 'publishing_ns' in result]
        # Generators work side by side: what an item demands of them is shared.
        self.publishing_ns = round(sum(spent) / of) if spent else None
        self.floor_ns = max(result.get('floor_ns', self.floor_ns) for result in results)
        sent: list[int] = []
        for own, result in enumerate(results):
            numbers = range(own, asked, of)[: result['sent']]
            sent += numbers
            if self._store is not None:
                for sequence, key in zip(numbers, result['keys'], strict=False):
                    # What was received has brought its key; the others are removed when they end.
                    if measured.never_received(sequence):
                        self._keys[MEASURE, sequence] = tuple(key)
        firsts = [result['first_intended_ns'] for result in results]
        known = [first for first in firsts if first is not None]
        if known:
            measured.settle_remote(
                sent=sent,
                failed=[number for result in results for number in result['failed_sequences']],
                first_intended_ns=min(known),
                traffic=self._traffic,
            )
        errors = [result['error'] for result in results if result['error']]
        if errors and len(sent) < asked:
            raise BrokerError(f'the generator on a worker ended early: {errors[0]}')

"""The sending side of a run: the warm-up, and the generator on this loop or on a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from streambench.arrivals import Sizes, Traffic
from streambench.brokers.base import Acked, BrokerPlugin, Publisher
from streambench.clock import NS_PER_S, now_ns
from streambench.config import WORKER
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.store import OpenStore
from streambench.dispatcher import Dispatcher
from streambench.errors import BrokerError, ExecutorError
from streambench.executors.base import OpenExecutor
from streambench.generator import Credits, Schedule, generate, generate_on_worker
from streambench.ledger import Ledger
from streambench.message import Message
from streambench.offsets import Offsets
from streambench.options import options_of
from streambench.pacer import Pacer
from streambench.payload import PayloadPool
from streambench.probes import Probes
from streambench.recorder import Recorder
from streambench.records import MEASURE, WARMUP
from streambench.run_spec import RunSpec
from streambench.threads import outcome_of

WARMUP_ROUNDS = 6
WARMUP_HOLD_S = 0.1
WARMUP_HOLD_PER_WORKER_S = 0.002
WARMUP_DEADLINE_S = 180.0
CHECK_S = 0.25
REMOTE_LEAD_S = 1.0
REACH_HOLD_S = 0.2
# A host's clock is bounded by its quickest tasks, which the first ones, with their imports, are not.
CLOCK_TASKS = 4

Keys = dict[tuple[str, int], tuple[Any, ...]]


class Surroundings(Protocol):
    """What a run needs of its session."""

    name: str
    broker: BrokerPlugin
    connector: ConnectorPlugin | None
    store: OpenStore | None
    executor: OpenExecutor
    recorder: Recorder
    redis_shared: bool
    epoch_offset_ns: int


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

    def item_ended(self) -> None:
        """Return the credit of a measured item."""
        if self._credits is not None:
            self._credits.give()

    async def warm_up(self, dispatcher: Dispatcher) -> int:
        """Run real items of this method and size until every worker has had one.

        Args:
            dispatcher: Takes the items on the other side.

        Returns:
            How many different workers ran one.

        Raises:
            ExecutorError: If no worker answers, all their tasks fail, or the executor gives up.
            BrokerError: If the broker refuses all items.
        """
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch_executor())
            proven = await self._prove_workers(dispatcher)
            watch.cancel()
        return proven

    async def _watch_executor(self) -> None:
        """Raise as soon as the executor can't go on, a job of it lost or its scheduler gone."""
        while True:
            self._session.executor.check()
            self._session.recorder.check()
            await asyncio.sleep(CHECK_S)

    async def _prove_workers(self, dispatcher: Dispatcher) -> int:
        ledger = self._ledgers[WARMUP]
        asked = self._config.slots
        if self._config.executor_plugin.elsewhere:
            await self._try_to_reach(asked)
        hold_s = WARMUP_HOLD_S + WARMUP_HOLD_PER_WORKER_S * asked
        if not self._config.executor_plugin.runs_code:
            # Its workers take turns, so none needs to be held.
            hold_s = 0.0
        # Of the nominal size, all of them, and as fast as they can.
        traffic = Traffic(arrivals=None, sizes=Sizes(size_bytes=self._config.data_size_bytes))
        async with asyncio.timeout(WARMUP_DEADLINE_S) as deadline:
            try:
                for _ in range(WARMUP_ROUNDS):
                    dispatcher.configure(WARMUP, sleep_s=hold_s, full=True)
                    ledger.expected = ledger.sent + asked
                    await self._generate_here(
                        Schedule(count=asked, traffic=traffic, warmup=True, first=ledger.sent),
                    )
                    # Nothing is measured here, and the watch below ends a warm-up that hangs.
                    while not ledger.done:  # noqa: ASYNC110
                        await asyncio.sleep(0.005)
                    if ledger.failed and not ledger.completed:
                        # It may know why.
                        self._session.executor.check()
                        raise ExecutorError(f'every warm-up task failed: {ledger.task_error}')
                    if ledger.publish_failed and not ledger.completed:
                        raise BrokerError(f'no item could be published: {ledger.publish_error}')
                    if len(ledger.workers) >= asked:
                        break
                    hold_s *= 2
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise ExecutorError(
                    f'no result of {self._config.executor} within {WARMUP_DEADLINE_S:g} s of '
                    f'warm-up: look into {str(self._session.recorder.directory)!r}'
                ) from None
        return len(ledger.workers)

    async def _try_to_reach(self, workers: int) -> None:
        """Let every worker open what it needs of broker and store.

        Raises:
            ExecutorError: If one can't; says which can't reach what.
        """
        session = self._session
        needed = {}
        if self._store is not None and session.connector is not None:
            needed['store'] = session.connector.address()
        if self._config.generator == WORKER:
            needed['broker'] = session.broker.address()
        places = tuple((name, *found) for name, found in needed.items() if found is not None)
        freely = self._config.executor_plugin.asks_freely
        if not places and not freely:
            return
        probes = Probes(session.executor)
        try:
            async with asyncio.timeout(WARMUP_DEADLINE_S):
                found = await probes.ask((REACH_HOLD_S, places), workers)
                if freely and any(domain != self._offsets.own for _, _, domain, _, _ in found):
                    await probes.ask((0.0, ()), CLOCK_TASKS * workers)
        except TimeoutError:
            raise ExecutorError(
                f'no worker of {self._config.executor} answered within {WARMUP_DEADLINE_S:g} s: look '
                f'into {str(session.recorder.directory)!r}'
            ) from None
        except Exception as error:
            raise ExecutorError(f'the first tasks failed: {error}') from error
        self._offsets.learn(probes.readings)
        failures = sorted(
            {f'{node} can not reach the {lost}' for node, gone, *_ in found for lost in gone}
        )
        if failures:
            raise ExecutorError(
                f'{"; ".join(failures)}: give addresses that the workers can reach (--bind-interface, '
                '--stream-servers, --ps-host)'
            )

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
        plain: dict[str, Any] = {
            'session': session.name,
            'broker': session.broker.name,
            'broker_settings': {
                name: getattr(session.broker, name) for name in options_of(type(session.broker))
            },
            'topic': self._topic,
            'run': self._run,
            'count': asked,
            'traffic': self._traffic.plain(),
            'store': self._store.description if self._store else '',
            # Each has to be taken by a worker and to connect before the first item is due.
            'start_ns': now_ns() + round(REMOTE_LEAD_S * NS_PER_S),
            'ahead_ns': dict(self._offsets.ahead_ns),
        }
        submit = session.executor.executor.submit
        futures = [
            await asyncio.to_thread(submit, generate_on_worker, plain | {'share': (own, of)})
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

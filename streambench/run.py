"""One run: subscriber first, warm-up, generator against dispatcher, and the account at the end.

A run ends when every item has ended, when nothing has moved for the stall timeout, when its broker or
store is gone, or when it is cancelled; its row is written in each case.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from streambench.abort import AbortWatch
from streambench.arrivals import Traffic
from streambench.bridge import Bridge
from streambench.brokers.base import Subscriber
from streambench.clock import NS_PER_S, clock_domain
from streambench.config import MOST_ITEMS, PROXY, RECORD_ALL, WORKER
from streambench.dispatcher import Dispatcher
from streambench.errors import (
    BrokerError,
    ExecutorError,
    ResultsError,
    StreamBenchError,
    first_error,
)
from streambench.generator import payload_pool
from streambench.ledger import Ledger
from streambench.live import live_columns
from streambench.log import logger
from streambench.loop_findings import Joined, lag_rows, seconds, stall_rows
from streambench.offsets import Offsets
from streambench.pacer import Pacer
from streambench.patience import until_ended
from streambench.production import Keys, Production
from streambench.records import MEASURE, WARMUP, ItemRow, RunRow, SeriesRow
from streambench.run_row import run_row
from streambench.run_spec import RunSpec
from streambench.series import state
from streambench.strain import Strain
from streambench.surroundings import Surroundings
from streambench.verdict import ABORTED, COMPLETE, ENDED_BY_FAILURE, INTERRUPTED, STALLED, ended_by

if TYPE_CHECKING:
    from streambench.worker import Outcome

SERIES_S = 1.0

Report = Callable[[RunSpec, str, int, int], None]


class Run:
    """One run of a session.

    Args:
        session: What is open.
        spec: What is asked.
        report: Called with the state once in a while.
    """

    def __init__(self, session: Surroundings, spec: RunSpec, *, report: Report) -> None:
        config = spec.config
        self.error: Exception | None = None
        self._session = session
        self._spec = spec
        self._config = config
        self._report = report
        self._log = logger().bind(run=spec.run, method=config.stream_method)
        self._topic = f'{config.stream_topic}-{session.name}-{spec.run}'
        self._number = secrets.randbits(63)
        remote = config.generator == WORKER
        self._store = session.store if config.stream_method == PROXY else None
        self._keys: Keys = {}
        self._offsets = Offsets()
        guarded = self._store is not None and not config.executor_plugin.in_process
        self._ledgers = {
            phase: Ledger(
                run=spec.run,
                phase=phase,
                expected=0,
                finished=self._finished,
                ended=self._item_ended if phase == MEASURE else lambda change: None,
                remote=remote and phase == MEASURE,
                dispatcher=os.getpid() if guarded else None,
                warmup_ns=round(config.warmup * NS_PER_S),
            )
            for phase in (WARMUP, MEASURE)
        }
        self._measured = self._ledgers[MEASURE]
        self._ended = ''
        self._dispatcher: Dispatcher | None = None
        self._production: Production | None = None
        self._subscriber: Subscriber | None = None
        self._proven = 0
        self._traffic: Traffic | None = None
        self._strain = Strain(level=config.loop_profile, exact=config.loop_exact, generates=not remote)
        # Runs don't overlap, so none of this run's rows is in a part that was sealed before it.
        self._earlier_parts = len(session.recorder.item_parts)

    async def measure(self) -> None:
        """Make the run; what ends it early is kept in `error` for the row.

        Raises:
            ExecutorError: If no worker answers in the warm-up, or the executor has given up.
            ResultsError: If results can't be written.
        """
        try:
            await self._measure()
        except asyncio.CancelledError:
            self._ended = INTERRUPTED
            raise
        except (StreamBenchError, ExceptionGroup) as error:
            first = first_error(error)
            if first is None:
                raise
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                # A task group that holds an error too lets its cancellation go (Python 3.11, 3.12).
                self._ended = INTERRUPTED
                raise asyncio.CancelledError from None
            self.error = first
            self._ended = ended_by(first)
            self._log.info('run.ended_early', reason=str(first))
            if isinstance(first, ExecutorError | ResultsError):
                # Later runs would meet the same.
                raise first from None
        else:
            self._ended = COMPLETE

    async def _measure(self) -> None:
        config, session = self._config, self._session
        async with AsyncExitStack() as stack:
            await self._strain.look()
            self._offsets.own = await asyncio.to_thread(clock_domain)
            traffic = self._traffic = await asyncio.to_thread(self._spec.traffic)
            self._measured.expected = MOST_ITEMS
            if not self._spec.endless:
                arrivals = traffic.arrivals
                self._measured.expected = arrivals.count if arrivals else config.task_count
            session.recorder.complete_with(self._strain.loop_time.charge)
            woken = self._strain.loop_time.sample if config.record == RECORD_ALL else None
            payloads = await asyncio.to_thread(payload_pool, traffic.sizes)
            self._subscriber = await stack.enter_async_context(
                session.broker.open_subscriber(self._topic)
            )
            publisher = await stack.enter_async_context(session.broker.open_publisher(self._topic))
            bridge = await stack.enter_async_context(
                Bridge(session.executor.executor, self._completed, woken=woken)
            )
            pacer = await stack.enter_async_context(Pacer())
            self._dispatcher = Dispatcher(
                run=self._number,
                ledgers=self._ledgers,
                bridge=bridge,
                max_in_flight=max(self._spec.max_in_flight, config.slots),
                batch=1,
                queue_size=config.queue_size,
                queue_bytes=config.queue_bytes,
                session=session.name,
                store=self._store.description if self._store else '',
                keyed=self._keyed,
                woken=woken,
            )
            self._production = Production(
                session,
                self._spec,
                topic=self._topic,
                run=self._number,
                ledgers=self._ledgers,
                offsets=self._offsets,
                keys=self._keys,
                store=self._store,
                publisher=publisher,
                pacer=pacer,
                payloads=payloads,
                traffic=traffic,
                woken=woken,
            )
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._dispatcher.read(self._subscriber))
                watch = tasks.create_task(self._record_series())
                self._report(self._spec, 'warm-up', 0, 0)
                self._proven = await self._production.warm_up(self._dispatcher)
                self._dispatcher.max_in_flight = self._spec.max_in_flight
                self._dispatcher.batch = self._spec.batch
                self._dispatcher.configure(MEASURE, sleep_s=config.task_sleep, full=config.verify_full)
                self._log.info('run.started', topic=self._topic, workers_proven=self._proven)
                async with self._strain.watching(bridge, session.broker.server_cpu_s):
                    generator = tasks.create_task(self._production.generate())
                    abort = tasks.create_task(self._abort_watch().watch())
                    await self._until_ended()
                for task in (generator, reader, watch, abort):
                    task.cancel()

    def _abort_watch(self) -> AbortWatch:
        config, recorder = self._config, self._session.recorder
        return AbortWatch(
            config.thresholds,
            run=self._spec.run,
            live=lambda: self._live(''),
            parts=(lambda: recorder.item_parts) if config.record == RECORD_ALL else None,
            since_ns=lambda: self._measured.window_from_ns,
        )

    def _keyed(self, item: ItemRow, key: tuple[object, ...]) -> None:
        # A generator here knows its own keys better than a message that may have been damaged.
        self._keys.setdefault((item.phase, item.sequence), key)

    def _finished(self, item: ItemRow) -> None:
        """Take an item's final row: record it and let its payload go."""
        key = self._keys.pop((item.phase, item.sequence), None)
        if key is not None and self._store is not None:
            self._store.evict(key)
        if self._config.record == RECORD_ALL:
            self._session.recorder.item(item)

    def _item_ended(self, change: int) -> None:
        if self._production is not None:
            self._production.item_ended(change)

    def _completed(self, item: ItemRow, outcome: Outcome | None, *ended: Any) -> None:
        assert self._dispatcher is not None
        if outcome is not None:
            outcome = self._offsets.shifted(outcome, item.submit_ns, ended[-1])
        self._dispatcher.completed(item, outcome, *ended)

    def _check(self) -> None:
        self._session.executor.check()
        self._session.recorder.check()

    async def _until_ended(self) -> None:
        """Return when the run is over.

        Raises:
            StallError: If nothing has moved for the stall timeout.
            ExecutorError: If the executor has given up.
            ResultsError: If results can't be written.
        """
        assert self._dispatcher is not None and self._production is not None
        config, arrivals = self._config, self._traffic.arrivals if self._traffic else None
        gap_s = arrivals.longest_gap_ns / NS_PER_S if arrivals else 0.0
        endless = f'those of {config.duration:g} s' if self._spec.endless else ''
        await until_ended(
            self._production,
            self._measured,
            self._dispatcher,
            check=self._check,
            allowed_s=config.stall_timeout + gap_s,
            task_sleep=config.task_sleep,
            asked=endless or f'{self._measured.expected} items',
        )

    def _state(self) -> SeriesRow:
        """Return where the run stands."""
        assert self._dispatcher is not None
        return state(
            run=self._spec.run,
            ledger=self._measured,
            dispatcher=self._dispatcher,
            free=self._production.credits_free if self._production else None,
        )

    async def _record_series(self) -> None:
        """Record the state once per second and hand rows to the recorder."""
        ledger = self._measured
        while True:
            self._session.recorder.series(self._state())
            self._session.recorder.hand_over()
            doing = 'measuring' if ledger.sent else 'warm-up'
            self._report(self._spec, doing, ledger.sent, ledger.completed)
            await asyncio.sleep(SERIES_S)

    async def finish(self) -> RunRow:
        """Close the account, free the store, and record the run.

        Raises:
            ResultsError: If results can't be written; the row is, if there is room for it.
        """
        session, run = self._session, self._spec.run
        self._give_up()
        if self._store is not None:
            await self._tried(self._store.settle())
        if self._dispatcher is not None:
            session.recorder.series(self._state())
        await self._tried(session.recorder.seal())
        row, joined = await self._row()
        if (found := self._strain.report) is not None and not isinstance(self.error, ResultsError):
            rows = seconds(found, run), lag_rows(found, run), stall_rows(found, run, joined)
            await self._tried(session.recorder.loop(*rows))
            if isinstance(self.error, ResultsError):
                row, _ = await self._row()
        await session.recorder.run(row)
        self._log.info('run.finished', ended=row.ended, verdict=row.verdict, makespan_s=row.makespan_s)
        if isinstance(self.error, ResultsError):
            raise self.error
        return row

    async def _tried(self, step: Awaitable[None]) -> None:
        try:
            await step
        except StreamBenchError as error:
            self.error = self.error or error
            self._ended = ENDED_BY_FAILURE

    def _give_up(self) -> None:
        """End the items that are still under way."""
        ended = self._ended or INTERRUPTED
        # Of what we no longer wait for, nobody knows whether it would have come.
        lost = ended in (COMPLETE, STALLED) or isinstance(self.error, BrokerError)
        failed = ended not in (ABORTED, INTERRUPTED) and not isinstance(self.error, ResultsError)
        for account in self._ledgers.values():
            account.give_up(str(self.error or f'the run was {ended}'), lost=lost, failed=failed)

    async def _row(self) -> tuple[RunRow, Joined | None]:
        config, ledger = self._config, self._measured
        asked = self._spec.columns()
        if config.duration is not None:
            asked['task_count'] = ledger.sent if self._spec.endless else ledger.expected
        # Rows that are not all there would make other figures.
        kept = config.record == RECORD_ALL and not isinstance(self.error, ResultsError)
        parts = self._session.recorder.item_parts[self._earlier_parts :] if kept else None
        return await asyncio.to_thread(
            run_row,
            asked=asked,
            # A run that came to its end may have failed items: the first says why.
            live=self._live(str(self.error or ledger.task_error or ledger.publish_error)),
            parts=parts,
            books=ledger.books,
            bounds=config.bounds,
            report=self._strain.report,
            thresholds=config.thresholds,
        )

    def _live(self, reason: str) -> dict[str, Any]:
        """Return the columns of the row that were counted while the run was under way."""
        return live_columns(
            self._session,
            ledgers=self._ledgers,
            dispatcher=self._dispatcher,
            production=self._production,
            subscriber=self._subscriber,
            strain=self._strain,
            proven=self._proven,
            nodes=min(self._config.executor_plugin.nodes, self._config.slots, self._proven),
            clock_bound_s=self._offsets.bound_s,
        ) | {'ended': self._ended or INTERRUPTED, 'reason': reason}

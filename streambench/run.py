"""One run: subscriber first, warm-up, generator against dispatcher, and the account at the end.

A run ends when every item has ended, when nothing has moved for the stall timeout, when its broker or
store is gone, or when it is cancelled; its row is written in each case.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from streambench.arrivals import Traffic
from streambench.bridge import Bridge
from streambench.brokers.base import Subscriber
from streambench.clock import NS_PER_S, now_ns
from streambench.config import PROXY, WORKER
from streambench.dispatcher import Dispatcher
from streambench.errors import ExecutorError, StallError, StreamBenchError
from streambench.generator import payload_pool
from streambench.ledger import Ledger
from streambench.log import logger
from streambench.pacer import Pacer
from streambench.production import Keys, Production, Surroundings
from streambench.records import MEASURE, WARMUP, ItemRow, RunRow, SeriesRow, column_names
from streambench.run_spec import RunSpec
from streambench.summary import figures
from streambench.verdict import COMPLETE, ENDED_BY_FAILURE, INTERRUPTED, STALLED, judge

WATCH_S = 0.1
SERIES_S = 1.0

Report = Callable[[RunSpec, str, int, int], None]


def _nothing() -> None:
    return


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
        guarded = self._store is not None and not config.executor_plugin.in_process
        self._ledgers = {
            phase: Ledger(
                run=spec.run,
                phase=phase,
                expected=config.task_count if phase == MEASURE else 0,
                finished=self._finished,
                ended=self._item_ended if phase == MEASURE else _nothing,
                remote=remote and phase == MEASURE,
                dispatcher=os.getpid() if guarded else None,
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

    async def measure(self) -> None:
        """Make the run; what ends it early is kept in `error` for the row.

        Raises:
            ExecutorError: If no worker answers in the warm-up.
        """
        try:
            await self._measure()
        except asyncio.CancelledError:
            self._ended = INTERRUPTED
            raise
        except (StreamBenchError, ExceptionGroup) as error:
            first = _first(error)
            if first is None:
                raise
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                # A task group that holds an error too lets its cancellation go (Python 3.11, 3.12).
                self._ended = INTERRUPTED
                raise asyncio.CancelledError from None
            self.error = first
            self._ended = STALLED if isinstance(first, StallError) else ENDED_BY_FAILURE
            self._log.info('run.ended_early', reason=str(first))
            if isinstance(first, ExecutorError):
                raise first from None
        else:
            self._ended = COMPLETE

    async def _measure(self) -> None:
        config, session = self._config, self._session
        async with AsyncExitStack() as stack:
            traffic = self._traffic = await asyncio.to_thread(self._spec.traffic)
            payloads = await asyncio.to_thread(payload_pool, traffic.sizes)
            self._subscriber = await stack.enter_async_context(
                session.broker.open_subscriber(self._topic)
            )
            publisher = await stack.enter_async_context(session.broker.open_publisher(self._topic))
            bridge = await stack.enter_async_context(Bridge(session.executor.executor, self._completed))
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
            )
            self._production = Production(
                session,
                self._spec,
                topic=self._topic,
                run=self._number,
                ledgers=self._ledgers,
                keys=self._keys,
                store=self._store,
                publisher=publisher,
                pacer=pacer,
                payloads=payloads,
                traffic=traffic,
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
                generator = tasks.create_task(self._production.generate())
                await self._until_ended()
                generator.cancel()
                reader.cancel()
                watch.cancel()

    def _keyed(self, item: ItemRow, key: tuple[object, ...]) -> None:
        self._keys[item.phase, item.sequence] = key

    def _finished(self, item: ItemRow) -> None:
        """Take an item's final row: record it and let its payload go."""
        key = self._keys.pop((item.phase, item.sequence), None)
        if key is not None and self._store is not None:
            self._store.evict(key)
        self._session.recorder.item(item)

    def _item_ended(self) -> None:
        if self._production is not None:
            self._production.item_ended()

    def _completed(self, *ended: Any) -> None:
        assert self._dispatcher is not None
        self._dispatcher.completed(*ended)

    async def _until_ended(self) -> None:
        """Return when the run is over.

        Raises:
            StallError: If nothing has moved for the stall timeout.
            ExecutorError: If the executor has given up.
        """
        assert self._dispatcher is not None
        assert self._production is not None
        config, ledger, dispatcher = self._config, self._measured, self._dispatcher
        arrivals = self._traffic.arrivals if self._traffic else None
        gap_s = arrivals.longest_gap_ns / NS_PER_S if arrivals else 0.0
        allowed_s = config.stall_timeout + gap_s
        seen: tuple[int, ...] = ()
        moved_ns = now_ns()
        # The last item must not wait for a poll: its instants are stamped elsewhere, but a run of
        # milliseconds should not take a poll's time, so the poll starts fine.
        pause_s = 0.001
        while not (self._production.finished and ledger.done):
            self._session.executor.check()
            state = (ledger.sent, ledger.received, dispatcher.submitted, ledger.ended)
            if state != seen:
                seen, moved_ns = state, now_ns()
            quiet_s = (now_ns() - moved_ns) / NS_PER_S
            limit_s = allowed_s + (config.task_sleep if dispatcher.in_flight else 0.0)
            if quiet_s > limit_s:
                raise StallError(
                    f'nothing moved for {quiet_s:.1f} s: {ledger.sent} of {config.task_count} items '
                    f'sent, {ledger.received} received, {dispatcher.submitted} submitted, '
                    f'{ledger.completed} completed; see --stall-timeout.',
                    sent=ledger.sent,
                    received=ledger.received,
                    submitted=dispatcher.submitted,
                    completed=ledger.completed,
                )
            await asyncio.sleep(pause_s)
            pause_s = min(WATCH_S, 2 * pause_s)

    async def _record_series(self) -> None:
        """Record the state once per second and hand rows to the recorder."""
        assert self._dispatcher is not None
        dispatcher, ledger = self._dispatcher, self._measured
        while True:
            self._session.recorder.series(
                SeriesRow(
                    run=self._spec.run,
                    at_ns=now_ns(),
                    sent=ledger.sent,
                    received=ledger.received,
                    submitted=dispatcher.submitted,
                    completed=ledger.completed,
                    queue_depth=dispatcher.queue_depth,
                    queue_bytes=dispatcher.held_bytes,
                    in_flight=dispatcher.in_flight,
                    backpressure_s=dispatcher.backpressure_s,
                )
            )
            self._session.recorder.hand_over()
            if ledger.sent:
                self._report(self._spec, 'measuring', ledger.sent, ledger.completed)
            await asyncio.sleep(SERIES_S)

    async def finish(self) -> RunRow:
        """Close the account, free the store, and record the run.

        Raises:
            RunError: If results can't be written.
        """
        config, session, ledger = self._config, self._session, self._measured
        reason = str(self.error) if self.error else ''
        for account in self._ledgers.values():
            account.give_up(reason or f'the run was {self._ended or INTERRUPTED}')
        if self._store is not None:
            try:
                await self._store.settle()
            except StreamBenchError as error:
                self.error = self.error or error
                self._ended = ENDED_BY_FAILURE
        # A run that came to its end may have failed tasks: the first says why.
        reason = str(self.error) if self.error else ledger.task_error
        await session.recorder.seal()
        if self._traffic is None:
            self._traffic = await asyncio.to_thread(self._spec.traffic)
        row = self._row(reason)
        row |= await asyncio.to_thread(
            figures,
            session.recorder.item_parts,
            run=self._spec.run,
            count=config.task_count,
            arrivals=self._traffic.arrivals,
            task_sleep=config.task_sleep,
            compute_workers=config.compute_workers,
            makespan_s=self._makespan_s(),
            completed=ledger.completed,
            completed_bytes=ledger.completed_bytes,
        )
        blank = RunRow()
        known = {name: getattr(blank, name) for name in column_names(RunRow)} | row
        grade, reasons = judge(known, asked_workers=config.slots, limited=self._spec.limited)
        result = RunRow(**(row | {'verdict': grade, 'reasons': '; '.join(reasons)}))
        await session.recorder.run(result)
        self._log.info('run.finished', ended=result.ended, verdict=grade, makespan_s=result.makespan_s)
        return result

    def _makespan_s(self) -> float | None:
        first, last = self._measured.first_intended_ns, self._measured.last_complete_ns
        return None if first is None or last is None else (last - first) / NS_PER_S

    def _epoch_s(self, instant_ns: int | None) -> float:
        if instant_ns is None:
            return 0.0
        return (instant_ns + self._session.epoch_offset_ns) / NS_PER_S

    def _row(self, reason: str) -> dict[str, Any]:
        """Return the columns of the row that don't need the items."""
        session, production, dispatcher = self._session, self._production, self._dispatcher
        floor_ns = production.floor_ns if production else 0
        return (
            self._measured.counts()
            | self._spec.columns()
            | {
                'start_submit_tasks_timestamp': self._epoch_s(self._measured.first_intended_ns),
                'end_tasks_done_timestamp': self._epoch_s(self._measured.last_complete_ns),
                'workers_proven': self._proven or None,
                'worker_hosts': self._ledgers[WARMUP].worker_hosts(),
                'loop': _loop_name(),
                'pacing_floor_s': floor_ns / NS_PER_S if floor_ns else None,
                'redis_shared': session.redis_shared,
                'ended': self._ended or INTERRUPTED,
                'reason': reason,
                'foreign': dispatcher.foreign if dispatcher else 0,
                'reconnects': (self._subscriber.reconnects if self._subscriber else 0)
                + (production.reconnects if production else 0),
                'backpressure_s': dispatcher.backpressure_s if dispatcher else 0.0,
            }
        )


def _loop_name() -> str:
    """Return which loop runs, also where it is somebody's subclass."""
    names = {kind.__module__.partition('.')[0] for kind in type(asyncio.get_running_loop()).__mro__}
    return 'uvloop' if 'uvloop' in names else 'asyncio'


def _first(error: Exception) -> StreamBenchError | None:
    """Return the first of our errors in a group, or None if it holds another kind."""
    if isinstance(error, ExceptionGroup):
        found = [_first(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, StreamBenchError) else None

"""The warm-up: it ends when every worker has run a real item and opened what it will need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from streambench.arrivals import Sizes, Traffic
from streambench.config import WORKER, Config
from streambench.connectors.store import OpenStore
from streambench.dispatcher import Dispatcher
from streambench.errors import BrokerError, ExecutorError
from streambench.generator import Schedule
from streambench.ledger import Ledger
from streambench.offsets import Offsets
from streambench.probes import read_clocks, refuse_other_version
from streambench.reach import UNREACHABLE
from streambench.records import WARMUP
from streambench.surroundings import Surroundings, plain

ROUNDS = 6
HOLD_S = 0.1
HOLD_PER_WORKER_S = 0.002
DEADLINE_S = 180.0
CHECK_S = 0.25
# A host's clock is bounded by its quickest tasks, which the first ones, with their imports, are not.
CLOCK_TASKS = 4


class WarmUp:
    """Items before those that are measured.

    Args:
        session: What is open.
        config: What is asked.
        topic: The run's.
        ledger: The account of this phase.
        offsets: Takes what is learnt of the clocks of other hosts.
        store: The store of method `proxy`, or None.
        generate: Publishes items from here.
    """

    def __init__(
        self,
        session: Surroundings,
        config: Config,
        *,
        topic: str,
        ledger: Ledger,
        offsets: Offsets,
        store: OpenStore | None,
        generate: Callable[[Schedule], Awaitable[int]],
    ) -> None:
        self._session = session
        self._config = config
        self._topic = topic
        self._ledger = ledger
        self._offsets = offsets
        self._store = store
        self._generate = generate

    async def prove(self, dispatcher: Dispatcher) -> int:
        """Run real items of this method and size until every worker has had one.

        Args:
            dispatcher: Takes the items on the other side.

        Returns:
            How many different workers ran one.

        Raises:
            ExecutorError: If no worker answers, all their tasks fail, one can't open what it will
                need, or the executor gives up.
            BrokerError: If the broker refuses all items.
        """
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch_executor())
            try:
                async with asyncio.timeout(DEADLINE_S) as deadline:
                    plugin = self._config.executor_plugin
                    if plugin.elsewhere and plugin.asks_freely:
                        await refuse_other_version(self._session.executor, title=plugin.name)
                    await self._prove_workers(dispatcher)
                    await self._read_clocks()
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise ExecutorError(
                    f'no result of {self._config.executor} within {DEADLINE_S:g} s of warm-up: look '
                    f'into {str(self._session.recorder.directory)!r}'
                ) from None
            watch.cancel()
        return len(self._ledger.workers)

    async def _watch_executor(self) -> None:
        """Raise as soon as the executor can't go on, a job of it lost or its scheduler gone."""
        while True:
            self._session.executor.check()
            self._session.recorder.check()
            await asyncio.sleep(CHECK_S)

    async def _prove_workers(self, dispatcher: Dispatcher) -> None:
        ledger, asked = self._ledger, self._config.slots
        hold_s = HOLD_S + HOLD_PER_WORKER_S * asked
        if not self._config.executor_plugin.runs_code:
            # Its workers take turns, so none needs to be held.
            hold_s = 0.0
        # Of the nominal size, all of them, and as fast as they can.
        traffic = Traffic(arrivals=None, sizes=Sizes(size_bytes=self._config.data_size_bytes))
        for _ in range(ROUNDS):
            dispatcher.configure(WARMUP, sleep_s=hold_s, full=True, needs=self._needs())
            ledger.expected = ledger.sent + asked
            await self._generate(
                Schedule(count=asked, traffic=traffic, warmup=True, first=ledger.sent),
            )
            # Nothing is measured here, and the deadline ends a warm-up that hangs.
            while not ledger.done:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            self._refuse_failures()
            if len(ledger.workers) >= asked:
                break
            hold_s *= 2

    def _needs(self) -> dict[str, Any] | None:
        """Return what every worker is to open, None if that is nothing.

        Any of them may get the generator, so that each opens what it needs.
        """
        session = self._session
        generates = self._config.generator == WORKER
        if self._store is None and not generates:
            return None
        needs: dict[str, Any] = {
            'generates': generates,
            'store': self._store.description if self._store else '',
            'store_title': session.connector.title if session.connector else '',
        }
        if generates:
            # Its password goes nowhere else.
            needs |= plain(session, topic=self._topic, store=self._store)
            needs['broker_title'] = session.broker.title
        return needs

    def _refuse_failures(self) -> None:
        """Raise if a worker can't open what it will need, or no item has gone well."""
        ledger = self._ledger
        hosts: dict[str, list[str]] = {}
        for host, error in ledger.task_errors.items():
            if error.startswith(UNREACHABLE):
                hosts.setdefault(error.removeprefix(UNREACHABLE), []).append(host)
        if hosts:
            found = [
                f'{"the worker" if len(names) == 1 else "workers"} on {", ".join(sorted(names))} can '
                f'not reach {error}'
                for error, names in sorted(hosts.items())
            ]
            plugins = (self._session.broker, self._session.connector)
            remedies = [
                plugin.remedy for plugin in plugins if plugin and plugin.title in ' '.join(hosts)
            ]
            raise ExecutorError(f'{"; ".join(found)}: {", and ".join(remedies)}.')
        if ledger.failed and not ledger.completed:
            # It may know why.
            self._session.executor.check()
            raise ExecutorError(f'every warm-up task failed: {ledger.task_error}')
        if ledger.publish_failed and not ledger.completed:
            raise BrokerError(f'no item could be published: {ledger.publish_error}')

    async def _read_clocks(self) -> None:
        """Bound the clocks of other hosts by quick tasks, where tasks are free."""
        if not self._offsets.others or not self._config.executor_plugin.asks_freely:
            return
        try:
            readings = await read_clocks(self._session.executor, CLOCK_TASKS * self._config.slots)
        except Exception as error:
            raise ExecutorError(f'the tasks that read the clocks failed: {error}') from error
        self._offsets.learn(readings)

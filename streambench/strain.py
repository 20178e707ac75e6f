"""What a run strains: the event loop, the executor's `submit`, and the machine it shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from streambench.bridge import Bridge
from streambench.clock import NS_PER_S, now_ns
from streambench.log import logger
from streambench.loop_findings import columns
from streambench.loop_monitor import LoopMonitor, LoopMonitorError, LoopReport
from streambench.loop_wait import LoopTime, idle_clock
from streambench.machine import look, read_cores, stolen_share

# Beginning and ending a run keep the loop busy for a few milliseconds, which are no item's.
SHORTEST_NS = 50_000_000


class Strain:
    """Watches one run; made on its loop.

    Args:
        level: How closely the loop is watched.
        exact: Whether an asyncio loop's selector may be replaced for it.
        generates: Whether the generator is on the loop too.

    Attributes:
        loop_time: Where the loop's time goes.
        report: What the loop monitor found; None before the end, and if the loop has one already.
    """

    def __init__(self, *, level: str, exact: bool, generates: bool) -> None:
        self.loop_time = LoopTime(idle_clock(), generates=generates)
        self.report: LoopReport | None = None
        self._level = level
        self._exact = exact
        self._machine_busy: float | None = None
        self._machine_stolen: float | None = None
        self._broker_cpu: float | None = None
        self._loop_busy_ns: int | None = None
        self._submitting_ns: int | None = None

    async def look(self) -> None:
        """See how busy the machine is before the run begins."""
        self._machine_busy = await look()

    @asynccontextmanager
    async def watching(
        self, bridge: Bridge, served_s: Callable[[], Awaitable[float | None]]
    ) -> AsyncIterator[None]:
        """Count what the measurement inside takes.

        Args:
            bridge: Submits its tasks.
            served_s: Returns the CPU time that the broker's server has taken so far.
        """
        before_s, since_ns = await served_s(), now_ns()
        async with AsyncExitStack() as stack:
            monitor: LoopMonitor | None = LoopMonitor(self._level, exact=self._exact)
            assert monitor is not None
            try:
                await stack.enter_async_context(monitor)
            except LoopMonitorError as refusal:
                # A program that embeds us may watch its loop itself.
                monitor = None
                logger().info('loop.not_watched', reason=str(refusal))
            if monitor is not None and not self.loop_time.known and monitor.idle_ns() is not None:
                self.loop_time.read(monitor)
            async with self._counting(bridge):
                yield
            if monitor is not None:
                await stack.aclose()
                self.report = monitor.report()
        after_s = await served_s()
        if before_s is not None and after_s is not None:
            self._broker_cpu = (after_s - before_s) / ((now_ns() - since_ns) / NS_PER_S)

    @asynccontextmanager
    async def _counting(self, bridge: Bridge) -> AsyncIterator[None]:
        loop_time = self.loop_time
        busy_ns = loop_time.busy_total_ns()
        submitting_ns, since_ns = bridge.submitting_ns, now_ns()
        cores = await asyncio.to_thread(read_cores)
        try:
            yield
        finally:
            self._submitting_ns = bridge.submitting_ns - submitting_ns
            if loop_time.known and now_ns() - since_ns >= SHORTEST_NS:
                self._loop_busy_ns = loop_time.busy_total_ns() - busy_ns
        self._machine_stolen = stolen_share(cores, await asyncio.to_thread(read_cores))

    def columns(self, *, ended: int, sent: int, publishing_ns: int | None) -> dict[str, Any]:
        """Return the columns of results.csv that follow.

        Args:
            ended: Items whose task came back.
            sent: Items handed to the broker.
            publishing_ns: Time that this took the generator.
        """
        return {
            'demand_publish_s': _each(publishing_ns, sent),
            'demand_submit_s': _each(self._submitting_ns, ended),
            'demand_loop_s': _each(self._loop_busy_ns, ended),
            'broker_cpu': self._broker_cpu,
            'machine_busy': self._machine_busy,
            'machine_stolen': self._machine_stolen,
        } | (columns(self.report) if self.report is not None else {})


def _each(total_ns: int | None, number: int) -> float | None:
    return None if total_ns is None or not number else total_ns / number / NS_PER_S


def loop_name() -> str:
    """Return which loop runs, also where it is somebody's subclass."""
    names = {kind.__module__.partition('.')[0] for kind in type(asyncio.get_running_loop()).__mro__}
    return 'uvloop' if 'uvloop' in names else 'asyncio'

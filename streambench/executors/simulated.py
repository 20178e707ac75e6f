"""The executor `simulated`: ideal servers, kept in nominal time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streambench.clock import clock_domain
from streambench.executors.base import ExecutorPlugin, OpenExecutor

# Waiting here costs a tuple; who waits in the dispatcher starts late by a round trip.
AHEAD = 10_000


@dataclass(frozen=True, kw_only=True)
class SimulatedExecutorPlugin(ExecutorPlugin):
    """Ideal servers, without overhead and without threads."""

    name: ClassVar[str] = 'simulated'
    summary: ClassVar[str] = 'ideal servers: tasks are timers on the loop; method default only'
    tested: ClassVar[str] = 'yes'
    runs_code: ClassVar[bool] = False
    class_name = 'SimulatedExecutor'
    in_process = True

    def ahead(self, workers: int) -> int:
        """Return how many may wait here, where waiting is exact."""
        return AHEAD

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the servers; closing them cancels what has not ended."""
        # Loaded when chosen: a help text needs no loop.
        import asyncio

        from streambench.executors.simulated_servers import SimulatedExecutor

        # Asked for the first time, it reads files.
        executor = SimulatedExecutor(slots, clock=await asyncio.to_thread(clock_domain))
        try:
            yield OpenExecutor(executor=executor, slots=slots)
        finally:
            executor.shutdown()

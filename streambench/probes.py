"""Short tasks that ask the workers of other hosts what they reach, and bound those hosts' clocks."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from streambench.clock import now_ns
from streambench.executors.base import OpenExecutor
from streambench.offsets import Reading
from streambench.reach import Place, Reached, reach
from streambench.threads import outcome_of


class Probes:
    """Short tasks on the workers, and what they say of the workers' clocks.

    Args:
        executor: Runs them.

    Attributes:
        readings: Clock, submit, start, end and complete of each.
    """

    def __init__(self, executor: OpenExecutor) -> None:
        self.readings: list[Reading] = []
        self._submit = executor.executor.submit

    async def ask(self, task: tuple[float, tuple[Place, ...]], number: int) -> list[Reached]:
        """Let so many tasks run at once, and return what they say."""
        sent = [await asyncio.to_thread(self._send, task) for _ in range(number)]
        found = await asyncio.gather(*(outcome_of(future) for future, _ in sent))
        for (_, instants), (_, _, domain, start_ns, end_ns) in zip(sent, found, strict=True):
            submit_ns, complete_ns = instants
            self.readings.append((domain, submit_ns, start_ns, end_ns, complete_ns))
        return found

    def _send(self, task: tuple[float, tuple[Place, ...]]) -> tuple[Future[Reached], list[int]]:
        instants = [now_ns()]
        future = self._submit(reach, task)
        # Before the loop hears of it, and in the thread that does.
        future.add_done_callback(lambda _: instants.append(now_ns()))
        return future, instants

"""Short tasks on the workers of other hosts: which streambench they have, and what their clocks say."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from streambench.clock import now_ns, read_clock
from streambench.errors import ExecutorError
from streambench.executors.base import OpenExecutor
from streambench.offsets import Reading
from streambench.threads import outcome_of
from streambench.versions import VERSIONS, other_version

Read = tuple[str, int, int]


async def refuse_other_version(executor: OpenExecutor, *, title: str) -> None:
    """Raise ExecutorError if a worker has another streambench, or none.

    Args:
        executor: Runs the task that finds out.
        title: Whose workers they are, for the error.
    """
    found: object
    try:
        found = await outcome_of(await asyncio.to_thread(executor.executor.submit, eval, VERSIONS))
    except Exception as error:
        # It may know why.
        executor.check()
        found = error
    if other := other_version(found):
        raise ExecutorError(f'a worker of {title} {other}')


async def read_clocks(executor: OpenExecutor, number: int) -> list[Reading]:
    """Let so many tasks read the clocks of their hosts.

    Args:
        executor: Runs them.
        number: How many.

    Returns:
        Clock, submit, start, end and complete of each.
    """

    def send() -> tuple[Future[Read], list[int]]:
        instants = [now_ns()]
        future = executor.executor.submit(read_clock, None)
        # Before the loop hears of it, and in the thread that does.
        future.add_done_callback(lambda _: instants.append(now_ns()))
        return future, instants

    sent = [await asyncio.to_thread(send) for _ in range(number)]
    found = await asyncio.gather(*(outcome_of(future) for future, _ in sent))
    return [
        (domain, submit_ns, start_ns, end_ns, complete_ns)
        for (_, (submit_ns, complete_ns)), (domain, start_ns, end_ns) in zip(sent, found, strict=True)
    ]

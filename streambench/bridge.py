"""Between the event loop and an executor: many tasks per hop, many completions per wake-up.

One `run_in_executor` hop submits all that waits at that moment, and all futures that finish until the
loop wakes come back together; a hop and a wake-up per item would cost a fifth of the throughput.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from streambench import worker
from streambench.clock import now_ns
from streambench.records import ItemRow
from streambench.threads import whole

Completion = Callable[[ItemRow, 'worker.Outcome | None', BaseException | None, int], None]
Function = Callable[[Any], 'worker.Outcome']


class Bridge:
    """Submit tasks to an executor from a loop and bring their outcomes back to it.

    Args:
        executor: Takes the tasks; its `submit` may block.
        completed: Called on the loop with the item, its outcome or its failure, and the instant.
        woken: Called on the loop with the instant at which it begins to take completions.

    Attributes:
        submitting_ns: Time spent in the executor's `submit` so far.
    """

    def __init__(
        self,
        executor: Executor,
        completed: Completion,
        *,
        woken: Callable[[int], None] | None = None,
    ) -> None:
        self._executor = executor
        self._completed = completed
        self._woken = woken
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='bridge')
        self._waiting: deque[tuple[ItemRow, Function, Any]] = deque()
        self._finished: deque[tuple[ItemRow, Future[Any]]] = deque()
        self._hopping = False
        self._waking = False
        self._closed = False
        # Time in the executor's `submit`, counted by the one thread that calls it.
        self.submitting_ns = 0

    async def __aenter__(self) -> Self:
        """Return the bridge."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop submitting; outcomes that come later are dropped."""
        self._closed = True
        self._waiting.clear()
        await whole(self._thread.shutdown)

    def submit(self, item: ItemRow, task: Any, function: Function = worker.run_task) -> None:
        """Give a task to the executor soon; stamps the item just before.

        Args:
            item: Whose task it is.
            task: What the worker gets.
            function: What it does with that.
        """
        self._waiting.append((item, function, task))
        if not self._hopping:
            self._hopping = True
            self._loop.run_in_executor(self._thread, self._submit_waiting)

    def _submit_waiting(self) -> None:
        while True:
            try:
                item, function, task = self._waiting.popleft()
            except IndexError:
                # The flag falls before the last look, so what `submit` adds now is seen here or
                # starts another hop; both at once is a hop that finds nothing.
                self._hopping = False
                if not self._waiting:
                    return
                self._hopping = True
                continue
            item.submit_ns = now_ns()
            try:
                future: Future[Any] = self._executor.submit(function, task)
            except Exception as error:
                future = Future()
                future.set_exception(error)
            self.submitting_ns += now_ns() - item.submit_ns
            # The task may hold megabytes; neither this frame nor the callback may keep it.
            del task
            future.add_done_callback(_Arrival(self, item))
            del future

    def arrive(self, item: ItemRow, future: Future[Any]) -> None:
        """Take a finished future, in whatever thread it finished."""
        self._finished.append((item, future))
        # Two threads that both find the flag down wake the loop twice, which is harmless.
        if self._waking or self._closed:
            return
        self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._bring_back)
        except RuntimeError:
            # The loop is closed: nobody waits for outcomes any more.
            self._closed = True

    def _bring_back(self) -> None:
        self._waking = False
        if self._woken is not None:
            self._woken(now_ns())
        while self._finished and not self._closed:
            item, future = self._finished.popleft()
            complete_ns = now_ns()
            if future.cancelled():
                self._completed(item, None, asyncio.CancelledError('cancelled'), complete_ns)
                continue
            error = future.exception()
            outcome = None if error else future.result()
            self._completed(item, outcome, error, complete_ns)


class _Arrival:
    """A future's callback: an object with slots is cheaper than a closure."""

    __slots__ = ('_bridge', '_item')

    def __init__(self, bridge: Bridge, item: ItemRow) -> None:
        self._bridge = bridge
        self._item = item

    def __call__(self, future: Future[Any]) -> None:
        self._bridge.arrive(self._item, future)

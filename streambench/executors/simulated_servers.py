"""The servers of the executor `simulated`: their tasks are instants on the loop, no thread each.

A first-come-first-served queue with `slots` servers, kept in nominal time: a task starts at its arrival
or, if all servers are busy, at the very instant at which the first of them ends; it takes its sleep and
nothing else. Since the service time is known when a task arrives, both instants are computed there (the
recursion of Kiefer and Wolfowitz, 1955) and only the end is waited for, by one absolute timer.

Which instants are stamped: `start` and `end` are the nominal ones, so nothing that this loop does late
moves the queue; how late the loop noticed an end stands in `return`. `start` is never before the task
was handed over, `end` never after its outcome came back. The payload is checked as a worker checks
it, in the thread that hands the task over; like there, that takes part of the sleep, and `verified` is
stamped as much after `start`. What doesn't fit into the sleep delays the tasks that are handed over
next, which shows in their queue wait.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from streambench import worker
from streambench.clock import NS_PER_S, now_ns
from streambench.errors import ExecutorError
from streambench.message import HEADER_BYTES
from streambench.pacer import Alarm
from streambench.payload import faults


class SimulatedExecutor(Executor):
    """Servers in nominal time; its tasks are those of `worker.run_task`, method `default`.

    Made on the loop that resolves the futures; `submit` may be called from any thread. Cancelling a
    future that waits doesn't free its place in the queue.

    Args:
        slots: Servers.
        clock: Domain of this process's clock.
    """

    def __init__(self, slots: int, *, clock: str) -> None:
        self._lock = threading.Lock()
        # When each server is free, with its number: the longest idle one takes the next task.
        self._free = [(0, server) for server in range(1, slots + 1)]
        self._ends: list[tuple[int, int, Future[worker.Outcome], worker.Outcome]] = []
        self._submitted = 0
        self._alarm = Alarm(self._ring)
        self._closed = False
        self._host = os.uname().nodename
        self._clock = clock
        self._pid = os.getpid()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a task of `worker.run_task`.

        Raises:
            ExecutorError: If it is anything else, or has its payload in a store.
            RuntimeError: If the executor is closed.
        """
        arrival_ns = now_ns()
        if fn is not worker.run_task or kwargs or len(args) != 1:
            raise ExecutorError(
                f'the simulated executor runs no code and so not {fn!r}: take another executor.'
            )
        _, sequence, sleep_s, full, frame, _, size_bytes, checksum, _ = args[0]
        if frame is None:
            raise ExecutorError(
                'the simulated executor runs no code and resolves no proxy: take method default.'
            )
        fault = faults(
            memoryview(frame)[HEADER_BYTES:],
            sequence=sequence,
            size_bytes=size_bytes,
            checksum=checksum,
            full=full,
        )
        service_ns = max(0, round(sleep_s * NS_PER_S))
        checking_ns = min(now_ns() - arrival_ns, service_ns)
        future: Future[worker.Outcome] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError('the simulated executor is closed')
            free_ns, server = self._free[0]
            start_ns = max(arrival_ns, free_ns)
            end_ns = start_ns + service_ns
            heapq.heapreplace(self._free, (end_ns, server))
            outcome = (
                start_ns,
                start_ns,
                start_ns + checking_ns,
                end_ns,
                self._host,
                self._clock,
                self._pid,
                server,
                fault,
                '',
            )
            heapq.heappush(self._ends, (end_ns, self._submitted, future, outcome))
            if self._ends[0][1] == self._submitted:
                self._alarm.set(end_ns)
            self._submitted += 1
        return future

    def _ring(self) -> None:
        """Give back what has ended, and wait for what ends next."""
        ended = []
        with self._lock:
            while self._ends and self._ends[0][0] <= now_ns():
                ended.append(heapq.heappop(self._ends))
            if self._ends and not self._closed:
                self._alarm.set(self._ends[0][0])
        for _, _, future, outcome in ended:
            if future.set_running_or_notify_cancel():
                future.set_result(outcome)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel all that has not ended, whatever is asked, since nothing would end it any more.

        Called on the loop; a second call does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, self._ends = self._ends, []
            self._alarm.close()
        for _, _, future, _ in waiting:
            if future.cancel():
                # Tells those who wait in another thread.
                future.set_running_or_notify_cancel()

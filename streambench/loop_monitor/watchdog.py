"""The thread that looks at the loop's stack, but only when the loop is late.

It sleeps until the next tick is overdue; if the tick has come by then, it sleeps again. That costs one
wake-up per interval, where a watchdog that polls costs several per cent.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import CodeType

from streambench.loop_monitor.account import TickAccount
from streambench.loop_monitor.attribution import Sample
from streambench.loop_monitor.histogram import Histogram
from streambench.loop_monitor.stacks import (
    MAX_FRAMES,
    OtherThread,
    RawStack,
    ThreadClocks,
    loop_stack,
)

_SAMPLE_NS = 2_000_000
# A stall of t is sampled every t/50 at most: its stacks are known to 2 %, and 10 s take 300 samples.
_SAMPLES_PER_AGE = 50
_EVIDENCE_NS = 10_000_000
_CHORES_NS = 100_000_000
_OVERSLEPT_NS = 1_000_000
_KEPT = 1024
_STILL_S = 0.05
NS_PER_S = 1_000_000_000


class Watchdog:
    """Watches one loop from its own thread until stopped.

    Attributes:
        delay: How much too late it woke: what a thread waits for the GIL and a core.
        oversleeps: Intervals of 1 ms and more in which it wanted to run and didn't.

    Args:
        loop: The loop, for its current task.
        account: Where the ticks are counted and the samples go.
        waiting: Code of a select() that isn't Python's own.
        settle: Called now and then to make stalls of late ticks, outside of the loop's thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        account: TickAccount,
        *,
        waiting: frozenset[CodeType],
        settle: Callable[[], None],
    ) -> None:
        self.delay = Histogram()
        self.oversleeps: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self.cpu_ns = 0
        self._loop = loop
        self._account = account
        self._waiting = waiting
        self._settle = settle
        self._loop_ident = threading.get_ident()
        self._delays: list[int] = []
        self._next_evidence_ns = 0
        self._next_chores_ns = 0
        # Held until the end: waiting for it is a sleep that can be cut short.
        self._halt = threading.Lock()
        self._halt.acquire()
        self._ended: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name='loop-monitor-watchdog', daemon=True)

    def start(self) -> None:
        """Begin to watch; the calling thread is the loop's."""
        self._thread.start()
        self._account.threads = ThreadClocks((self._loop_ident, self._thread.ident or 0))

    def halt(self, ended: Callable[[], object] | None = None) -> None:
        """Tell it to end.

        Args:
            ended: Called from its thread as the last thing it does.
        """
        self._ended = ended
        with contextlib.suppress(RuntimeError):
            self._halt.release()

    @property
    def alive(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            self._do_chores()
            if self._ended is not None:
                # The loop may have been closed without waiting.
                with contextlib.suppress(RuntimeError):
                    self._ended()

    def _watch(self) -> None:
        """Look whenever the loop is late.

        What happens at every tick of a loop that isn't is written out here: on an idle machine the
        caches have little of it left, and each more function that is called takes up to 10 µs.
        """
        account, now, sleeps = self._account, time.perf_counter_ns, self._halt.acquire
        alert_ns, delays = account.level.alert_ns, self._delays
        while True:
            due_ns = account.next_ns + alert_ns
            now_ns = now()
            if now_ns < due_ns:
                if sleeps(True, (due_ns - now_ns) / NS_PER_S):
                    return
                now_ns = now()
                delays.append(now_ns - due_ns)
                if now_ns - due_ns >= _OVERSLEPT_NS:
                    self.oversleeps.append((due_ns, now_ns))
                if now_ns >= account.next_ns + alert_ns:
                    # Late: the clocks of the other threads must not be read before it is looked at.
                    continue
                if account.threads is not None and now_ns >= account.threads.next_ns:
                    account.threads.refresh(now_ns)
                if account.late:
                    self._next_evidence_ns = 0
                    self._settle()
                elif account.samples:
                    # The tick came before it was late.
                    account.samples.clear()
                if now_ns >= self._next_chores_ns:
                    self._do_chores()
                    self._next_chores_ns = now_ns + _CHORES_NS
                    account.look_at_queue()
                elif now_ns - due_ns >= _OVERSLEPT_NS:
                    # A sign that cores are scarce: how long the loop waits for one must be known anew.
                    account.look_at_queue()
                continue
            if not self._loop.is_running():
                account.stood_still = True
                if sleeps(True, _STILL_S):
                    return
                continue
            self._look()
            now_ns = now()
            until_ns = now_ns + max(_SAMPLE_NS, (now_ns - due_ns) // _SAMPLES_PER_AGE)
            if sleeps(True, (until_ns - now_ns) / NS_PER_S):
                return
            now_ns = now()
            if now_ns - until_ns >= _OVERSLEPT_NS:
                self.oversleeps.append((until_ns, now_ns))

    def _do_chores(self) -> None:
        """Do what can wait for a while; at the end all is done."""
        self.cpu_ns = time.thread_time_ns()
        for delay_ns in self._delays:
            self.delay.add(delay_ns)
        self._delays.clear()

    def _look(self) -> None:
        """Take a sample of a loop that is late."""
        account = self._account
        at_ns = time.perf_counter_ns()
        # Before the stack, which proves it: the loop may run on between the two.
        task = self._task()
        frames = sys._current_frames()
        stack = loop_stack(frames.get(self._loop_ident), account.runner, self._waiting)
        busy_since = account.idle.busy_since() if account.idle is not None else None
        name, coroutine = _names(task, stack)
        others: tuple[OtherThread, ...] = ()
        if account.threads is not None and at_ns >= self._next_evidence_ns:
            others = account.threads.evidence(frames)
            self._next_evidence_ns = at_ns + _EVIDENCE_NS
        account.samples.append(Sample(at_ns, busy_since, stack, name, coroutine, others))

    def _task(self) -> asyncio.Task[object] | None:
        try:
            return asyncio.current_task(self._loop)
        except Exception:
            # Asked from another thread: newer interpreters may refuse.
            return None


def _names(task: asyncio.Task[object] | None, stack: RawStack | None) -> tuple[str | None, str | None]:
    """Return the names of a task and its coroutine, if it is this task whose stack was seen."""
    if task is None or stack is None:
        return None, None
    try:
        coroutine = task.get_coro()
        code = getattr(coroutine, 'cr_code', None)
        if code is not None and code not in stack.codes and len(stack.codes) < MAX_FRAMES:
            return None, None
        return task.get_name(), getattr(coroutine, '__qualname__', None)
    except Exception:
        # Tasks of other makes may not answer.
        return None, None

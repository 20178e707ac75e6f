"""The thread that looks at the loop's stack, but only when the loop is late.

It waits for a deadline that every tick puts off. Ten times a second it lets one pass on purpose, to see
how long a thread waits for the GIL, and does its chores.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from types import CodeType

from streambench.loop_monitor.account import TickAccount
from streambench.loop_monitor.attribution import Sample
from streambench.loop_monitor.deadline import deadline
from streambench.loop_monitor.histogram import Histogram
from streambench.loop_monitor.stacks import (
    MAX_FRAMES,
    OtherThread,
    RawStack,
    ThreadClocks,
    look,
    loop_stack,
)

_SAMPLE_NS = 2_000_000
# A stall of t is sampled every t/50 at most: its stacks are known to 2 %, and 10 s take 300 samples.
_SAMPLES_PER_AGE = 50
_EVIDENCE_NS = 10_000_000
_CHORES_NS = 100_000_000
_STILL_NS = 50_000_000
_TICK = TickAccount.tick.__code__


class Watchdog:
    """Watches one loop from its own thread until stopped.

    Attributes:
        delay: How much too late it woke: what a thread waits for the GIL and a core.
        cpu_ns: CPU time of its thread, as of the last chores.

    Args:
        loop: The loop, for its current task.
        account: Where the ticks are counted and the samples go.
        waiting: Code of a select() that isn't Python's own.
        settle: Called now and then to make stalls of late ticks, outside of the loop's thread; with
            `on_time` if the samples that no late tick needs are to go.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        account: TickAccount,
        *,
        waiting: frozenset[CodeType],
        settle: Callable[..., None],
    ) -> None:
        self.delay = Histogram()
        self.cpu_ns = 0
        self._loop = loop
        self._account = account
        self._waiting = waiting
        self._settle = settle
        self._loop_ident = threading.get_ident()
        self._next_evidence_ns = 0
        self._looked_at_ns = 0
        self._deadline = deadline()
        self._halted = False
        self._ended: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name='loop-monitor-watchdog', daemon=True)

    def start(self) -> None:
        """Begin to watch; the calling thread is the loop's."""
        self._thread.start()
        self._account.threads = ThreadClocks((self._loop_ident, self._thread.ident or 0))
        self._account.put_off = self._deadline.put_off

    def halt(self, ended: Callable[[], object] | None = None) -> None:
        """Tell it to end.

        Args:
            ended: Called from its thread as the last thing it does.
        """
        self._ended = ended
        self._halted = True
        now_ns = time.perf_counter_ns()
        self._deadline.put_off(now_ns, now_ns)

    @property
    def alive(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    @property
    def oversleeps(self) -> list[tuple[int, int]]:
        """Intervals of 1 ms and more in which it wanted to run and didn't."""
        return list(self._deadline.oversleeps)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def close(self) -> None:
        """Let go of what it waited with; it has ended."""
        self._account.put_off = None
        self._deadline.close()

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            self.cpu_ns = time.thread_time_ns()
            if self._ended is not None:
                # The loop may have been closed without waiting.
                with contextlib.suppress(RuntimeError):
                    self._ended()

    def _watch(self) -> None:
        account, deadline, now = self._account, self._deadline, time.perf_counter_ns
        alert_ns = account.level.alert_ns
        now_ns, pause_ns = now(), 0
        while True:
            deadline.put_off(max(account.next_ns + alert_ns, now_ns + pause_ns), now_ns)
            late_ns = None
            while late_ns is None:
                if self._halted:
                    return
                deadline.wait()
                now_ns = now()
                late_ns = deadline.come(now_ns)
            due_ns, pause_ns = account.next_ns + alert_ns, 0
            stands = now_ns >= due_ns and not self._loop.is_running()
            late = now_ns >= due_ns and not stands
            if stands:
                account.stood_still = True
                pause_ns = _STILL_NS
            elif late:
                # First of all: it may be over soon.
                self._look()
                pause_ns = max(_SAMPLE_NS, (now_ns - due_ns) // _SAMPLES_PER_AGE)
            if now_ns >= account.wake_ns:
                self.delay.add(late_ns)
                self._do_chores(late=late)
                account.wake_ns = now_ns + _CHORES_NS
            now_ns = now()

    def _do_chores(self, *, late: bool) -> None:
        account = self._account
        self.cpu_ns = time.thread_time_ns()
        if account.threads is not None:
            account.threads.know()
        self._settle(on_time=not late)

    def _look(self) -> None:
        """Take a sample of a loop that is late."""
        account = self._account
        at_ns = time.perf_counter_ns()
        # Before the stack, which proves it: the loop may run on between the two.
        task = self._task()
        seen, frames = look(self._loop_ident, account.runner)
        stack = loop_stack(seen, self._waiting)
        if stack is not None and stack.codes[-1] is _TICK:
            # It has come, late as it is: the stall is over.
            return
        busy_since = account.idle.busy_since() if account.idle is not None else None
        name, coroutine = _names(task, stack)
        others: tuple[OtherThread, ...] = ()
        if account.next_ns != self._looked_at_ns:
            self._looked_at_ns, self._next_evidence_ns = account.next_ns, 0
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

"""Reading the stacks of threads, and telling a loop that works from one that waits.

A stack is kept as code objects and lines, leaf first; names are made of it when a stall is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import selectors
import sys
import threading
import time
from asyncio import base_events, events, selector_events
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain, repeat, takewhile
from operator import attrgetter, call, is_not, itemgetter
from types import CodeType, FrameType
from typing import Any, TypeVar

from streambench.loop_monitor.garbage import GarbageWatch
from streambench.loop_monitor.histogram import Histogram
from streambench.loop_monitor.ticks import LoopTicks

MAX_FRAMES = 40
MAX_THREADS = 8
_LEAST_CPU_NS = 500_000
_PROOF_NS = 100_000
_PER_THREAD_NS = 500_000
_EVERY_NS = 9_000_000
_OWN_FRAMES = 3
_TOLD = attrgetter('f_code', 'f_lineno')
_Found = TypeVar('_Found')


def _codes(*functions: object) -> frozenset[CodeType]:
    return frozenset(code for function in functions if (code := getattr(function, '__code__', None)))


# The frames between whoever runs an asyncio loop and what the loop calls. uvloop has none.
_MACHINERY = _codes(
    base_events.BaseEventLoop.run_forever,
    base_events.BaseEventLoop._run_once,  # type: ignore[attr-defined]
    events.Handle._run,
    LoopTicks._ready,
)
_LISTENER = GarbageWatch.heard.__code__
_COUNTER = Histogram.add.__code__
_HANDLE = events.Handle._run.__code__
# What the loop itself calls when it waits or has just waited.
_WAITING = _codes(
    *(getattr(kind, 'select', None) for kind in vars(selectors).values()),
    selector_events.BaseSelectorEventLoop._process_events,  # type: ignore[attr-defined]
)


@dataclass(frozen=True, slots=True)
class RawStack:
    """Code objects and lines, leaf first, at most `MAX_FRAMES`."""

    codes: tuple[CodeType, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OtherThread:
    """Where a thread stood and the CPU time that it had used since it was last looked at.

    `free` says that it ran on while the GIL was held here: it isn't the one that had it.
    """

    ident: int
    name: str
    stack: RawStack
    cpu_ns: int
    free: bool


def runner_of(frame: FrameType | None) -> FrameType | None:
    """Return the frame that runs the loop, given the caller of what the loop called."""
    while frame is not None and frame.f_code in _MACHINERY:
        frame = frame.f_back
    return frame


def runner_of_task(loop: asyncio.AbstractEventLoop) -> FrameType | None:
    """Return the frame that runs the loop, from within its current task; None if that can't be told."""
    task = asyncio.current_task(loop)
    if task is None:
        return None
    coroutine = task.get_coro()
    outermost: FrameType | None = getattr(coroutine, 'cr_frame', None)
    return runner_of(outermost.f_back) if outermost is not None else None


def _alone(ask: Callable[[], _Found]) -> _Found:
    """Return what a function of the interpreter's own finds, with nobody else at work meanwhile.

    Such a call is not interrupted, but for one thing: before 3.12 it may begin a garbage collection
    when it makes a frame, which runs code that gives the GIL away. The thread that is looked at goes on
    then, and the interpreter writes to where its frame was, or both wait for each other for ever
    (gh-106883). So there is none. All of it is one call: nobody sees that collecting is switched off.
    """
    if sys.version_info >= (3, 12):
        return ask()
    enabled = gc.isenabled()
    calls: tuple[Callable[[], Any], ...] = gc.disable, ask, *((gc.enable,) if enabled else ())
    try:
        found: _Found = list(map(call, calls))[1]
    except BaseException:
        if enabled:
            gc.enable()
        raise
    return found


def current_frames() -> dict[int, FrameType]:
    """Return the innermost frame of every thread."""
    return _alone(sys._current_frames)


def raw_stack(frame: FrameType | None, until: FrameType | None = None) -> RawStack:
    """Return a stack, without the frame `until` and those outside of it."""
    return _outwards(iter((frame,)), until)


def look(ident: int, until: FrameType | None) -> tuple[RawStack, Mapping[int, FrameType]]:
    """Return the stack of a thread, and the innermost frames of all threads, from the same instant.

    Were the frame asked for first, the thread could go on meanwhile: a coroutine that has been
    suspended no longer knows who awaits it.

    Args:
        ident: Of the thread.
        until: This frame and those outside of it are left out.
    """
    kept: dict[str, dict[int, FrameType]] = {}
    # All of this happens in the one call that asks for the first frame.
    frames = map(partial(kept.setdefault, 'frames'), map(call, (sys._current_frames,)))
    stack = _outwards(map(itemgetter(ident), frames), until)
    return stack, kept['frames']


def _outwards(innermost: Iterator[FrameType | None], until: FrameType | None) -> RawStack:
    """Return the stack that begins with the one frame of an iterator, which is asked for only now.

    No frame but that one is held: what another thread's variables refer to ends in that thread.
    """
    seen: list[tuple[CodeType, int | None]] = []
    steps: Iterator[Any] = chain(innermost, repeat('f_back', MAX_FRAMES + _OWN_FRAMES))
    frames = takewhile(partial(is_not, until), accumulate(steps, getattr))
    # Outside of all is None, which has no code, and that is the end.
    with contextlib.suppress(AttributeError, KeyError):
        _alone(partial(seen.extend, map(_TOLD, frames)))
    # A collection ends in our own listener, or in what that calls: there the interpreter lets other
    # threads look.
    own, at = 0, int(bool(seen) and seen[0][0] is _COUNTER)
    while at < len(seen) and seen[at][0] is _LISTENER:
        own = at = at + 1
    shown = seen[own : own + MAX_FRAMES]
    return RawStack(tuple(code for code, _ in shown), tuple(line or 0 for _, line in shown))


def loop_stack(found: RawStack, waiting: frozenset[CodeType] = frozenset()) -> RawStack | None:
    """Return what the loop called, or None if it waits, or works for itself only.

    Args:
        found: The stack of its thread, without the frame that runs the loop, as far as that is known.
        waiting: Code of a select() that isn't Python's own.
    """
    if found.codes and found.codes[0] is _HANDLE:
        # A callback written in C has no frame of its own.
        return RawStack(found.codes[:1], found.lines[:1])
    depth = len(found.codes)
    while depth and found.codes[depth - 1] in _MACHINERY:
        depth -= 1
    if not depth or found.codes[depth - 1] in _WAITING or found.codes[depth - 1] in waiting:
        return None
    return RawStack(found.codes[:depth], found.lines[:depth])


def _linux_clock(native_id: int) -> int:
    # MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED) of linux/posix-timers.h. By the kernel's id, not by
    # pthread_getcpuclockid: that reads freed memory if the thread has just ended, this gives an error.
    return (~native_id << 3) | 4 | 2


class ThreadClocks:
    """CPU time of every thread but the loop's and the watchdog's.

    A stack doesn't tell a thread that runs from one that waits: the leaf of both may be a call into C.
    CPU time does. Threads that Python's `threading` doesn't know are not seen.

    Attributes:
        next_ns: When they are to be refreshed again; seldom if they are many.

    Args:
        excluded: Idents of threads to leave out.
    """

    def __init__(self, excluded: Iterable[int]) -> None:
        self.excluded = frozenset(excluded)
        self.readable = sys.platform == 'linux'
        self._known: dict[int, threading.Thread] = {}
        self._cpu_ns: dict[int | None, int] = {}
        self.next_ns = 0
        self._refreshed_ns = time.perf_counter_ns()
        self._clock: Callable[[int], int] = time.clock_gettime_ns if self.readable else lambda _: 0

    def _read(self, thread: threading.Thread) -> int | None:
        if not self.readable or thread.native_id is None:
            return None
        try:
            return self._clock(_linux_clock(thread.native_id))
        except OSError:
            return None

    def refresh(self, now_ns: int) -> None:
        """Read the clocks, so that the next difference begins here."""
        for thread in self._known.values():
            cpu_ns = self._read(thread)
            if cpu_ns is not None:
                self._cpu_ns[thread.native_id] = cpu_ns
        self._refreshed_ns = now_ns
        self.next_ns = now_ns + max(_EVERY_NS, _PER_THREAD_NS * len(self._known))

    def know(self) -> None:
        """Find out which threads there are; one that nobody knows yet is found when it matters."""
        self._known = {
            thread.ident: thread
            for thread in threading.enumerate()
            if thread.ident is not None and thread.ident not in self.excluded
        }
        alive = {thread.native_id for thread in self._known.values()}
        for native_id in self._cpu_ns.keys() - alive:
            self._cpu_ns.pop(native_id, None)

    def _clocks(self, idents: Iterable[int]) -> Iterator[tuple[int, threading.Thread, int]]:
        """Return ident, thread and CPU time of those threads whose clock can be read."""
        renewed = False
        for ident in idents:
            thread = self._known.get(ident)
            cpu_ns = self._read(thread) if thread is not None else None
            if cpu_ns is None and not renewed:
                # It is new; it may have got the ident of one that has ended.
                renewed = True
                self.know()
                thread = self._known.get(ident)
                cpu_ns = self._read(thread) if thread is not None else None
            if thread is not None and cpu_ns is not None:
                yield ident, thread, cpu_ns

    def evidence(self, frames: Mapping[int, FrameType]) -> tuple[OtherThread, ...]:
        """Return the threads that used CPU time since they were last looked at, most first.

        Args:
            frames: What `sys._current_frames` returned just now.
        """
        found: list[tuple[int, int, threading.Thread]] = []
        for ident, thread, cpu_ns in self._clocks(frames.keys() - self.excluded):
            before_ns = self._cpu_ns.get(thread.native_id)
            if before_ns is None:
                # It began after the others were looked at, or little before.
                used_ns = min(cpu_ns, time.perf_counter_ns() - self._refreshed_ns)
            else:
                used_ns = cpu_ns - before_ns
            self._cpu_ns[thread.native_id] = cpu_ns
            if used_ns >= _LEAST_CPU_NS:
                found.append((used_ns, ident, thread))
        found.sort(key=lambda each: -each[0])
        del found[MAX_THREADS:]
        free = self._running({ident: thread for _, ident, thread in found})
        return tuple(
            OtherThread(ident, thread.name, raw_stack(frames[ident]), used_ns, ident in free)
            for used_ns, ident, thread in found
        )

    def _running(self, threads: Mapping[int, threading.Thread]) -> frozenset[int]:
        """Return the threads whose CPU time goes on while this one holds the GIL."""
        if not threads:
            return frozenset()
        before = {ident: self._read(thread) for ident, thread in threads.items()}
        until_ns = time.perf_counter_ns() + _PROOF_NS
        while time.perf_counter_ns() < until_ns:
            pass
        after = {ident: self._read(thread) for ident, thread in threads.items()}
        return frozenset(
            ident
            for ident, cpu_ns in before.items()
            if cpu_ns is not None and (after[ident] or 0) - cpu_ns > _PROOF_NS // 3
        )

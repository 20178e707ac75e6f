"""A monitor for every loop that a program runs, whoever makes the loop and however it is run.

`run_forever` and `close` of the loop classes are wrapped: all of asyncio.run, Runner, uvloop.run,
policies, loop factories and servers with a set-up of their own end there. uvloop is wrapped when the
program imports it, and isn't imported for that.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from streambench.loop_monitor.garbage import GarbageWatch
from streambench.loop_monitor.monitor import LoopMonitor
from streambench.loop_monitor.refusals import LoopMonitorError
from streambench.loop_monitor.report import LoopReport

MAX_LOOPS = 500
MAX_PAUSES = 50_000
STOP_S = 2.0


class LoopHooks:
    """Watches every loop of this process, from its first run until it is closed.

    Args:
        level: Level of the monitors.
        exact: Whether selectors of asyncio loops are replaced.
        pauses: Whether all garbage collections are noted, too.
        force: `asyncio` or `uvloop`, to give programs that loop where they don't insist on another.
    """

    def __init__(
        self, *, level: str, exact: bool = False, pauses: bool = False, force: str | None = None
    ) -> None:
        self._level = level
        self._exact = exact
        self._force = force
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._monitors: dict[asyncio.AbstractEventLoop, LoopMonitor] = {}
        self._ended: list[LoopMonitor] = []
        self._wrapped: list[tuple[type, str, Any]] = []
        self._pauses = GarbageWatch() if pauses else None
        self.refusals: dict[str, None] = {}
        self.left_out = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Wrap the loop classes, and uvloop's if it comes; unwrap them at the end."""
        finder = _UvloopFinder(self._uvloop)
        self._wrap(base_events.BaseEventLoop)
        if 'uvloop' in sys.modules:
            self._uvloop(sys.modules['uvloop'])
        else:
            sys.meta_path.insert(0, finder)
        if self._force == 'uvloop':
            policy = importlib.import_module('uvloop').EventLoopPolicy()
            asyncio.set_event_loop_policy(policy)
        if self._pauses is not None:
            self._pauses.recent = deque(maxlen=MAX_PAUSES)
            self._pauses.start()
        try:
            yield
        finally:
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
            for kind, name, original in reversed(self._wrapped):
                if original is None:
                    delattr(kind, name)
                else:
                    setattr(kind, name, original)
            if self._pauses is not None:
                self._pauses.close()

    def _uvloop(self, module: ModuleType) -> None:
        if self._force == 'asyncio':
            _asyncio_in_place_of(module)
        # In any case: a program that insists on it is to be found out.
        self._wrap(module.Loop)

    def _wrap(self, kind: Any) -> None:
        run_forever, close = kind.run_forever, kind.close

        @functools.wraps(run_forever)
        def watched_run_forever(loop: asyncio.AbstractEventLoop) -> None:
            self._runs(loop)
            run_forever(loop)

        @functools.wraps(close)
        def watched_close(loop: asyncio.AbstractEventLoop) -> None:
            self._closes(loop)
            close(loop)

        for name, wrapper in (('run_forever', watched_run_forever), ('close', watched_close)):
            self._wrapped.append((kind, name, vars(kind).get(name)))
            setattr(kind, name, wrapper)

    def _runs(self, loop: asyncio.AbstractEventLoop) -> None:
        if os.getpid() != self._pid or asyncio._get_running_loop() is not None or loop.is_closed():
            return
        with self._lock:
            monitor = self._monitors.get(loop)
            known = monitor is not None
            if not known and len(self._monitors) + len(self._ended) >= MAX_LOOPS:
                self.left_out += 1
                return
        if monitor is None:
            monitor = LoopMonitor(self._level, exact=self._exact)
            # Before the loop runs, or what its first task does at once would be missed.
            asyncio._set_running_loop(loop)
            try:
                monitor.start()
            except (LoopMonitorError, OSError) as error:
                self.refusals[str(error)] = None
                return
            finally:
                asyncio._set_running_loop(None)
            with self._lock:
                self._monitors[loop] = monitor
        if monitor.running and monitor._account is not None:
            # The first tick would find it, but there may be a stall before.
            monitor._account.runner = sys._getframe(1)

    def _closes(self, loop: asyncio.AbstractEventLoop) -> None:
        if os.getpid() != self._pid or loop.is_running():
            return
        with self._lock:
            monitor = self._monitors.pop(loop, None)
            if monitor is None:
                return
            self._ended.append(monitor)
        self._stop(monitor)

    def _stop(self, monitor: LoopMonitor) -> None:
        try:
            monitor.stop()
        except LoopMonitorError as error:
            self.refusals[str(error)] = None

    def finish(self) -> tuple[LoopReport, ...]:
        """Stop all monitors and return their reports in order of begin."""
        with self._lock:
            lasting = dict(self._monitors)
            self._monitors.clear()
        for loop, monitor in lasting.items():
            if not loop.is_running():
                self._stop(monitor)
            elif not self._stopped_afar(loop, monitor):
                self.refusals[
                    f'a loop in another thread is held up: it did not answer within {STOP_S:g} s'
                ] = None
                continue
            self._ended.append(monitor)
        reports = []
        for monitor in self._ended:
            try:
                reports.append(monitor.report())
            except LoopMonitorError as error:
                self.refusals[str(error)] = None
        return tuple(sorted(reports, key=lambda report: report.start_ns))

    def _stopped_afar(self, loop: asyncio.AbstractEventLoop, monitor: LoopMonitor) -> bool:
        """Stop the monitor of a loop that still runs, in a daemon's thread; tell whether it did."""
        done = threading.Event()

        def stop() -> None:
            self._stop(monitor)
            done.set()

        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:
            # It has ended since.
            self._stop(monitor)
            return True
        return done.wait(STOP_S)

    @property
    def pauses(self) -> Sequence[tuple[int, int]]:
        """Begin and end of the last garbage collections, if they were asked for."""
        return () if self._pauses is None else list(self._pauses.recent)


def _asyncio_in_place_of(uvloop: Any) -> None:
    """Let uvloop's ways of making a loop make asyncio's."""
    factory = asyncio.SelectorEventLoop
    uvloop.new_event_loop = factory
    uvloop.install = lambda: None
    uvloop.EventLoopPolicy = asyncio.DefaultEventLoopPolicy

    def run(main: Any, **settings: Any) -> Any:
        debug = settings.get('debug')
        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            return runner.run(main)

    uvloop.run = run


class _UvloopFinder(importlib.abc.MetaPathFinder):
    """Finds uvloop as everybody else would, and has a look at it once it is there."""

    def __init__(self, found: Callable[[ModuleType], None]) -> None:
        self._found = found

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != 'uvloop':
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute, found = spec.loader.exec_module, self._found

        def exec_module(module: ModuleType) -> None:
            execute(module)
            found(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

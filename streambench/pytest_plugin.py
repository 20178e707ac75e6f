"""pytest plugin: the test's own event loop must not be held up.

    @pytest.mark.no_stall(max_ms=20)
    async def test_handler() -> None: ...

    async def test_quiet(loop_monitor: LoopMonitor) -> None:
        ...
        assert loop_monitor.snapshot().stall_s == 0

The coroutine of the test is wrapped, whoever runs it (pytest-asyncio, anyio). Only what is known fails
a test: causes `callback` and `gc`. What another thread did, or time in which no core was free, is not
the test's fault. The monitor itself is imported when a test asks for it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streambench.loop_monitor import LoopMonitor, LoopReport, StallEvent

MARK = 'no_stall'
MAX_MS = 20.0
LEVEL = 'fine'
OWN_CAUSES = ('callback', 'gc')

_monitor_key = pytest.StashKey['LoopMonitor']()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        'markers',
        f'{MARK}(max_ms={MAX_MS:g}): fail if a callback or a garbage collection holds the loop of this '
        'coroutine test up for longer',
    )


def _monitor() -> LoopMonitor:
    from streambench.loop_monitor import LoopMonitor

    return LoopMonitor(LEVEL, exact=True)


@pytest.fixture
def loop_monitor(request: pytest.FixtureRequest) -> LoopMonitor:
    """The monitor of this test's loop, started with the test's coroutine and stopped with it.

    A test that is no coroutine gets it unstarted, for a loop of its own.
    """
    monitor: LoopMonitor = request.node.stash.setdefault(_monitor_key, _monitor())
    return monitor


def _most_ms(item: pytest.Item, mark: pytest.Mark) -> float:
    """Return the limit of a mark; fails the test if it can't be kept watch over."""
    from streambench.loop_monitor.levels import LEVELS

    given = {'max_ms': MAX_MS, **dict(zip(['max_ms'], mark.args, strict=False)), **mark.kwargs}
    most_ms = given.pop('max_ms')
    level = LEVELS[LEVEL]
    least_ms = (level.interval_ns + level.threshold_ns) / 1e6
    if given or len(mark.args) > 1:
        pytest.fail(f'{item.name}: {MARK} takes max_ms only, such as {MARK}(max_ms=20)', pytrace=False)
    if isinstance(most_ms, bool) or not isinstance(most_ms, int | float) or not most_ms >= least_ms:
        pytest.fail(
            f'{item.name}: max_ms is {most_ms!r}: from {least_ms:g} ms on every block is found, so '
            'give at least that',
            pytrace=False,
        )
    return float(most_ms)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Wrap the coroutine function before its runner gets it; judge when it has run well."""
    mark = item.get_closest_marker(MARK)
    asked = mark is not None or _monitor_key in item.stash
    function = getattr(item, 'obj', None)
    if not asked or not isinstance(item, pytest.Function):
        return (yield)
    if not inspect.iscoroutinefunction(function):
        if mark is not None:
            pytest.fail(f'{item.name}: {MARK} is for tests that are coroutines', pytrace=False)
        return (yield)
    most_ms = None if mark is None else _most_ms(item, mark)
    monitor = item.stash.get(_monitor_key, None) or _monitor()
    item.obj = _watched(function, monitor)
    try:
        outcome = yield
    finally:
        item.obj = function
        if _monitor_key in item.stash:
            del item.stash[_monitor_key]
    if most_ms is not None and _was_started(monitor):
        _judge(monitor.report(), most_ms)
    return outcome


def _was_started(monitor: LoopMonitor) -> bool:
    from streambench.loop_monitor import LoopMonitorError

    try:
        monitor.report()
    except LoopMonitorError:
        # Not asyncio: anyio runs tests on trio too.
        return False
    return True


def _watched(
    function: Callable[..., Awaitable[Any]], monitor: LoopMonitor
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        if asyncio._get_running_loop() is None:
            return await function(*args, **kwargs)
        async with monitor:
            return await function(*args, **kwargs)

    return watched


def _own_s(stall: StallEvent) -> float:
    """Return how long the test's own code surely held the loop up.

    The begin is not seen on every loop, and on a machine that is short of cores a thread may stand
    anywhere for a while.
    """
    known_s = stall.duration_s if stall.method == 'busy_start' else stall.low_s
    return known_s - (stall.starved_s or 0.0)


def _judge(report: LoopReport, most_ms: float) -> None:
    """Fail the test for what held its loop up for too long."""
    from streambench.loop_monitor.verdict import stall_text

    found = [
        stall for stall in report.stalls if stall.cause in OWN_CAUSES and _own_s(stall) * 1000 > most_ms
    ]
    if found:
        found.sort(key=_own_s, reverse=True)
        lines = [f'the loop was held up for more than {most_ms:g} ms:']
        lines += [f'  {_own_s(stall) * 1000:.1f} ms, {stall_text(stall)}' for stall in found[:5]]
        if len(found) > 5:
            lines.append(f'  and {len(found) - 5} more')
        pytest.fail('\n'.join(lines), pytrace=False)

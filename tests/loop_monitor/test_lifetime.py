"""Start, stop, refusals, and what is left behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import uvloop

from streambench.loop_monitor import LoopMonitor, LoopMonitorError, deadline, libuv, ticks
from tests.living import threads
from tests.loop_monitor.blocks import culprit_sleep, inject, matched

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
ROOT = Path(__file__).parent.parent.parent


def descriptors() -> int:
    return len(os.listdir('/proc/self/fd'))  # noqa: PTH208


async def test_two_hundred_monitors_leave_nothing_behind(may_block: None) -> None:
    loop = asyncio.get_running_loop()
    async with LoopMonitor(exact=True):
        await asyncio.sleep(0.02)
    before = threading.enumerate(), descriptors(), len(gc.callbacks)
    for number in range(200):
        async with LoopMonitor(('lite', 'default', 'fine')[number % 3], exact=True):
            if number % 10 == 0:
                await asyncio.sleep(0.006)
    assert threads(before[0]) == []
    assert descriptors() == before[1]
    assert len(gc.callbacks) == before[2]
    selector = getattr(loop, '_selector', None)
    assert selector is None or 'select' not in vars(selector)


@pytest.mark.parametrize('make', LOOPS)
@pytest.mark.parametrize('away', [False, True], ids=['main thread', 'other thread'])
def test_plain_start_and_stop(make: type, away: bool, may_block: None) -> None:
    """From a callback, in any thread, and the loop is closed right after stop."""
    found: list[LoopMonitor] = []

    def run() -> None:
        for _ in range(8):
            loop = make()
            monitor = LoopMonitor('fine', exact=True)
            loop.call_soon(monitor.start)
            loop.call_later(0.02, culprit_sleep, 0.03)
            loop.call_later(0.08, loop.stop)
            loop.run_forever()
            loop.call_soon(monitor.stop)
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()
            monitor.stop()
            found.append(monitor)

    if away:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    assert len(found) == 8
    reports = [monitor.report() for monitor in found]
    seen = [stall for report in reports for stall in report.stalls if stall.duration_s > 0.02]
    assert len(seen) >= 8
    assert [stall.cause for stall in seen].count('callback') >= 7
    assert all(report.utilization is not None for report in reports)


@pytest.mark.parametrize('make', LOOPS)
def test_a_callback_without_a_frame(make: type, may_block: None) -> None:
    """asyncio's handle is a frame that shows that something was called; uvloop has none."""
    loop = make()
    monitor = LoopMonitor()
    loop.call_soon(monitor.start)
    for at_s in (0.05, 0.2, 0.35):
        loop.call_later(at_s, time.sleep, 0.06)
    loop.run_until_complete(asyncio.sleep(0.5))
    loop.call_soon(monitor.stop)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    by_length = sorted(monitor.report().stalls, key=lambda stall: stall.duration_s)
    # A neighbour may lengthen one of the three, or take the core away in it, or be one more.
    assert statistics.median(s.duration_s for s in by_length[-3:]) == pytest.approx(0.06, abs=0.02)
    found = [stall.cause for stall in by_length[-3:]]
    assert found.count('callback' if make is asyncio.SelectorEventLoop else 'unattributed') >= 2, found


@pytest.mark.parametrize('make', LOOPS)
def test_stop_after_the_loop(make: type, may_block: None) -> None:
    """Stopped when its loop has ended, or even been closed: no stall is made of that."""
    for closed in (False, True):
        loop = make()
        monitor = LoopMonitor()

        async def some_time(monitor: LoopMonitor) -> None:
            monitor.start()
            await asyncio.sleep(0.05)

        loop.run_until_complete(some_time(monitor))
        time.sleep(0.1)
        if closed:
            loop.close()
            assert monitor.snapshot().wakeups >= 3
            monitor.idle_ns()
        monitor.stop()
        loop.close()
        assert [stall for stall in monitor.report().stalls if stall.duration_s > 0.05] == []


@pytest.mark.parametrize('make', LOOPS)
def test_the_cpu_time_is_that_of_the_loop_s_thread(make: type, may_block: None) -> None:
    """Whoever stops the monitor after the loop has used time of its own, for something else."""
    loop = make()
    monitor = LoopMonitor()

    async def some_time() -> None:
        monitor.start()
        await asyncio.sleep(0.1)

    running = threading.Thread(target=loop.run_until_complete, args=(some_time(),))
    running.start()
    running.join()
    assert time.thread_time() > 0.1, 'the test would not see it'
    monitor.stop()
    loop.close()
    assert 0 <= monitor.report().cpu_utilization < 0.5


@pytest.mark.parametrize('make', LOOPS)
def test_time_in_which_nobody_ran_the_loop_is_no_lag(make: type, may_block: None) -> None:
    loop = make()
    monitor = LoopMonitor()
    loop.call_soon(monitor.start)
    loop.run_until_complete(asyncio.sleep(0.1))
    time.sleep(0.3)

    async def end() -> None:
        await asyncio.sleep(0.1)
        monitor.stop()

    loop.run_until_complete(end())
    loop.close()
    report = monitor.report()
    assert report.lag.max_s is not None and report.lag.max_s < 0.2
    assert report.wall_s < 0.4
    assert any('was not run at all' in caution for caution in report.cautions)


async def test_stop_waits_without_blocking_the_loop() -> None:
    """The context manager awaits the watchdog's end; blockbuster watches this test."""
    async with LoopMonitor() as monitor:
        await asyncio.sleep(0.03)
    assert not monitor.running


async def test_a_cancelled_body_stops_the_monitor() -> None:
    monitor = LoopMonitor()

    async def body() -> None:
        async with monitor:
            await asyncio.sleep(60)

    task = asyncio.ensure_future(body())
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert monitor.report().wakeups >= 1


async def test_one_monitor_per_loop() -> None:
    async with LoopMonitor('lite') as monitor:
        with pytest.raises(LoopMonitorError, match=r"has a monitor already \(level 'lite'\)"):
            LoopMonitor().start()
        with pytest.raises(LoopMonitorError, match='is running: report'):
            monitor.report()
        with pytest.raises(LoopMonitorError, match='make a new one'):
            monitor.start()
    with pytest.raises(LoopMonitorError, match='is stopped: make a new one'):
        monitor.start()
    async with LoopMonitor():
        pass


async def test_stop_belongs_to_the_loop_s_thread() -> None:
    async with LoopMonitor() as monitor:
        with pytest.raises(LoopMonitorError, match='call_soon_threadsafe'):
            await asyncio.to_thread(monitor.stop)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoopMonitorError, match="level 'quick' does not exist: take one of off, lite"):
        LoopMonitor('quick')
    with pytest.raises(LoopMonitorError, match='max_stalls is 0'):
        LoopMonitor(max_stalls=0)
    with pytest.raises(LoopMonitorError, match='no event loop runs in thread'):
        LoopMonitor().start()
    with pytest.raises(LoopMonitorError, match='never started'):
        LoopMonitor().stop()
    with pytest.raises(LoopMonitorError, match='is new: snapshot'):
        LoopMonitor().snapshot()
    monkeypatch.setattr(sys, 'abiflags', 't')
    with pytest.raises(LoopMonitorError, match='free-threaded'):
        LoopMonitor().start()


WALK = """
import faulthandler, gc, random, sys, threading, time
from streambench.loop_monitor.stacks import current_frames, raw_stack

faulthandler.enable()
faulthandler.dump_traceback_later(40, exit=True)
space = {'draw': random.Random(1)}
for number in range(9):
    values = ''.join(f'v{each} = n + {each}.5; ' for each in range(3 * number))
    exec(f'def f{number}(n):\\n    {values}pass\\n    return n and draw.choice(fs)(n - 1)', space)
fs = space['fs'] = [space[f'f{number}'] for number in range(9)]
over = False

def generated(n):
    if n:
        yield from generated(n - 1)
    yield n / 7

def frames_come_and_go():
    while not over:
        fs[8](8)
        sum(generated(6))

def threads_come_and_go():
    while not over:
        thread = threading.Thread(target=fs[3], args=(3,))
        thread.start()
        thread.join()

def collected(phase, info):
    # As any listener or finalizer may: the GIL is given away.
    if threading.get_ident() == here:
        time.sleep(0.0003)

threads = [threading.Thread(target=each) for each in (frames_come_and_go, threads_come_and_go)]
for thread in threads:
    thread.start()
here = threading.get_ident()
gc.callbacks.append(collected)
gc.set_threshold(10)
sys.setswitchinterval(1e-5)
until, rubbish, seen = time.monotonic() + 3, [], set()
while time.monotonic() < until:
    frame = current_frames().get(threads[0].ident)
    seen |= {code.co_name for code in raw_stack(frame).codes}
    del frame
    rubbish.append([[] for _ in range(len(rubbish) % 12)])
    del rubbish[:-500]
over = True
for thread in threads:
    thread.join()
print(len(seen) > 9, gc.isenabled())
"""


def test_looking_at_frames_of_other_threads_breaks_nothing() -> None:
    """Collections begin everywhere and give the GIL away; before, this was a segmentation fault."""
    done = subprocess.run([sys.executable, '-c', WALK], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'True True\n', ''), done.stderr[-3000:]


FORK = """
import asyncio, os, warnings
from streambench.loop_monitor import LoopMonitor, LoopMonitorError
warnings.simplefilter('ignore')

async def main():
    async with LoopMonitor(exact=True) as monitor:
        await asyncio.sleep(0.02)
        if os.fork() == 0:
            for call in (monitor.stop, monitor.snapshot):
                try:
                    call()
                except LoopMonitorError as error:
                    print('child:', error, flush=True)
            async def again():
                async with LoopMonitor() as mine:
                    await asyncio.sleep(0.03)
                print('child:', mine.report().wakeups > 0, flush=True)
            asyncio._set_running_loop(None)
            asyncio.new_event_loop().run_until_complete(again())
            os._exit(0)
        os.wait()
        await asyncio.sleep(0.05)
    print('parent:', monitor.report().wakeups >= 3)

asyncio.run(main())
"""


def test_a_forked_child_is_refused() -> None:
    """The child has no watchdog; a monitor of its own works."""
    done = subprocess.run(
        [sys.executable, '-c', FORK], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done
    assert all('was forked' in line or 'is forked' in line for line in lines[:2])
    assert lines[2:] == ['child: True', 'parent: True']


async def test_level_off_does_nothing(may_block: None) -> None:
    before = threading.enumerate(), descriptors(), len(gc.callbacks)
    async with LoopMonitor('off', exact=True) as monitor, LoopMonitor('off'):
        await asyncio.sleep(0.02)
        assert (threads(before[0]), descriptors(), len(gc.callbacks)) == ([], *before[1:])
    report = monitor.report()
    assert report.lag.count == report.stall_count == 0
    assert report.unavailable == ('everything: the level is off',)
    assert monitor.idle_ns() is None and monitor.busy_ns() is None


async def test_without_timerfd_the_loop_s_timer_ticks(
    monkeypatch: pytest.MonkeyPatch, may_block: None
) -> None:
    def no_timer(**_: object) -> int:
        raise OSError('no such timer here')

    monkeypatch.setattr(ticks, 'open_timer', no_timer)
    monkeypatch.setattr(deadline, 'open_timer', no_timer)
    async with LoopMonitor(exact=True) as monitor:
        await asyncio.sleep(0.3)
        truths = await inject(culprit_sleep, 0.05, 5)
    report = monitor.report()
    assert report.tick_source == 'call_at'
    assert report.tick_floor_s == 0.001
    assert any('no such timer here' in line for line in report.unavailable)
    assert report.lag.count == pytest.approx(report.wall_s / report.interval_s, abs=1.5)
    pairs = matched(report, truths)
    assert len(pairs) == len(truths)
    errors = [stall.duration_s - truth.length_s for truth, stall in pairs]
    assert abs(statistics.median(errors)) < 0.015, errors
    assert (report.wakeup_lag.percentile(50) or 1) < 0.005
    # The watchdog sleeps without it, too.
    assert [stall.cause for _, stall in pairs].count('callback') >= 3
    assert report.gil_wakeup_delay.count >= 2


async def test_without_libuv_s_symbols_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library without the symbols, and a uvloop without the capsule."""
    loop = asyncio.get_running_loop()
    if not libuv.is_uvloop(loop):
        async with LoopMonitor() as monitor:
            await asyncio.sleep(0.02)
        assert 'exact=True' in monitor.report().unavailable[0]
        assert monitor.report().utilization is None
        assert monitor.report().utilization_source == 'unavailable'
        return
    import _ctypes

    monkeypatch.setattr(libuv, 'library_path', lambda: _ctypes.__file__)
    async with LoopMonitor() as monitor:
        await asyncio.sleep(0.05)
    report = monitor.report()
    assert report.utilization is None and report.utilization_source == 'unavailable'
    assert any('uvloop does not export it' in line for line in report.unavailable)
    assert report.lag.count >= 4


class Derived(asyncio.SelectorEventLoop):
    """A loop of somebody's own."""


def test_another_selector_is_left_alone() -> None:
    loop = Derived(selectors.SelectSelector())

    async def main() -> LoopMonitor:
        async with LoopMonitor(exact=True) as monitor:
            await asyncio.sleep(0.05)
        return monitor

    report = loop.run_until_complete(main()).report()
    loop.close()
    assert not report.exact
    assert report.loop == 'asyncio'
    assert any('SelectSelector, not an EpollSelector' in line for line in report.unavailable)
    assert report.lag.count >= 4


BARE = """
import asyncio, sys, time
from streambench.loop_monitor import LoopMonitor

async def main():
    async with LoopMonitor(exact=True) as monitor:
        await asyncio.sleep(0.05)
        time.sleep(0.05)
        await asyncio.sleep(0.02)
    print(monitor.report().stalls[-1].cause)

asyncio.run(main())
loaded = {name for name in sys.modules if name.startswith('streambench')}
print(sorted(name for name in loaded if not name.startswith('streambench.loop_monitor')))
print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))
"""


def test_it_needs_the_standard_library_only() -> None:
    """An interpreter without site-packages."""
    done = subprocess.run(
        [sys.executable, '-S', '-c', BARE], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.stdout.splitlines() == [
        'callback',
        "['streambench']",
        "['__main__', 'streambench']",
    ], done.stderr

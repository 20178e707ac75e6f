"""What holds a loop up, each in a function of its own name, with the truth about its length."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streambench.loop_monitor import LoopReport, StallEvent


@dataclass(frozen=True)
class Truth:
    """One injected block."""

    begin_ns: int
    end_ns: int

    @property
    def length_s(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


def culprit_sleep(length_s: float) -> None:
    time.sleep(length_s)


def culprit_spin(length_s: float) -> None:
    until = time.perf_counter() + length_s
    while time.perf_counter() < until:
        pass


def culprit_json(length_s: float) -> None:
    json.loads(_json_text(length_s))


def culprit_regex(length_s: float) -> None:
    re.match(r'(a*)*b', 'a' * _regex_size(length_s))


def culprit_pickle(length_s: float) -> None:
    pickle.dumps(_numbers(length_s))


def culprit_gc(length_s: float) -> None:
    gc.collect()


def small_callback() -> None:
    until = time.perf_counter() + 100e-6
    while time.perf_counter() < until:
        pass


_sizes: dict[tuple[str, float], int] = {}


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    # CPU time: on a machine that is busy the size would come out too small.
    begin = time.thread_time()
    call(*arguments)
    return time.thread_time() - begin


def _json_text(length_s: float) -> str:
    """Return a text that takes so long to parse on this machine, or somewhat longer."""
    key = ('json', length_s)
    if key not in _sizes:
        count = 100_000
        while True:
            text = _text(count)
            if min(_seconds(json.loads, text) for _ in range(3)) > length_s:
                break
            count = count * 5 // 4
        _sizes[key] = count
    return _text(_sizes[key])


_texts: dict[int, str] = {}


def _text(count: int) -> str:
    if count not in _texts:
        # Numbers only: of many containers the garbage collector would be the true culprit.
        _texts[count] = json.dumps([number / 7 for number in range(count)])
    return _texts[count]


_lists: dict[float, list[float]] = {}


def _numbers(length_s: float) -> list[float]:
    """Return so many numbers that pickling them takes so long."""
    if length_s not in _lists:
        count = 200_000
        while True:
            numbers = [number / 7 for number in range(count)]
            if min(_seconds(pickle.dumps, numbers) for _ in range(3)) > length_s:
                break
            count = count * 5 // 4
        _lists[length_s] = numbers
    return _lists[length_s]


def _regex_size(length_s: float) -> int:
    """Return how many letters keep the regex engine, and with it the GIL, busy for so long."""
    key = ('regex', length_s)
    if key not in _sizes:
        size = 18
        while True:
            if _seconds(re.match, r'(a*)*b', 'a' * size) > length_s:
                break
            size += 1
        _sizes[key] = size
    return _sizes[key]


def prepare(block: Callable[[float], None], length_s: float) -> None:
    """Find the sizes beforehand, or finding them would be the block."""
    block(length_s)


async def inject(
    block: Callable[[float], None], length_s: float, times: int, *, gap_s: float = 0.04
) -> list[Truth]:
    """Block the loop again and again, at times that have nothing to do with its ticks."""
    found = []
    for number in range(times):
        await asyncio.sleep(gap_s + 0.00137 * number)
        begin = time.perf_counter_ns()
        block(length_s)
        found.append(Truth(begin, time.perf_counter_ns()))
    # The last one ends with a tick like the others.
    await asyncio.sleep(0.03)
    return found


def matched(report: LoopReport, truths: list[Truth]) -> list[tuple[Truth, StallEvent]]:
    """Return each block that was found with the stall that covers most of it."""
    pairs = []
    for truth in truths:
        best, most = None, 0
        for stall in report.stalls:
            common = min(stall.end_ns, truth.end_ns) - max(stall.start_ns, truth.begin_ns)
            if common > most:
                best, most = stall, common
        if best is not None and most > 0.3 * (truth.end_ns - truth.begin_ns):
            pairs.append((truth, best))
    return pairs


def names(stall: StallEvent) -> list[str]:
    """Return the functions of the heaviest stack."""
    return [frame.function for frame in stall.stacks[0].frames] if stall.stacks else []


@contextmanager
def hog(hold: Callable[[], object], pause_s: float) -> Iterator[threading.Thread]:
    """Let another thread hold the GIL now and then."""
    stop = threading.Event()

    def hogging() -> None:
        while not stop.wait(pause_s):
            hold()

    thread = threading.Thread(target=hogging, name='hog')
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()

"""From what was seen during a stall to its length, its cause, and the stack that is to blame.

Nothing is guessed: a cause is named by the first rule that holds, and where none does it is
`unattributed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType

from streambench.loop_monitor.report import (
    NS_PER_S,
    Cause,
    Confidence,
    Frame,
    Method,
    StallEvent,
    ThreadStack,
    WeightedStack,
)
from streambench.loop_monitor.stacks import OtherThread, RawStack

MAX_STACKS = 5
_KEPT = 4096
# The longest that a sample's stack is believed to go on when no other one follows: the fast sampling
# interval of 2 ms, and twice the interpreter's switch interval, which is how long the watchdog may wait
# for the GIL.
_TAIL_NS = 12_000_000
_LONG_TAIL = 25
# A sample that the watchdog got so late was handed the GIL at the end of a call that held it.
_HELD_NS = 8_000_000
# Who computes in Python gives the GIL up every 5 ms: the watchdog waits longer for it only if a call
# into C holds it, or if several compute.
_LONG_NS = 7_000_000
# Shares of a stall above which something is its cause, or below which it is nearly nothing.
_HALF = 0.5
_LITTLE = 0.3


@dataclass(frozen=True, slots=True)
class Sample:
    """The loop's thread, seen once while its tick was late.

    Attributes:
        at_ns: When.
        busy_since: Earliest and latest begin of what the loop does, None if the loop doesn't tell.
        stack: What it had called; None while it waits.
        task: Name of its current task.
        coroutine: Qualified name of that task's coroutine.
        others: Other threads that had used CPU time.
    """

    at_ns: int
    busy_since: tuple[int, int] | None
    stack: RawStack | None
    task: str | None
    coroutine: str | None
    others: tuple[OtherThread, ...]


@dataclass(frozen=True, slots=True)
class LateTick:
    """A tick that came late, or hasn't come yet.

    Attributes:
        prev_ns: When the tick before ran.
        due_ns: When this one should have.
        now_ns: When it did.
        count: Ticks due until then.
        idle_ns: Time since prev_ns in which the loop waited, None if not known.
        cpu_ns: CPU time of the loop's thread since prev_ns.
        starved_ns: Time in which that thread was ready and no core was free, at most; None if unknown.
        usual_ns: Lateness of this loop's usual tick.
        pauses: Begin and end of garbage collections since prev_ns.
        others: Other threads that had used CPU time.
        unfinished: Whether it has not come yet.
    """

    prev_ns: int
    due_ns: int
    now_ns: int
    count: int
    idle_ns: int | None
    cpu_ns: int
    starved_ns: int | None
    usual_ns: int
    pauses: tuple[tuple[int, int], ...]
    others: tuple[OtherThread, ...]
    unfinished: bool


_frames: dict[tuple[CodeType, int], Frame] = {}
_stacks: dict[RawStack, tuple[Frame, ...]] = {}


def frames_of(stack: RawStack) -> tuple[Frame, ...]:
    """Return a stack as names, outermost first; equal ones are one object."""
    found = _stacks.get(stack)
    if found is None:
        if len(_stacks) > _KEPT or len(_frames) > _KEPT:
            _stacks.clear()
            _frames.clear()
        found = tuple(
            _frames.setdefault(
                (code, line), Frame(function=code.co_qualname, file=code.co_filename, line=line)
            )
            for code, line in zip(reversed(stack.codes), reversed(stack.lines), strict=True)
        )
        _stacks[stack] = found
    return found


def overlap_ns(spans: Sequence[tuple[int, int]], begin_ns: int, end_ns: int) -> int:
    """Return how much of an interval the spans cover, which don't overlap each other."""
    return sum(max(0, min(end, end_ns) - max(begin, begin_ns)) for begin, end in spans)


def extent(late: LateTick, samples: Sequence[Sample]) -> tuple[int, int, Method]:
    """Return when a stall began, the earliest that it can have, and how the begin is known.

    It began before its tick was due. It can't have begun before the tick before it ran, nor have lasted
    longer than the loop was busy since then.
    """
    earliest = late.prev_ns + (late.idle_ns or 0)
    earliest = min(max(earliest, late.prev_ns), late.due_ns)
    seen = [sample.busy_since for sample in samples if sample.busy_since is not None]
    # The loop may have gone round once more in between: the earliest of its iterations counts.
    low, high = min(seen, default=(0, 0))
    if not seen or low > late.due_ns:
        return (earliest + late.due_ns) // 2, earliest, 'bounds'
    if high <= late.prev_ns:
        # Still the iteration in which the tick before ran: it began to be late right after.
        return earliest, earliest, 'busy_start'
    high = min(high, late.due_ns)
    if low <= earliest:
        # All that the loop did since the last tick it did at one stretch: known to the microsecond.
        return min(earliest, high), earliest, 'busy_start'
    return (low + high) // 2, min(low, earliest), 'busy_start'


@dataclass(slots=True)
class _Weighed:
    weight_ns: int
    heaviest_ns: int
    stack: RawStack
    sample: Sample


def _weigh(samples: Sequence[Sample], start_ns: int, end_ns: int) -> list[tuple[Sample, int]]:
    """Return the samples with the time that each stands for: since the one before it."""
    found = []
    last = start_ns
    for sample in samples:
        found.append((sample, max(0, sample.at_ns - last)))
        last = max(last, sample.at_ns)
    # A long stall is sampled less often.
    if found and end_ns - last <= max(_TAIL_NS, (end_ns - start_ns) // _LONG_TAIL):
        sample, weight = found[-1]
        found[-1] = (sample, weight + end_ns - last)
    return found


def _merged(weighed: Sequence[tuple[Sample, int]]) -> list[_Weighed]:
    """Return the stacks of a working loop, equal paths together, heaviest first."""
    found: dict[tuple[CodeType, ...], _Weighed] = {}
    for sample, weight in weighed:
        if sample.stack is None:
            continue
        entry = found.setdefault(sample.stack.codes, _Weighed(0, -1, sample.stack, sample))
        entry.weight_ns += weight
        if weight > entry.heaviest_ns:
            entry.heaviest_ns, entry.stack, entry.sample = weight, sample.stack, sample
    return sorted(found.values(), key=lambda entry: -entry.weight_ns)


def _others(evidence: Sequence[tuple[OtherThread, ...]]) -> tuple[tuple[ThreadStack, ...], int]:
    """Return each other thread once with the sum of its CPU time, most first.

    Also the CPU time of the busiest of those that may have held the GIL, which one that was seen to run
    without it has not; that one stands first then.
    """
    total: dict[int, int] = {}
    heaviest: dict[int, OtherThread] = {}
    free: set[int] = set()
    for threads in evidence:
        for thread in threads:
            total[thread.ident] = total.get(thread.ident, 0) + thread.cpu_ns
            if thread.free:
                free.add(thread.ident)
            known = heaviest.get(thread.ident)
            if known is None or thread.cpu_ns > known.cpu_ns:
                heaviest[thread.ident] = thread
    order = sorted(total, key=lambda ident: (ident in free, -total[ident]))
    stacks = tuple(
        ThreadStack(
            thread=heaviest[ident].name,
            frames=frames_of(heaviest[ident].stack),
            cpu_s=total[ident] / NS_PER_S,
        )
        for ident in order[:MAX_STACKS]
    )
    return stacks, max((total[ident] for ident in order if ident not in free), default=0)


def _cause(
    *,
    duration: int,
    gc: int,
    cpu: int,
    starved: int | None,
    held: int,
    held_long: int,
    other: int,
    working: int,
    waiting: int,
) -> Cause:
    """Return the first cause that the evidence shows; all arguments in ns.

    Args:
        duration: Of the stall.
        gc: Of it, garbage collection.
        cpu: CPU time of the loop's thread.
        starved: Time in which that thread was ready and no core was free, at most; None if unknown.
        held: Time that the watchdog overslept: it waited for the GIL, or for a core.
        held_long: Of that, what was so long that a call into C must have held the GIL.
        other: CPU time of the busiest other thread that may have held the GIL.
        working: Weight of the samples in which the loop had called something.
        waiting: Weight of those in which it had not.
    """
    half, little = _HALF * duration, _LITTLE * duration
    if gc >= half:
        return 'gc'
    # The GIL is proven by three things at once: this thread hardly ran, another one did, and the
    # watchdog couldn't get it either. A frame of the loop may be that of a victim. On a machine that is
    # short of cores the thread that holds the GIL is itself kept from running for a part of the time.
    if cpu < other / 2:
        if waiting >= working and other >= little and held_long >= half:
            return 'gil'
        if other >= half and held_long >= (half if working > waiting else little):
            return 'gil'
    # Whoever stands there is a victim, too: it is the machine that didn't let it go on.
    if starved is not None and starved >= half:
        return 'cpu-starved'
    if starved is not None and cpu < min(little, other / 2) and held_long >= half and working > waiting:
        # It stands in a call of its own and doesn't compute, and nobody got the GIL; but whoever had it
        # may have waited for a core itself.
        return 'gil' if other >= little else 'unattributed'
    if working > waiting:
        return 'callback'
    # A loop that stands in a C callback without a frame looks as if it waited: where the kernel doesn't
    # tell who was kept waiting, only the watchdog's own delay says that there was no core to be had.
    if starved is None and cpu + gc + other < little and held >= half:
        return 'cpu-starved'
    return 'unattributed'


def stall(
    late: LateTick, samples: Sequence[Sample], oversleeps: Sequence[tuple[int, int]]
) -> StallEvent:
    """Return a stall with its length, cause and stacks.

    Args:
        late: The tick that ended it.
        samples: What the watchdog saw since the tick before, in order.
        oversleeps: Intervals in which the watchdog wanted to run and didn't.
    """
    start, earliest, method = extent(late, samples)
    samples = [sample for sample in samples if start < sample.at_ns <= late.now_ns]
    duration = late.now_ns - start
    weighed = _weigh(samples, start, late.now_ns)
    merged = _merged(weighed)
    working = sum(entry.weight_ns for entry in merged)
    others, suspect_ns = _others([*(sample.others for sample in samples), late.others])
    gc_ns = overlap_ns(late.pauses, start, late.now_ns)
    held = overlap_ns(oversleeps, start, late.now_ns)
    long = [(due, woke) for due, woke in oversleeps if woke - due >= _LONG_NS]
    starved = None if late.starved_ns is None else min(late.starved_ns, duration)
    cause = _cause(
        duration=duration,
        gc=gc_ns,
        cpu=late.cpu_ns,
        starved=starved,
        held=held,
        held_long=overlap_ns(long, start, late.now_ns),
        other=suspect_ns,
        working=working,
        waiting=sum(weight for _, weight in weighed) - working,
    )
    heaviest = merged[0].sample if merged else None
    return StallEvent(
        start_ns=start,
        end_ns=late.now_ns,
        duration_s=duration / NS_PER_S,
        low_s=max(0, late.now_ns - late.due_ns - late.usual_ns) / NS_PER_S,
        high_s=max(duration, late.now_ns - earliest) / NS_PER_S,
        method=method,
        missed_ticks=max(0, late.count - 1),
        cause=cause,
        cpu_s=min(late.cpu_ns, duration) / NS_PER_S,
        gc_s=gc_ns / NS_PER_S,
        starved_s=None if starved is None else starved / NS_PER_S,
        task=heaviest.task if heaviest else None,
        coroutine=heaviest.coroutine if heaviest else None,
        stacks=tuple(
            WeightedStack(
                frames=frames_of(entry.stack),
                weight_s=entry.weight_ns / NS_PER_S,
                task=entry.sample.task,
                coroutine=entry.sample.coroutine,
            )
            for entry in merged[:MAX_STACKS]
        ),
        other_threads=others,
        confidence=_confidence(samples, oversleeps, late),
        unfinished=late.unfinished,
    )


def _confidence(
    samples: Sequence[Sample], oversleeps: Sequence[tuple[int, int]], late: LateTick
) -> Confidence:
    if len(samples) == 1:
        at_ns = samples[0].at_ns
        held = any(due + _HELD_NS < woke <= at_ns <= woke + _HELD_NS for due, woke in oversleeps)
        return 'after_c_call' if held else 'in_flight'
    if samples:
        return 'in_flight'
    return 'late_tick' if late.others else 'none'

"""Who held the loop up, and for how much of the time: the stalls' time, shared out among their causes.

Only what was seen is charged to anybody: of a stall that a stack covers by half, the other half is
unattributed.
"""

from __future__ import annotations

import functools
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streambench.loop_monitor.report import Cause, Frame, LoopReport, StallEvent, WeightedStack

# A smaller share of a stall in which there was no core isn't charged to the machine.
_NOTABLE = 0.1
UNNAMED_TASK = re.compile(r'Task-\d+')


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """One row of the table.

    Attributes:
        total_s: Stall time that it stands for.
        count: Stalls in which it was seen.
        max_s: The most of one stall.
        cause: Why.
        tasks: Names of the asyncio tasks; coroutines' names for those that nobody named.
        thread: The other thread that is to blame, for cause `gil`.
        leaf: Where the thread stood.
        user: The first frame, from the leaf outwards, that is neither the standard library's nor an
            installed package's; None if there is none.
        share: Of all stall time.
    """

    total_s: float
    count: int
    max_s: float
    cause: Cause
    tasks: tuple[str, ...] = ()
    thread: str | None = None
    leaf: Frame | None = None
    user: Frame | None = None
    share: float


@functools.cache
def installed_places() -> tuple[str, ...]:
    """Return the directories of the standard library and of installed packages, longest first."""
    paths = sysconfig.get_paths()
    names = ('purelib', 'platlib', 'stdlib', 'platstdlib')
    found = {str(Path(paths[name])) for name in names if name in paths}
    found |= {str(Path(place).resolve()) for place in found}
    # This package watches, it isn't what is watched.
    found.add(str(Path(__file__).parent))
    return tuple(sorted(found, key=len, reverse=True))


@functools.lru_cache(maxsize=4096)
def is_user_file(file: str) -> bool:
    """Return whether a file is neither the standard library's nor an installed package's."""
    if file.startswith('<'):
        return False
    return not any(file.startswith(f'{place}/') for place in installed_places())


def user_frame(frames: Sequence[Frame]) -> Frame | None:
    """Return the first frame in user code, from the leaf outwards."""
    return next((frame for frame in reversed(frames) if is_user_file(frame.file)), None)


@dataclass(frozen=True, slots=True)
class Charge:
    """A part of one stall and who is charged with it."""

    time_s: float
    cause: Cause
    task: str | None = None
    thread: str | None = None
    frames: tuple[Frame, ...] = ()


def task_label(seen: StallEvent | WeightedStack) -> str | None:
    """Return a task's name, or its coroutine's if nobody gave it one."""
    if seen.task is None or (seen.coroutine and UNNAMED_TASK.fullmatch(seen.task)):
        return seen.coroutine
    return seen.task


def charges(stall: StallEvent) -> Iterator[Charge]:
    """Share out one stall; the parts are not more than all of it, and what is left is nobody's."""
    left = stall.duration_s
    if stall.cause == 'gc':
        part = min(left, stall.gc_s)
        frames = stall.stacks[0].frames if stall.stacks else ()
        yield Charge(part, 'gc', task_label(stall), frames=frames)
    elif stall.cause == 'gil' and stall.other_threads:
        other = stall.other_threads[0]
        part = left if other.cpu_s is None else min(left, other.cpu_s)
        yield Charge(part, 'gil', thread=other.thread, frames=other.frames)
    elif stall.cause == 'cpu-starved' and not (stall.starved_s and stall.stacks):
        yield Charge(left, 'cpu-starved')
    elif stall.cause in ('callback', 'cpu-starved'):
        own = 1.0
        if stall.starved_s is not None and stall.starved_s > _NOTABLE * left:
            # For that part of the time there was no core for whoever stood there.
            own -= min(1.0, stall.starved_s / left)
            yield Charge(left * (1 - own), 'cpu-starved')
            left *= own
        for stack in stall.stacks:
            part = min(left, stack.weight_s * own)
            left -= part
            if part > 0:
                yield Charge(part, 'callback', task_label(stack), frames=stack.frames)


@dataclass(slots=True)
class _Sum:
    total_s: float = 0.0
    count: int = 0
    max_s: float = 0.0
    heaviest_s: float = -1.0
    tasks: dict[str, None] = field(default_factory=dict)
    leaf: Frame | None = None
    user: Frame | None = None

    def add(self, charge: Charge) -> None:
        self.total_s += charge.time_s
        self.count += 1
        self.max_s = max(self.max_s, charge.time_s)
        if charge.task:
            self.tasks[charge.task] = None
        if charge.time_s > self.heaviest_s and charge.frames:
            # Parts that differ in lines only are one row, which shows the lines of the largest.
            self.heaviest_s = charge.time_s
            self.leaf, self.user = charge.frames[-1], user_frame(charge.frames)


def _place(frame: Frame | None) -> tuple[str, str] | None:
    return (frame.file, frame.function) if frame else None


def culprits(reports: Sequence[LoopReport]) -> tuple[Culprit, ...]:
    """Return who held the loops up, most time first; the last one is `unattributed`, if need be 0.

    Args:
        reports: Those of all loops of a program.
    """
    all_s = sum(report.stall_s for report in reports)
    sums: dict[object, _Sum] = {}
    threads: dict[object, str | None] = {}
    causes: dict[object, Cause] = {}
    unknown = sum(report.dropped_stalls for report in reports)
    for report in reports:
        for stall in report.stalls:
            parts = list(charges(stall))
            unknown += not parts
            for part in parts:
                leaf, user = (part.frames[-1], user_frame(part.frames)) if part.frames else (None, None)
                key = part.cause, part.thread, _place(leaf), _place(user)
                sums.setdefault(key, _Sum()).add(part)
                threads[key], causes[key] = part.thread, part.cause
    known = [
        Culprit(
            total_s=entry.total_s,
            count=entry.count,
            max_s=entry.max_s,
            cause=causes[key],
            tasks=tuple(entry.tasks),
            thread=threads[key],
            leaf=entry.leaf,
            user=entry.user,
            share=entry.total_s / all_s if all_s else 0.0,
        )
        for key, entry in sums.items()
    ]
    known.sort(key=lambda culprit: -culprit.total_s)
    rest_s = max(0.0, all_s - sum(culprit.total_s for culprit in known))
    longest_s = max(
        (
            stall.duration_s - sum(part.time_s for part in charges(stall))
            for report in reports
            for stall in report.stalls
        ),
        default=0.0,
    )
    nobody = Culprit(
        total_s=rest_s,
        count=unknown,
        max_s=max(0.0, longest_s),
        cause='unattributed',
        share=rest_s / all_s if all_s else 0.0,
    )
    return (*known, nobody)

"""Clocks of other hosts: how far one is off ours, and how sure that is.

A worker's clock can't be read from here, but each task bounds it twice: it started after it was
submitted and ended before its completion was known. All tasks of all workers that share a clock are
pooled. Where the bound that remains is wider than a stage, that stage can't be told from the offset,
and only the sum dispatch + return has a meaning, since the offset cancels out of it. Nothing negative
is clipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# Quartz is off by 100 ppm at worst and NTP slews by no more than 500 (Mills, RFC 5905): beyond it isn't
# drift.
QUARTZ_PPM = 100.0
MAX_DRIFT_PPM = 500.0
# The stages that cross hosts.
ACROSS = ('dispatch', 'return')
# A stamp is cut to whole nanoseconds, so each difference of two may be off by less than one.
RESOLUTION_NS = 1

# Submit, start, end, complete.
Reading = tuple[int | None, int | None, int | None, int | None]
Point = tuple[float, float]


def known_within_s(
    shift_bound_s: float | None, own_bound_s: float | None, elapsed_s: float | None
) -> float | None:
    """Return how far off the stages that cross hosts may be; None on one clock.

    The tasks of a run tell how a clock drifted in it. Without them, it was shifted once, by the offset
    that tasks before the run left, and may have drifted since.

    Args:
        shift_bound_s: How well the offset was known when the run began.
        own_bound_s: How well the run's own tasks and that offset tell it.
        elapsed_s: Length of the run.
    """
    if own_bound_s is not None or shift_bound_s is None:
        return own_bound_s
    return shift_bound_s + QUARTZ_PPM * 1e-6 * (elapsed_s or 0.0)


def inseparable_within_s(row: Mapping[str, Any]) -> float | None:
    """Return how well other clocks are known if dispatch and return of a run can't be told apart.

    None if they can; then each has a meaning of its own.

    Args:
        row: Columns of results.csv; absent ones are left out.
    """
    names = ('clock_shift_bound_s', 'clock_bound_s', 'makespan_s')
    bound = known_within_s(*(row.get(name) for name in names))
    medians = [abs(row.get(f'{stage}_p50_s') or 0.0) for stage in ACROSS]
    return bound if bound is not None and min(medians) <= bound else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A host's clock against ours: worker's instant - ours, as a line over the worker's instants.

    Attributes:
        n: Tasks behind it.
        same: Whether it is our own clock, so that offset and width are 0.
        feasible: Whether some line satisfies all bounds. If not, the clock was set or stepped during
            the run; the line is then the one that breaks the bounds least.
        origin_ns: Worker's instant from which `rate` counts.
        base_ns: Whole part of the offset.
        fraction_ns: Rest of the offset at the origin.
        rate: Drift, in ns per ns.
        span_ns: First start and last end on the worker's clock.
        corners: Corners of the feasible set: drift, and offset at the origin less `base_ns`.
    """

    n: int
    same: bool
    feasible: bool
    origin_ns: int
    base_ns: int
    fraction_ns: float
    rate: float
    span_ns: tuple[int, int]
    corners: tuple[Point, ...]

    @property
    def drift_ppm(self) -> float:
        """Drift of the worker's clock in parts per million."""
        return self.rate * 1e6

    def offset_ns(self, worker_ns: int) -> int:
        """Return by how much the worker's clock was ahead of ours at its own instant."""
        return self.base_ns + round(self.fraction_ns + self.rate * (worker_ns - self.origin_ns))

    def ours_ns(self, worker_ns: int) -> int:
        """Return an instant of the worker's clock on ours."""
        return worker_ns - self.offset_ns(worker_ns)

    def bounds_ns(self, worker_ns: int) -> tuple[int, int]:
        """Return the least and the greatest offset that the tasks allow at a worker's instant."""
        if self.same or not self.corners:
            offset = self.offset_ns(worker_ns)
            return offset, offset
        since = worker_ns - self.origin_ns
        offsets = [offset + rate * since for rate, offset in self.corners]
        return self.base_ns + math.floor(min(offsets)), self.base_ns + math.ceil(max(offsets))

    def width_ns(self, worker_ns: int) -> int | None:
        """Return how wide the bound is at a worker's instant; None if no offset is allowed."""
        if not self.feasible:
            return None
        low, high = self.bounds_ns(worker_ns)
        return high - low

    @property
    def widest_ns(self) -> int | None:
        """Width where it is greatest, which is at one end of the run; None if no offset is allowed.

        The width is the difference of a convex and a concave function of the instant, so convex.
        """
        widths = [self.width_ns(instant) for instant in self.span_ns]
        return None if None in widths else max(width for width in widths if width is not None)

    def separates(self, stage_ns: float) -> bool:
        """Return whether a dispatch or return of that length can be told from the offset.

        If not, only the sum of dispatch and return is meaningful.
        """
        widest = self.widest_ns
        return widest is not None and (self.same or widest < stage_ns)


SAME = Clock(
    n=0,
    same=True,
    feasible=True,
    origin_ns=0,
    base_ns=0,
    fraction_ns=0.0,
    rate=0.0,
    span_ns=(0, 0),
    corners=(),
)


def fit(readings: Iterable[Reading], *, max_drift_ppm: float = MAX_DRIFT_PPM) -> Clock | None:
    """Return the clock that the tasks of one host allow, or None without a task that came back.

    The offset g(x) = a + b x at the worker's instant x obeys g(start) <= start - submit and
    g(end) >= end - complete for every task: a line between two sets of points, a linear program in
    a and b (Duda, Harrus, Haddad and Bernard, Estimating global time in distributed systems, ICDCS
    1987; for drift alone Moon, Skelly and Towsley, Estimation and removal of clock skew from network
    delay measurements, INFOCOM 1999). Only the lower hull of the one set and the upper hull of the
    other bind it (Zhang, Liu and Xia, Clock synchronization algorithms for network measurements,
    INFOCOM 2002), found in O(n log n) by Andrew's monotone chain. For a given b the room for a is a
    concave, piecewise linear function of b whose breakpoints are the hulls' slopes: where it is
    greatest lies the line in the middle of the widest band between the sets, which is the estimate;
    where it isn't negative lies the feasible set, whose corners give the bounds at any instant.

    Args:
        readings: Submit and complete on our clock, start and end on the worker's; those with None
            are left out.
        max_drift_ppm: Greatest drift that is believed; bounds what few tasks leave open.
    """
    tasks = [
        (submit, start, end, complete)
        for submit, start, end, complete in readings
        if submit is not None and start is not None and end is not None and complete is not None
    ]
    if not tasks:
        return None
    first = min(start for _, start, _, _ in tasks)
    last = max(end for _, _, end, _ in tasks)
    origin = (first + last) // 2
    # Differences of whole numbers are taken before they become floats, so no digits are lost though
    # two clocks may be years apart.
    base = tasks[0][1] - tasks[0][0]
    above = _lower_hull(
        (float(start - origin), float(start - submit + RESOLUTION_NS - base))
        for submit, start, _, _ in tasks
    )
    below = _lower_hull(
        (float(end - origin), -float(end - complete - RESOLUTION_NS - base))
        for _, _, end, complete in tasks
    )
    limit = max_drift_ppm * 1e-6
    rates = sorted(
        {-limit, limit}
        | {rate for rate in _slopes(above) if abs(rate) < limit}
        | {-rate for rate in _slopes(below) if abs(rate) < limit}
    )
    # Least and greatest offset at the origin for each drift.
    highs = _support(above, rates)
    lows = [-value for value in reversed(_support(below, [-rate for rate in reversed(rates)]))]
    rooms = [high - low for high, low in zip(highs, lows, strict=True)]
    best = max(rooms)
    # The maximum may be an edge, up to rounding: the estimate is its middle.
    tops = [number for number, room in enumerate(rooms) if room >= best - RESOLUTION_NS]
    rate = _likeliest(rates[tops[0]], rates[tops[-1]])
    middle = (_support(above, [rate])[0] - _support(below, [-rate])[0]) / 2
    return Clock(
        n=len(tasks),
        same=False,
        feasible=best >= 0,
        origin_ns=origin,
        base_ns=base,
        fraction_ns=middle,
        rate=rate,
        span_ns=(first, last),
        corners=_corners(rates, lows, highs),
    )


def fit_hosts(
    readings: Iterable[tuple[str | None, int | None, int | None, int | None, int | None]],
    own_clock: str,
    *,
    max_drift_ppm: float = MAX_DRIFT_PPM,
) -> Mapping[str, Clock]:
    """Return the clock of each host, pooled over all of its workers.

    Args:
        readings: Clock domain of the worker (`worker_clock`), submit, start, end and complete.
        own_clock: Our own clock domain; what shares it needs no correction.
        max_drift_ppm: Greatest drift that is believed.
    """
    pools: dict[str, list[Reading]] = {}
    for domain, *instants in readings:
        if domain is not None:
            submit, start, end, complete = instants
            pools.setdefault(domain, []).append((submit, start, end, complete))
    found = {
        domain: SAME if domain == own_clock else fit(pool, max_drift_ppm=max_drift_ppm)
        for domain, pool in pools.items()
    }
    return {domain: clock for domain, clock in found.items() if clock is not None}


def _likeliest(least: float, greatest: float) -> float:
    """Return the middle of the drifts that the tasks allow, of those of a quartz if there are any.

    A queue that grows leaves one side open: it must not be taken for a clock that drifts.
    """
    quartz = QUARTZ_PPM * 1e-6
    if least <= quartz and greatest >= -quartz:
        least, greatest = max(least, -quartz), min(greatest, quartz)
    return (least + greatest) / 2


def _lower_hull(points: Iterable[Point]) -> list[Point]:
    """Return the lower convex hull from left to right (Andrew, Inf. Proc. Letters 9, 1979)."""
    hull: list[Point] = []
    for x, y in sorted(points):
        if hull and hull[-1][0] == x:
            # Of points at one instant the lowest comes first, and it alone binds.
            continue
        while len(hull) > 1:
            (x1, y1), (x2, y2) = hull[-2], hull[-1]
            if (y2 - y1) * (x - x1) < (y - y1) * (x2 - x1):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def _slopes(hull: Sequence[Point]) -> list[float]:
    return [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairwise(hull)]


def _support(hull: Sequence[Point], rates: Sequence[float]) -> list[float]:
    """Return for each rate, ascending, the greatest a with a + rate x <= y on the whole hull."""
    found = []
    number = 0
    for rate in rates:
        value = hull[number][1] - rate * hull[number][0]
        while number + 1 < len(hull):
            following = hull[number + 1][1] - rate * hull[number + 1][0]
            if following > value:
                break
            value = following
            number += 1
        found.append(value)
    return found


def _corners(
    rates: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> tuple[Point, ...]:
    """Return the corners of the set between two piecewise linear functions of the rate."""
    corners: list[Point] = []
    for number, rate in enumerate(rates):
        room = highs[number] - lows[number]
        if number:
            before = highs[number - 1] - lows[number - 1]
            if (room < 0) != (before < 0):
                # The room becomes 0 between two breakpoints: a corner where both functions meet.
                share = before / (before - room)
                at = rates[number - 1] + share * (rate - rates[number - 1])
                offset = highs[number - 1] + share * (highs[number] - highs[number - 1])
                corners.append((at, offset))
        if room >= 0:
            corners += [(rate, lows[number]), (rate, highs[number])]
    return tuple(corners)

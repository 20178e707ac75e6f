"""The main figures second by second, in 80 bytes each.

A tick belongs to the second in which it was due: the lag of a stall of ten seconds lies in those ten
seconds, not in the one in which the loop woke. What counts up all the time (idle, CPU, …) is read at
ticks only and interpolated to the full second.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from streambench.loop_monitor.report import NS_PER_S, Second

NONE = -1
_COLUMNS = 9
_ticks, _wakeups, _p50, _p99, _max, _idle, _cpu, _gc, _iterations = range(_COLUMNS)

# Idle, CPU and garbage collection in ns and iterations, cumulative; NONE where unknown.
Counters = tuple[int, int, int, int]


class SecondSeries:
    """Rows of full seconds, and the one that is not over.

    Args:
        start_ns: Begin of the first second.
        interval_ns: Time between ticks.
        counters: Cumulative counters at that time.
    """

    def __init__(self, *, start_ns: int, interval_ns: int, counters: Counters) -> None:
        self._start_ns = start_ns
        self._interval_ns = interval_ns
        self._rows = array('q')
        self._stalls: dict[int, tuple[int, int]] = {}
        self._runs: list[tuple[int, int]] = []
        self._wakeups = 0
        self._at_begin = counters
        self._known_ns, self._known_iterations = start_ns, counters[3]
        self.end_ns = start_ns + NS_PER_S

    def tick_within(self, lag_ns: int, count: int) -> None:
        """Account for ticks that are served, so late, before the end of the present second."""
        self._wakeups += 1
        self._runs.append((lag_ns, count))

    def tick(
        self, due_ns: int, now_ns: int, count: int, counters: Counters, prev_ns: int, before: Counters
    ) -> None:
        """Account for ticks that are served at `now_ns`, at or after the end of the present second.

        Args:
            due_ns: When the first of them was due.
            now_ns: When they are served.
            count: How many there are.
            counters: Cumulative counters at `now_ns`.
            prev_ns: When the tick before ran.
            before: Cumulative counters at that time; its iterations are not looked at.
        """
        self._wakeups += 1
        lag = now_ns - due_ns
        while True:
            inside = min(count, max(0, -((due_ns - self.end_ns) // self._interval_ns)))
            if inside:
                self._runs.append((lag, inside))
                count -= inside
                due_ns += inside * self._interval_ns
                lag -= inside * self._interval_ns
            if now_ns < self.end_ns:
                break
            at_ns = self.end_ns
            share = max(0.0, (at_ns - prev_ns) / max(1, now_ns - prev_ns))
            since = (at_ns - self._known_ns) / max(1, now_ns - self._known_ns)
            self._close(
                (
                    _between(before[0], counters[0], share),
                    _between(before[1], counters[1], share),
                    _between(before[2], counters[2], share),
                    _between(self._known_iterations, counters[3], since),
                )
            )
        self._known_ns, self._known_iterations = now_ns, counters[3]

    def _close(self, counters: Counters) -> None:
        self._rows.extend(self._row(counters))
        self._runs.clear()
        self._wakeups = 0
        self._at_begin = counters
        self.end_ns += NS_PER_S

    def _row(self, counters: Counters) -> Sequence[int]:
        differences = [
            NONE if now == NONE else now - before
            for before, now in zip(self._at_begin, counters, strict=True)
        ]
        return (
            sum(count for _, count in self._runs),
            self._wakeups,
            *_lags(self._runs, self._interval_ns),
            *differences,
        )

    def stall(self, begin_ns: int, end_ns: int) -> None:
        """Account for a stall in every second that it touches."""
        number = max(0, (begin_ns - self._start_ns) // NS_PER_S)
        began = 1
        while True:
            low = self._start_ns + number * NS_PER_S
            if low >= end_ns and not began:
                break
            count, total = self._stalls.get(number, (0, 0))
            inside = max(0, min(end_ns, low + NS_PER_S) - max(begin_ns, low))
            self._stalls[number] = (count + began, total + inside)
            began = 0
            number += 1

    def seconds(self, now_ns: int, counters: Counters) -> tuple[Second, ...]:
        """Return all full seconds and the present one."""
        rows = [self._rows[at : at + _COLUMNS] for at in range(0, len(self._rows), _COLUMNS)]
        full = len(rows)
        found = [self._second(number, row, NS_PER_S) for number, row in enumerate(rows)]
        begin_ns = self._start_ns + full * NS_PER_S
        if now_ns > begin_ns:
            found.append(self._second(full, self._row(counters), now_ns - begin_ns))
        return tuple(found)

    def _second(self, number: int, row: Sequence[int], length_ns: int) -> Second:
        stalls, stall_ns = self._stalls.get(number, (0, 0))

        def optional(column: int) -> float | None:
            return None if row[column] == NONE else row[column] / NS_PER_S

        idle = row[_idle]
        return Second(
            start_ns=self._start_ns + number * NS_PER_S,
            duration_s=length_ns / NS_PER_S,
            ticks=row[_ticks],
            wakeups=row[_wakeups],
            lag_p50_s=optional(_p50),
            lag_p99_s=optional(_p99),
            lag_max_s=optional(_max),
            stalls=stalls,
            stall_s=stall_ns / NS_PER_S,
            utilization=None if idle == NONE else min(1.0, max(0.0, 1 - idle / length_ns)),
            cpu_utilization=row[_cpu] / length_ns,
            gc_s=row[_gc] / NS_PER_S,
            iterations=None if row[_iterations] == NONE else row[_iterations],
        )


def _between(before: int, after: int, share: float) -> int:
    return NONE if after == NONE else before + round(share * (after - before))


def _lags(runs: Sequence[tuple[int, int]], step_ns: int) -> tuple[int, int, int]:
    """Return median, 99th percentile (nearest rank) and maximum of falling runs of lags.

    A run is its largest lag and how many ticks it has, each one interval less late than the one before.
    """
    total = sum(count for _, count in runs)
    if not total:
        return NONE, NONE, NONE
    middle, high = (total - 1) // 2, -(-99 * total // 100) - 1
    if len(runs) == 1:
        # A second within a stall: no need to write its ticks down.
        first = runs[0][0]
        return tuple(  # type: ignore[return-value]
            max(0, first - (total - 1 - rank) * step_ns) for rank in (middle, high, total - 1)
        )
    lags = sorted(max(0, first - number * step_ns) for first, count in runs for number in range(count))
    return lags[middle], lags[high], lags[-1]

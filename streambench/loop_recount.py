"""What the loop's seconds and its stalls say of a run, and where they contradict it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from streambench.clock import NS_PER_S
from streambench.difference import Difference
from streambench.loop_findings import LAG_PERCENTS, Joined, answer, join
from streambench.loop_monitor import Distribution

Row = Mapping[str, Any]

SECONDS_FILE = 'loop'
LAGS_FILE = 'lags'
STALLS_FILE = 'stalls'
# Instants are whole nanoseconds, durations are not.
SLACK_S = 1e-6


def loop_again(seconds: Sequence[Row], stalls: Sequence[Row]) -> dict[str, Any]:
    """Return the columns of results.csv that the loop's seconds and its stalls determine.

    Args:
        seconds: Seconds of one run; nothing follows without any.
        stalls: Its stalls.
    """
    wall_s = sum(second['duration_s'] for second in seconds)
    if not wall_s:
        return {}
    lags = [second['lag_max_s'] for second in seconds if second['lag_max_s'] is not None]
    number = sum(second['stalls'] for second in seconds)
    found: dict[str, Any] = {
        'loop_lag_n': sum(second['ticks'] for second in seconds),
        'loop_wakeups': sum(second['wakeups'] for second in seconds),
        'loop_lag_max_s': max(lags, default=None),
        'loop_stalls': number,
        'loop_cpu': _mean(seconds, 'cpu_utilization', wall_s),
    }
    iterations = [second['iterations'] for second in seconds]
    found['loop_iterations'] = None if None in iterations else sum(iterations)
    shares = [second['utilization'] for second in seconds]
    if None in shares:
        found['loop_utilization'] = found['loop_noncpu'] = None
    elif min(shares) > 0 and max(shares) < 1:
        # A second's share is held between 0 and 1, so one at an end of that may have lost something.
        busy = found['loop_utilization'] = _mean(seconds, 'utilization', wall_s)
        found['loop_noncpu'] = max(0.0, busy - found['loop_cpu'])
    if number == len(stalls):
        # Of very many stalls not all are kept.
        stall_s = found['loop_stall_s'] = sum((stall['duration_s'] for stall in stalls), 0.0)
        found['loop_stall_share'] = stall_s / wall_s
        found['loop_culprit'] = _culprit(stalls)
    return found


def lags_again(lags: Sequence[Row], *, max_s: float | None) -> dict[str, Any]:
    """Return the columns of results.csv that the histogram of the lag determines.

    Args:
        lags: Buckets of one run; nothing follows without any.
        max_s: Its largest lag.
    """
    if not lags or max_s is None:
        return {}
    buckets = sorted((lag['low_ns'], lag['high_ns'], lag['ticks']) for lag in lags)
    lag = Distribution(count=sum(ticks for _, _, ticks in buckets), max_s=max_s, buckets=tuple(buckets))
    return {f'loop_lag_{name}_s': lag.percentile(percent) for name, percent in LAG_PERCENTS.items()}


def lag_differences(run: int, seconds: Sequence[Row], lags: Sequence[Row]) -> Iterator[Difference]:
    """Yield where the histogram of the lag contradicts itself or the seconds.

    Args:
        run: Number of the run.
        seconds: Its seconds.
        lags: Its buckets.
    """
    due, counted = sum(second['ticks'] for second in seconds), sum(lag['ticks'] for lag in lags)
    if due != counted:
        yield _broken(LAGS_FILE, run, 'ticks', counted, due, SECONDS_FILE)
    edges = [edge for lag in lags for edge in (lag['low_ns'], lag['high_ns'])]
    for before, after in pairwise(edges):
        if after < before:
            yield _broken(LAGS_FILE, run, 'low_ns', after, before, 'their order')


def _mean(seconds: Sequence[Row], column: str, wall_s: float) -> float:
    whole: float = sum(second[column] * second['duration_s'] for second in seconds)
    return whole / wall_s


def _culprit(stalls: Sequence[Row]) -> str:
    if not stalls:
        return ''
    longest = max(stalls, key=lambda stall: stall['duration_s'])
    return f'{longest["cause"]}: {longest["culprit"]}' if longest['culprit'] else longest['cause']


def joined_again(
    parts: Sequence[Path], row: Row, stalls: Sequence[Row], *, since_ns: int | None = None
) -> tuple[dict[str, Any], Joined | None]:
    """Return the columns that items beside stalls determine, and how they lie beside each other.

    Args:
        parts: Parts of items.
        row: Figures of the run.
        stalls: Its stalls, all of them.
        since_ns: Items due from this instant on count; all if absent.
    """
    spans = [
        (stall['start_ns'], stall['start_ns'] + round(stall['duration_s'] * NS_PER_S))
        for stall in stalls
    ]
    joined = join(parts, row['run'], spans, p99_s=row.get('sojourn_p99_s'), since_ns=since_ns)
    found: dict[str, Any] = {'loop_answer': answer(row, joined), 'slow_in_stalls': None}
    if joined is not None and joined.slow:
        found['slow_in_stalls'] = joined.slow_in_stalls / joined.slow
    return found, joined


def loop_differences(
    run: int, seconds: Sequence[Row], stalls: Sequence[Row], joined: Joined | None
) -> Iterator[Difference]:
    """Yield where the loop's seconds and stalls contradict themselves or the items.

    Args:
        run: Number of the run.
        seconds: Its seconds.
        stalls: Its stalls.
        joined: Items beside those; None where that isn't known.
    """
    for before, after in pairwise(seconds):
        due = before['start_ns'] + NS_PER_S
        if after['start_ns'] != due:
            yield _broken(SECONDS_FILE, run, 'start_ns', after['start_ns'], due, 'one after the other')
    for number, second in enumerate(seconds):
        last = number == len(seconds) - 1
        if not (0 < second['duration_s'] <= 1 if last else second['duration_s'] == 1):
            yield _broken(SECONDS_FILE, run, 'duration_s', second['duration_s'], 1.0, 'a second')
        lags = [second[f'lag_{name}_s'] for name in ('p50', 'p99', 'max')]
        known = [lag for lag in lags if lag is not None]
        if known != sorted(known) or len(known) not in (0, len(lags)):
            yield _broken(SECONDS_FILE, run, 'lag_p99_s', lags, sorted(known), 'their order')
        if second['stall_s'] > second['duration_s'] + SLACK_S:
            most = second['duration_s']
            yield _broken(SECONDS_FILE, run, 'stall_s', second['stall_s'], most, 'duration_s')
    for number, stall in enumerate(stalls):
        if not stall['low_s'] <= stall['high_s']:
            yield _broken(STALLS_FILE, run, 'low_s', stall['low_s'], stall['high_s'], 'high_s')
        if joined is not None and stall['items'] != joined.under_way[number]:
            right = joined.under_way[number]
            yield _broken(STALLS_FILE, run, 'items', stall['items'], right, 'items')


def _broken(file: str, run: int, column: str, stored: Any, right: Any, source: str) -> Difference:
    return Difference(file=file, run=run, column=column, stored=stored, recomputed=right, source=source)

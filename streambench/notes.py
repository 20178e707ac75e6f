"""What every output must say beside the figures: how the load was made, what held it back, and why.

Each note is one line; a run about which there is nothing to say has none.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from streambench.clocks import ACROSS, known_within_s
from streambench.config import RECORD_NONE
from streambench.points import Axes
from streambench.records import RunRow
from streambench.side_by_side import side_by_side
from streambench.stages import CHAIN
from streambench.stations import too_short, window_gain
from streambench.verdict import culprit_words
from streambench.waiting import EXPLAINED_ITEMS
from streambench.wording import ms_text, seconds_text

# Less would be shown as 0.0.
SHOWN_PERCENT = 0.05


def median(rows: Sequence[RunRow], name: str) -> Any:
    """Return the median of a column over the runs that have it, or None."""
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    return statistics.median(values) if values else None


def notes_text(rows: Sequence[RunRow], axes: Axes | None = None) -> list[str]:
    """Return the notes on a plan's runs.

    Args:
        rows: The runs.
        axes: Values of axes that are no columns, by point.
    """
    notes = [*_bottleneck(rows), *waiting_notes(rows), *_loop(rows), *side_by_side(rows, axes or {})]
    notes += _clocks(rows)
    windows = [row for row in rows if row.warmup_s]
    if windows:
        inside, sent = sum(row.window_n for row in windows), sum(row.sent for row in windows)
        notes.append(
            f'window: {inside} of {sent} items, those due {windows[0].warmup_s:g} s after the first '
            'or later'
        )
    if any(row.record == RECORD_NONE for row in rows):
        notes.append(
            '--record none: no figures of items were kept, only counts and throughput, so that nothing '
            'says how late the generator was'
        )
    closed = [row for row in rows if row.closed_loop]
    if closed:
        notes.append(_closed(closed))
    if any(row.slots is not None for row in rows):
        notes.append(
            'runs with fewer workers than the executor has are held to them by a limit on tasks in '
            'flight'
        )
    stood = max((row.backpressure_s for row in rows), default=0.0)
    if stood > 0:
        notes.append(f'backpressure: the reader stood still for up to {seconds_text(stood)} in a run')
    return notes


def _unexplained(rows: Sequence[RunRow]) -> list[str]:
    """Return why the waiting of no run was held against theory, where it could have been."""
    if any(_bound_s([row]) is not None for row in rows):
        return ['waiting for a worker: not held against queueing theory, which needs one clock']
    if any(row.sent > EXPLAINED_ITEMS for row in rows):
        return [
            f'waiting for a worker: not held against queueing theory, which is done for up to '
            f'{EXPLAINED_ITEMS} items'
        ]
    return []


def _closed(rows: Sequence[RunRow]) -> str:
    """Return with how many credits closed loops were paced, and what more of them could add."""
    columns = [asdict(row) for row in rows]
    permits = ', '.join(map(str, sorted({row.max_outstanding or 0 for row in rows})))
    text = f'closed loop (rate max): {permits} credits'
    if any(map(too_short, columns)):
        return f'{text}, for too few items to tell a capacity'
    gains = [gain for row in columns if (gain := window_gain(row)) is not None]
    if not gains:
        return f'{text}; throughput may be limited by them'
    return f'{text}; more of them could add {max(gains) * 100:.2g} % to the throughput at most'


def _bottleneck(rows: Sequence[RunRow]) -> list[str]:
    """Return what limited the throughput, and in how many runs."""
    found = Counter(row.bottleneck for row in rows if row.bottleneck)
    if not found:
        return []
    if len(found) == 1:
        return [f'bottleneck: {next(iter(found))}']
    parts = [f'{name} ({number} of {len(rows)} runs)' for name, number in found.most_common()]
    return [f'bottleneck: {", ".join(parts)}']


def waiting_notes(rows: Sequence[RunRow]) -> list[str]:
    """Return how much of the waiting for a worker queueing theory explains, and of which items not.

    Args:
        rows: The runs.
    """
    explained = median(rows, 'waiting_explained_percent')
    unexplained = median(rows, 'waiting_unexplained_p50_s')
    if explained is None or unexplained is None:
        return _unexplained(rows)
    text = (
        f'waiting for a worker: {explained:.1f} % explained by queueing theory, '
        f'{ms_text(unexplained)} per item unexplained (medians)'
    )
    if explained < SHOWN_PERCENT:
        # No share of nothing can be explained: that is no failure of the theory.
        text = (
            'waiting for a worker: by queueing theory none has to at this load; handing an item over '
            f'took {ms_text(unexplained)} (medians)'
        )
    sticking = [row for row in rows if row.waiting_sticks_out]
    if sticking:
        worst = max(sticking, key=lambda row: len(row.waiting_sticks_out))
        items = worst.waiting_sticks_out.split()
        text += f'; most in run {worst.run + 1}: items {" ".join(items[:5])}'
        text += ' …' if len(items) > 5 else ''
    return [text]


def _loop(rows: Sequence[RunRow]) -> list[str]:
    """Return what our own loop cost the items, and what a generator elsewhere would save."""
    notes = []
    cost, whole = median(rows, 'loop_wait_p50_s'), median(rows, 'sojourn_p50_s')
    if cost is not None and whole:
        notes.append(
            f'loop wait: {ms_text(cost)} of {ms_text(whole, digits=3)} per item were spent waiting for '
            "streambench's own event loop (medians)"
        )
    lag = median(rows, 'loop_lag_p99_s')
    if lag is not None:
        stalls = sum(row.loop_stalls or 0 for row in rows)
        held = f'{stalls} stall' if stalls == 1 else f'{stalls} stalls'
        text = f'loop: lag p99 {ms_text(lag)} (median of runs), {held}'
        busy, cost = median(rows, 'loop_utilization'), median(rows, 'loop_profiler_cost')
        text += f', busy {busy:.0%}' if busy is not None else ''
        text += f'; watching it took {cost:.1%} of a core' if cost is not None else ''
        worst = max(rows, key=lambda row: row.loop_stall_s or 0.0)
        if stalls and worst.loop_culprit:
            text += f'; longest in run {worst.run + 1}, {culprit_words(worst.loop_culprit)}'
        notes.append(text)
    answers = [row for row in rows if row.loop_answer]
    if answers:
        # The worst tail is the one that people ask about.
        slowest = max(answers, key=_tail_s)
        notes.append(f'slow items, run {slowest.run + 1}: {slowest.loop_answer}')
    return notes


def _tail_s(row: RunRow) -> float:
    return median([row], 'sojourn_p99_s') or 0.0


def _bound_s(rows: Sequence[RunRow]) -> float | None:
    """Return how well other hosts' clocks are known in the worst run; None on one clock."""
    bounds = [
        bound
        for row in rows
        if (bound := known_within_s(row.clock_shift_bound_s, row.clock_bound_s, row.makespan_s))
        is not None
    ]
    return max(bounds, default=None)


def _clocks(rows: Sequence[RunRow]) -> list[str]:
    """Return what other hosts' clocks allow to be said of the stages that cross hosts."""
    bound = _bound_s(rows)
    if bound is None:
        return []
    text = f'clocks: those of other hosts are known to within {ms_text(bound)}'
    stages = [median(rows, f'{name}_p50_s') for name in ACROSS]
    known = [stage for stage in stages if stage is not None]
    if len(known) == len(ACROSS) and min(map(abs, known)) <= bound:
        text += (
            f'; dispatch and return can not be told apart, only their sum counts: '
            f'{ms_text(sum(known), digits=3)} (medians)'
        )
    return [text]


def across_hosts(rows: Sequence[RunRow]) -> bool:
    """Return whether only the sum of dispatch and return has a meaning around a quantile."""
    bound = _bound_s(rows)
    if bound is None:
        return False
    stages = [median(rows, f'{stage.name}_p50_s') for stage in CHAIN if stage.name in ACROSS]
    return any(stage is not None and abs(stage) <= bound for stage in stages)

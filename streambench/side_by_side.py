"""Runs of a plan that differ in one thing only: two event loops, or two places of the generator.

The control stands beside each ratio: one of the two against itself, its odd repetitions against the
even ones, which were made in the same blocks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from streambench.points import Axes, apart_in
from streambench.ranks import MIN_REPEATS, Ratio, ratio
from streambench.records import RunRow
from streambench.wording import ms_text

LOOP, GENERATOR = 'loop', 'generator'
# More would fill the screen; all runs stand in results.csv.
MOST_PLACES = 8
# What can change in a run whose schedule is kept, in one that is paced by credits, and in one whose
# latency says how long it was.
LATENCY, THROUGHPUT, MAKESPAN = 'sojourn_p50_s', 'throughput_per_s', 'makespan_s'


def side_by_side(rows: Sequence[RunRow], axes: Axes) -> list[str]:
    """Return a line for each two such points.

    Args:
        rows: The runs of a plan.
        axes: Values of axes that are no columns, by point.
    """
    ordered = sorted(rows, key=lambda row: (row.point, row.repeat))
    return [*_interference(ordered, axes), *_loops(ordered, axes)]


def _interference(rows: Sequence[RunRow], axes: Axes) -> list[str]:
    """Return what a generator on our loop costs, against one on a worker."""
    costs: dict[str, float] = {}
    for place, arms in apart_in(rows, axes, GENERATOR).items():
        here, there = (
            [
                row.sojourn_p50_s
                for row in arms.get(name, ())
                if row.sojourn_p50_s is not None and row.sojourn_growth_s is None
            ]
            for name in ('loop', 'worker')
        )
        if here and there:
            costs[place] = statistics.median(here) - statistics.median(there)
    if not costs:
        return []
    told = [f'{ms_text(cost, sign="+")} ({place})' for place, cost in list(costs.items())[:MOST_PLACES]]
    return [
        f'interference: {", ".join(told)} of the median sojourn with the generator on the loop, '
        'against one on a worker'
    ]


def _loops(rows: Sequence[RunRow], axes: Axes) -> list[str]:
    """Return how event loops compare, beside one of them against itself."""
    lines = []
    for place, arms in list(apart_in(rows, axes, LOOP).items())[:MOST_PLACES]:
        (first, ours), *others = sorted(arms.items())
        for name, theirs in others:
            metric = _metric([*ours, *theirs])
            a, b = _figures(ours, metric), _figures(theirs, metric)
            if not a or not b:
                continue
            control = ratio(a[::2], a[1::2]).value if len(a) > 1 else None
            beside = 'needs --repeat 2' if control is None else f'{control:.3f}'
            lines.append(
                f'loops: {name}/{first} {_ratio_text(ratio(a, b), min(len(a), len(b)))}, '
                f'{first}/{first} {beside} ({metric.removesuffix("_per_s").removesuffix("_s")} of '
                f'{place}, {len(b)} + {len(a)} runs)'
            )
    return lines


def _metric(rows: Sequence[RunRow]) -> str:
    """Return what can differ in runs of a point."""
    if any(row.closed_loop for row in rows):
        return THROUGHPUT
    grows = any(row.sojourn_growth_s is not None or row.sojourn_p50_s is None for row in rows)
    return MAKESPAN if grows else LATENCY


def _figures(rows: Sequence[RunRow], metric: str) -> list[float]:
    """Return a figure of each run, in the order of the repetitions."""
    found = [getattr(row, metric) for row in rows]
    return [value for value in found if value]


def _ratio_text(found: Ratio, repeats: int) -> str:
    if repeats < MIN_REPEATS or found.low is None or found.high is None:
        return f'{found.value:.3f} (an interval needs ≥ {MIN_REPEATS} repeats)'
    return f'{found.value:.3f} ({found.low:.3f}…{found.high:.3f})'

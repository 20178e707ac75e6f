"""Repeating until figures are narrow: when to stop, judged by the width of intervals and nothing else.

Whoever stopped when a comparison came out as hoped would find a difference in everything; the width of
an interval says nothing of where it lies. Before the sixth repetition there is none, since fewer runs
carry no 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from streambench.comparison import primary_metrics
from streambench.ranks import LEAST_REPEATS, centre
from streambench.records import RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """How well the main figure of a point is known.

    Attributes:
        point: Number of the point.
        metric: Its main figure, as `compare` judges it.
        share: Width of its 95 % interval as a share of it; None where n can't carry one.
    """

    point: int
    metric: str
    share: float | None


def widths(rows: Sequence[RunRow]) -> list[Width]:
    """Return how well each point is known.

    Args:
        rows: Runs of a plan.
    """
    points: dict[int, list[RunRow]] = {}
    for row in rows:
        points.setdefault(row.point, []).append(row)
    return [_width(point, runs) for point, runs in points.items()]


def _width(point: int, rows: Sequence[RunRow]) -> Width:
    order = primary_metrics(asdict(rows[0]))
    if any(row.sojourn_growth_s is not None for row in rows):
        # Where the load can't be carried, a latency describes how long the run was.
        order = tuple(name for name in order if not name.startswith('sojourn_'))
    metric = next((name for name in order if all(getattr(row, name) for row in rows)), order[0])
    values = [value for row in rows if (value := getattr(row, metric))]
    # A run that lacks the figure does so for a reason, so the others say nothing of the point.
    found = centre(values) if len(values) == len(rows) >= LEAST_REPEATS else None
    if found is None or found.low is None or found.high is None:
        return Width(point=point, metric=metric, share=None)
    return Width(point=point, metric=metric, share=(found.high - found.low) / found.value)


def narrow(rows: Sequence[RunRow], share: float, *, points: int) -> bool:
    """Return whether every point is known well enough, and all of them as often measured.

    Args:
        rows: Runs of a plan.
        share: Width that is enough.
        points: How many points the plan has.
    """
    found = widths(rows)
    return (
        len(found) == points
        and len(rows) % points == 0
        and all(width.share is not None and width.share <= share for width in found)
    )


def narrowing_text(rows: Sequence[RunRow], share: float, *, names: Mapping[int, str]) -> str:
    """Return how often was repeated and how wide the widest interval is.

    Args:
        rows: Runs of a plan.
        share: Width that was asked for.
        names: Names of the points.
    """
    found = widths(rows)
    repeats = 1 + max(row.repeat for row in rows)
    # One that has no interval is wider than all others.
    widest = max(found, key=lambda width: math.inf if width.share is None else width.share)
    place = f'{names[widest.point]} ({widest.metric})'
    text = f'repeated {repeats} times, 95 % intervals were to be no wider than {share:.1%}'
    if widest.share is None:
        return f'{text}: not reached, since {place} has none'
    missed = 'not reached, ' if widest.share > share else ''
    return f'{text}: {missed}the widest is {widest.share:.1%}, that of {place}'

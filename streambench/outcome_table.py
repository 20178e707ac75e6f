"""What became of a plan's thresholds, on the screen: equal outcomes in one line, others by point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from streambench.outcomes import outcomes
from streambench.plan import Plan
from streambench.records import RunRow
from streambench.tables import text_table
from streambench.thresholds import FAIL, INCONCLUSIVE, PASS, Outcome
from streambench.wording import seconds_text, size_text

MOST_POINTS = 8
DIGITS = 4
HEAD = ('threshold', 'outcome', 'where', 'value')

Held = tuple[RunRow, Outcome]


def outcome_lines(
    rows: Sequence[RunRow], plan: Plan | None, axes: Mapping[int, tuple[str, ...]]
) -> list[str]:
    """Return the table and an empty line, the missed ones of a threshold first; nothing without any.

    Args:
        rows: The runs.
        plan: Where they come from; has the thresholds.
        axes: Values of axes that are no columns, by point.
    """
    thresholds = plan.first.thresholds if plan is not None else ()
    found = [(row, outcomes(thresholds, asdict(row))) for row in rows]
    names = _names(rows, axes)
    lines: list[tuple[str, ...]] = []
    for number, threshold in enumerate(thresholds):
        text = threshold.text
        for grade in (FAIL, INCONCLUSIVE, PASS):
            held = [(row, each[number]) for row, each in found if each[number].grade == grade]
            for where, value in _grouped(held, rows, names) if held else ():
                lines.append((text, grade, where, value))
                text = ''
    return [text_table(HEAD, lines, left=[True] * len(HEAD)), ''] if lines else []


def _grouped(
    held: Sequence[Held], rows: Sequence[RunRow], names: Mapping[int, str]
) -> list[tuple[str, str]]:
    """Return where an outcome was and with which figures, equal ones together."""
    points: dict[int, list[Held]] = {}
    for row, outcome in held:
        points.setdefault(row.point, []).append((row, outcome))
    same = len({(outcome.value, outcome.reason) for _, outcome in held}) == 1
    if same or len(points) > MOST_POINTS:
        where = f'{len(held)} of {len(rows)} runs' if len(held) < len(rows) else _all(len(rows))
        return [(where, _figures([outcome for _, outcome in held]))]
    lines = []
    for point, some in points.items():
        runs = sum(row.point == point for row in rows)
        where = names[point]
        if len(some) < runs:
            where += f', {len(some)} of {runs} runs'
        lines.append((where, _figures([outcome for _, outcome in some])))
    return lines


def _all(runs: int) -> str:
    return 'the run' if runs == 1 else f'all {runs} runs'


def _figures(held: Sequence[Outcome]) -> str:
    """Return the figure of one run, or from the least to the largest, with the reasons."""
    known = sorted(
        (outcome for outcome in held if outcome.value is not None),
        key=lambda outcome: outcome.value or 0,
    )
    ends = dict.fromkeys(outcome.bare(DIGITS) for outcome in (known[0], known[-1])) if known else ()
    parts = [known[0].figure(DIGITS) if len(known) == 1 else ' to '.join(ends)] if known else []
    return ' · '.join([*parts, *dict.fromkeys(outcome.reason for outcome in held if outcome.reason)])


def _names(rows: Sequence[RunRow], axes: Mapping[int, tuple[str, ...]]) -> dict[int, str]:
    """Return a name for each point, made of what tells the points apart."""
    described = {row.point: _parts(row) | {'axes': ' '.join(axes.get(row.point, ()))} for row in rows}
    varying = [
        name
        for name in next(iter(described.values()), {})
        # Without a proxy there is no store; that says nothing more than the method does.
        if len({parts[name] for parts in described.values()} - {''}) > 1
    ]
    return {
        point: ' '.join(filter(None, (parts[name] for name in varying))) or _all(len(rows))
        for point, parts in described.items()
    }


def _parts(row: RunRow) -> dict[str, Any]:
    pace = 'rate max'
    if row.load:
        pace = f'at load {row.load:.3g}'
    elif row.offered_rate_per_s is not None:
        pace = f'at {row.offered_rate_per_s:.4g} items/s'
    return {
        'method': row.method,
        'size': size_text(row.data_size_bytes),
        'workers': f'{row.workers} workers',
        'items': f'{row.task_count} items',
        'sleep': f'sleep {seconds_text(row.task_sleep)}',
        'pace': pace,
        'executor': row.executor_plugin,
        'broker': row.stream,
        'store': row.connector_plugin,
        'loop': row.loop,
    }

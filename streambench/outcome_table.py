"""What became of a plan's thresholds, on the screen: equal outcomes in one line, others by point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from streambench.outcomes import outcomes
from streambench.plan import Plan
from streambench.points import Axes, telling
from streambench.records import RunRow
from streambench.tables import TABLE, Column, render
from streambench.thresholds import FAIL, INCONCLUSIVE, PASS, Outcome

MOST_POINTS = 8
DIGITS = 4
HEAD = ('threshold', 'outcome', 'where', 'value')

Held = tuple[RunRow, Outcome]


def outcome_cells(rows: Sequence[RunRow], plan: Plan | None, axes: Axes) -> list[tuple[str, ...]]:
    """Return the cells of the table, the missed ones of a threshold first.

    Args:
        rows: The runs.
        plan: Where they come from; has the thresholds.
        axes: Values of axes that are no columns, by point.
    """
    thresholds = plan.first.thresholds if plan is not None else ()
    found = [(row, outcomes(thresholds, asdict(row))) for row in rows]
    names = {point: ' '.join(words) or _all(len(rows)) for point, words in telling(rows, axes).items()}
    lines: list[tuple[str, ...]] = []
    for number, threshold in enumerate(thresholds):
        for grade in (FAIL, INCONCLUSIVE, PASS):
            held = [(row, each[number]) for row, each in found if each[number].grade == grade]
            for where, value in _grouped(held, rows, names) if held else ():
                lines.append((threshold.text, grade, where, value))
    return lines


def outcome_lines(
    rows: Sequence[RunRow], plan: Plan | None, axes: Axes, *, form: str = TABLE
) -> list[str]:
    """Return the table and an empty line; nothing without thresholds.

    Args:
        rows: The runs.
        plan: Where they come from; has the thresholds.
        axes: Values of axes that are no columns, by point.
        form: One of `tables.FORMATS`.
    """
    lines = []
    before = ''
    for text, *cells in outcome_cells(rows, plan, axes):
        lines.append(('' if text == before else text, *cells))
        before = text
    columns = [Column(name=name, head=name, left=True) for name in HEAD]
    return [render(columns, lines, form=form), ''] if lines else []


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

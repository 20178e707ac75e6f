"""What a person sees: the plan before, one line that moves while it runs, tables and verdict after.

Figures are rounded here and nowhere below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streambench.config import RECORD_NONE
from streambench.node_hours import node_hours
from streambench.notes import median, notes_text
from streambench.outcome_table import outcome_lines
from streambench.plan import Plan
from streambench.plan_table import axis_texts, plan_table, swept
from streambench.records import RunRow
from streambench.tables import TABLE, text_table
from streambench.verdict import CAUTION, INVALID, VALID
from streambench.waterfall import savings, waterfall
from streambench.wording import about_text, seconds_text, size_text, workers_text

MOST_POINTS = 8
NUMBER = re.compile(r'\d+(?:\.\d+)?')


def runs_text(plan: Plan) -> str:
    """Return how many runs there are and how long they should take."""
    expected = plan.expected_s
    time_text = 'as fast as it can' if expected is None else about_text(expected)
    return f'{_counted(len(plan.runs), "run")}, {time_text}, on {_servers_text(plan)}'


def _counted(number: int, thing: str) -> str:
    return f'{number} {thing}' if number == 1 else f'{number} {thing}s'


def _servers_text(plan: Plan) -> str:
    """Return brokers and executors of a plan, each once."""
    brokers = [
        f'embedded {config.stream}' if config.broker_plugin.needs_redis_server else config.stream
        for config in (run.config for run in plan.runs)
    ]
    executors = [
        f'{config.executor} {config.executor_plugin.detail}'.strip()
        for config in (run.config for run in plan.runs)
    ]
    return f'{", ".join(dict.fromkeys(brokers))} → {", ".join(dict.fromkeys(executors))}'


def plan_text(plan: Plan, *, form: str = TABLE) -> str:
    """Return the resolved plan, for `--dry-run`, in one of the forms of `--format`."""
    sessions = len(plan.sessions())
    workers = dict.fromkeys(workers_text(run) for run in plan.runs)
    head = (
        f'{_counted(len(plan.runs), "run")} in {_counted(sessions, "session")}, seed {plan.seed}: '
        f'{_servers_text(plan)}, {"; ".join(workers)}'
    )
    expected = plan.expected_s
    time_text = (
        'expected time: unknown, since a closed loop runs as fast as it can'
        if expected is None
        else f'expected time: {about_text(expected)} with starts and warm-ups'
    )
    cost = node_hours(plan)
    if form != TABLE:
        return plan_table(plan, form=form, notes=[head, *cost, time_text])
    return '\n'.join([head, '', plan_table(plan, form=form), '', *cost, time_text])


def _latency(rows: Sequence[RunRow]) -> tuple[str, str]:
    """Return median and p95 of the sojourn, or how it grows where percentiles mean nothing."""
    growth = median(rows, 'sojourn_growth_s')
    if growth is not None:
        return f'grows {growth * 1e3:.2g} ms per item', '–'
    middle, tail = median(rows, 'sojourn_p50_s'), median(rows, 'sojourn_p95_s')
    if middle is None:
        return 'not kept' if rows[0].record == RECORD_NONE else 'too few items', '–'
    low, high = median(rows, 'sojourn_p50_low_s'), median(rows, 'sojourn_p50_high_s')
    n = min(row.sojourn_n for row in rows)
    text = f'{middle * 1e3:.1f} ms ±{(high - low) / 2e-3:.1f}'
    return text, f'n={n} too few' if tail is None else f'{tail * 1e3:.1f} ms (n={n})'


def _point_key(row: RunRow) -> tuple[Any, ...]:
    return (row.point,)


def _merged(
    rows: Sequence[RunRow], axes: Mapping[int, tuple[str, ...]]
) -> list[tuple[list[RunRow], list[RunRow]]]:
    """Return pairs (for efficiency, for latency) of the runs that make one line of the table.

    Latency at load 1 describes the length of the run, so where a point was measured at two loads
    its efficiency is that of the higher and its latency that of the lower.
    """
    groups: dict[tuple[Any, ...], list[RunRow]] = {}
    for row in rows:
        groups.setdefault(_point_key(row), []).append(row)
    lines: dict[tuple[Any, ...], list[list[RunRow]]] = {}
    for group in groups.values():
        row = group[0]
        place = (
            row.method,
            row.data_size_bytes,
            row.workers,
            row.task_sleep,
            row.task_count,
            row.stream,
            row.executor_plugin,
            row.connector_plugin,
            row.closed_loop,
            axes.get(row.point, ()),
            (row.arrival, row.trace_speed, row.data_size_dist),
        )
        lines.setdefault(place, []).append(group)
    loads = sorted({row.load for row in rows if row.load is not None})
    if len(loads) == 2 and all(len(line) == 2 for line in lines.values()):
        return [
            (
                max(line, key=lambda group: group[0].load or 0),
                min(line, key=lambda group: group[0].load or 0),
            )
            for line in lines.values()
        ]
    return [(group, group) for group in groups.values()]


def _axes_of(plan: Plan | None) -> dict[int, tuple[str, ...]]:
    """Return the values of the plan's further axes, by point."""
    if plan is None:
        return {}
    names = swept(plan)
    return {run.point: axis_texts(run.config, names) for run in plan.runs}


def results_text(rows: Sequence[RunRow], plan: Plan | None = None) -> str:
    """Return the table of results: a line per point, medians over repetitions.

    Args:
        rows: The runs.
        plan: Where they come from, for axes that are no columns of theirs.
    """
    names = swept(plan) if plan is not None else ()
    axes = _axes_of(plan)
    pairs = _merged(rows, axes)
    merged = any(high is not low for high, low in pairs)
    workers = len({row.workers for row in rows}) > 1
    loads = not merged and len({row.load for row in rows}) > 1
    lines = []
    for high, low in pairs:
        row = high[0]
        both = [*high, *low] if high is not low else high
        done = sum(entry.completed_tasks for entry in both)
        lost = sum(entry.lost for entry in both)
        efficiency = median(high, 'efficiency')
        throughput, rate = median(high, 'throughput_per_s'), median(high, 'bytes_per_s')
        lines.append(
            (
                row.method,
                *axes.get(row.point, ()),
                size_text(row.data_size_bytes),
                *([str(row.workers)] if workers else []),
                *(['–' if row.load is None else f'{row.load:.3g}'] if loads else []),
                str(sum(entry.task_count for entry in both)),
                f'{done} / {lost}',
                '–' if efficiency is None else f'{efficiency:.3f}',
                seconds_text(median(high, 'makespan_s')),
                '–' if throughput is None else f'{throughput:.4g}',
                '–' if rate is None else f'{rate / 1e6:.3g}',
                *_latency(low),
            )
        )
    head = (
        'method',
        *names,
        'size',
        *(['workers'] if workers else []),
        *(['load'] if loads else []),
        'items',
        'done / lost',
        'efficiency',
        'makespan',
        'items/s',
        'MB/s',
        'sojourn p50',
        'p95',
    )
    text = text_table(head, lines)
    if merged:
        upper, lower = pairs[0][0][0].load or 0, pairs[0][1][0].load or 0
        text += (
            f'\n(efficiency, makespan, items/s and MB/s at load {upper:.3g}; sojourn at load '
            f'{lower:.3g})'
        )
    return text


def verdict_text(rows: Sequence[RunRow]) -> str:
    """Return the verdict on all runs in a line, and the reasons against it."""
    if all(row.verdict == VALID for row in rows):
        lateness = [row.publish_delay_p50_s for row in rows if row.publish_delay_p50_s is not None]
        late = f'generator ≤ {max(lateness) * 1e3:.2g} ms late (median) · ' if lateness else ''
        proven = min((row.workers_proven or 0 for row in rows), default=0)
        return f'valid · every item seen once · {late}all {proven} workers proven'
    grade = INVALID if any(row.verdict == INVALID for row in rows) else CAUTION
    # Runs with the same reasons make one line, though each has its own figures: those of the first.
    alike: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.reasons:
            alike.setdefault(NUMBER.sub('#', row.reasons), []).append(row)
    lines = []
    for same in alike.values():
        runs = ', '.join(str(row.run + 1) for row in same)
        differ = len({row.reasons for row in same}) > 1
        first = f' (figures of run {same[0].run + 1})' if differ else ''
        lines.append(f'  run {runs}: {same[0].reasons}{first}')
    return '\n'.join([grade, *lines])


def _where(rows: Sequence[RunRow], plan: Plan | None) -> list[str]:
    """Return where the sojourns went, for as many points as a screen holds."""
    points = [low for _, low in _merged(rows, _axes_of(plan))]
    if len(points) > MOST_POINTS:
        return []
    head, lines = waterfall(points)
    if not lines:
        return []
    return [text_table(head, lines), *savings(points), '']


def screen(
    rows: Sequence[RunRow],
    *,
    head: str,
    directory: str,
    again: str,
    say: Callable[[str], None],
    plan: Plan | None = None,
) -> None:
    """Say the results: table, verdict, where the files are, and how to repeat.

    Args:
        rows: The runs.
        head: What was measured with.
        directory: The run directory.
        again: Command that repeats the plan.
        say: Takes each line.
        plan: Where the runs come from, for axes that are no columns of theirs.
    """
    say(head)
    say('')
    if rows:
        say(results_text(rows, plan))
        say('')
        for line in (*_where(rows, plan), *outcome_lines(rows, plan, _axes_of(plan))):
            say(line)
        for note in notes_text(rows):
            say(note)
        say(verdict_text(rows))
    else:
        say('no run was finished')
    say(f'results: {directory}        again: {again}')

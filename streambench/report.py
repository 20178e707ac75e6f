"""What a person sees: the plan before, one line that moves while it runs, tables and verdict after.

Figures are rounded here and nowhere below.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from streambench.config import Config
from streambench.node_hours import node_hours
from streambench.plan import Plan
from streambench.records import RunRow
from streambench.settings import plan_values
from streambench.tables import text_table
from streambench.verdict import CAUTION, INVALID, VALID
from streambench.waterfall import savings, waterfall
from streambench.wording import seconds_text, size_text, workers_text

MOST_POINTS = 8


def runs_text(plan: Plan) -> str:
    """Return how many runs there are and how long they should take."""
    expected = plan.expected_s
    time_text = 'as fast as it can' if expected is None else f'about {expected:.0f} s'
    return f'{_counted(len(plan.runs), "run")}, {time_text}, on {_servers_text(plan)}'


def _counted(number: int, thing: str) -> str:
    return f'{number} {thing}' if number == 1 else f'{number} {thing}s'


# Options that have a column of their own in the tables below.
SHOWN = {
    *('stream_method', 'data_size_bytes', 'workers', 'task_count', 'task_sleep', 'load', 'rate'),
    *('max_outstanding', 'max_in_flight'),
}


def swept(plan: Plan) -> tuple[str, ...]:
    """Return the axes of a plan that have no column of their own."""
    return tuple(name for name in plan.values.get('sweep', {}) if name not in SHOWN)


def axis_texts(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """Return a point's values of some options; a dash where its plugins don't have one."""
    values = plan_values(config)
    return tuple(_value_text(values.get(name)) for name in names)


def _value_text(value: Any) -> str:
    if value is None:
        return '–'
    if isinstance(value, tuple):
        return ' '.join(f'{key}={item}' for key, item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


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


def plan_text(plan: Plan) -> str:
    """Return the resolved plan, for `--dry-run`."""
    names = swept(plan)
    rows = []
    for run in plan.runs:
        config = run.config
        rows.append(
            (
                str(run.run + 1),
                config.stream_method,
                *axis_texts(config, names),
                size_text(config.data_size_bytes),
                str(config.workers),
                str(config.task_count),
                seconds_text(config.task_sleep) if config.task_sleep else '0',
                'max' if config.rate_per_s is None else f'{config.rate_per_s:.4g}',
                '–' if config.offered_load is None else f'{config.offered_load:.3g}',
                str(run.max_outstanding or '–'),
                str(run.max_in_flight),
                '?' if run.expected_s is None else f'{run.expected_s:.1f}',
            )
        )
    head = (
        'run',
        'method',
        *names,
        'size',
        'workers',
        'items',
        'sleep',
        'items/s',
        'load',
        'credits',
        'in flight',
        'seconds',
    )
    sessions = len(plan.sessions())
    workers = dict.fromkeys(workers_text(run) for run in plan.runs)
    lines = [
        f'{_counted(len(plan.runs), "run")} in {_counted(sessions, "session")}, seed {plan.seed}: '
        f'{_servers_text(plan)}, {"; ".join(workers)}',
        '',
        text_table(head, rows),
        '',
    ]
    expected = plan.expected_s
    lines += node_hours(plan)
    lines.append(
        'expected time: unknown, since a closed loop runs as fast as it can'
        if expected is None
        else f'expected time: about {expected:.0f} s with starts and warm-ups'
    )
    return '\n'.join(lines)


def _median(rows: Sequence[RunRow], name: str) -> Any:
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    return statistics.median(values) if values else None


def _latency(rows: Sequence[RunRow]) -> tuple[str, str]:
    """Return median and p95 of the sojourn, or how it grows where percentiles mean nothing."""
    growth = _median(rows, 'sojourn_growth_s')
    if growth is not None:
        return f'grows {growth * 1e3:.2g} ms per item', '–'
    median, tail = _median(rows, 'sojourn_p50_s'), _median(rows, 'sojourn_p95_s')
    if median is None:
        return 'too few items', '–'
    low, high = _median(rows, 'sojourn_p50_low_s'), _median(rows, 'sojourn_p50_high_s')
    n = min(row.sojourn_n for row in rows)
    text = f'{median * 1e3:.1f} ms ±{(high - low) / 2e-3:.1f}'
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
        efficiency = _median(high, 'efficiency')
        throughput, rate = _median(high, 'throughput_per_s'), _median(high, 'bytes_per_s')
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
                seconds_text(_median(high, 'makespan_s')),
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
        late = max((row.publish_delay_p50_s or 0.0 for row in rows), default=0.0)
        proven = min((row.workers_proven or 0 for row in rows), default=0)
        return (
            f'valid · every item seen once · generator ≤ {late * 1e3:.2g} ms late (median) · '
            f'all {proven} workers proven'
        )
    grade = INVALID if any(row.verdict == INVALID for row in rows) else CAUTION
    reasons: dict[str, list[int]] = {}
    for row in rows:
        if row.reasons:
            reasons.setdefault(row.reasons, []).append(row.run + 1)
    lines = [f'  run {", ".join(map(str, runs))}: {reason}' for reason, runs in reasons.items()]
    return '\n'.join([grade, *lines])


def notes_text(rows: Sequence[RunRow]) -> list[str]:
    """Return what every output must say: how the load was made, and what theory says of it."""
    notes = []
    explained = _median(rows, 'waiting_explained_percent')
    unexplained = _median(rows, 'waiting_unexplained_p50_s')
    if explained is not None and unexplained is not None:
        notes.append(
            f'waiting for a worker: {explained:.1f} % explained by queueing theory, '
            f'{unexplained * 1e3:.2g} ms per item unexplained (medians)'
        )
    closed = [row for row in rows if row.closed_loop]
    if closed:
        permits = ', '.join(sorted({str(row.max_outstanding) for row in closed}))
        notes.append(f'closed loop (rate max): {permits} credits; throughput may be limited by them')
    if any(row.slots is not None for row in rows):
        notes.append(
            'runs with fewer workers than the executor has are held to them by a limit on tasks in '
            'flight'
        )
    return notes


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
        for line in _where(rows, plan):
            say(line)
        for note in notes_text(rows):
            say(note)
        say(verdict_text(rows))
    else:
        say('no run was finished')
    say(f'results: {directory}        again: {again}')

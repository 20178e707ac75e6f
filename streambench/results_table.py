"""The table of results: a line for each point, medians over its repetitions.

For eyes two loads of a point are one line; for programs every point has a row of its own, with raw
values and the stages around the median and the p99.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streambench.config import RECORD_NONE
from streambench.notes import median
from streambench.plan import Plan
from streambench.plan_table import axis_texts, swept
from streambench.points import NAMED, Axes
from streambench.records import RunRow
from streambench.stages import AROUND, CHAIN
from streambench.tables import CSV, JSON, TABLE, Cell, Column, figure, render
from streambench.verdict import GRADES
from streambench.wording import ms_text, seconds_text, size_text

# What programs get as well, and how: medians, or sums of counts.
MEDIANS = (
    *('ideal_makespan_s', 'sojourn_p50_low_s', 'sojourn_p50_high_s', 'sojourn_p95_low_s'),
    *('sojourn_p95_high_s', 'sojourn_p99_s', 'sojourn_p99_low_s', 'sojourn_p99_high_s'),
    *('sojourn_growth_s', 'loop_wait_p50_s', 'waiting_explained_percent', 'waiting_unexplained_p50_s'),
    *(f'{stage.name}_at_{quantile}_s' for quantile in AROUND for stage in CHAIN),
)
COUNTS = (
    *('sent', 'publish_failed', 'received', 'completed_tasks', 'failed', 'lost', 'unfinished'),
    *('duplicated', 'reordered', 'corrupt', 'foreign'),
)

# Axes that have a column of their own.
SHOWN = ('stream_method', 'data_size_bytes', 'workers', 'load')

Pair = tuple[list[RunRow], list[RunRow]]


def axes_of(plan: Plan | None) -> dict[int, tuple[str, ...]]:
    """Return the values of the plan's further axes, by point."""
    if plan is None:
        return {}
    names = swept(plan, shown=SHOWN)
    return {run.point: axis_texts(run.config, names) for run in plan.runs}


def words_of(plan: Plan | None) -> dict[int, tuple[str, ...]]:
    """Return what must be said of each point of a plan that no words of their own say."""
    if plan is None:
        return {}
    names = swept(plan, shown=NAMED)
    return {
        run.point: tuple(
            f'{name} {text}' for name, text in zip(names, axis_texts(run.config, names), strict=True)
        )
        for run in plan.runs
    }


def merged(rows: Sequence[RunRow], axes: Axes) -> list[Pair]:
    """Return pairs (for efficiency, for latency) of the runs that make one line of the table.

    Latency at load 1 describes the length of the run, so where a point was measured at two loads
    its efficiency is that of the higher and its latency that of the lower.

    Args:
        rows: The runs.
        axes: Values of axes that are no columns, by point.
    """
    groups: dict[int, list[RunRow]] = {}
    # Repetitions were made in an order of their own each.
    for row in sorted(rows, key=lambda row: row.point):
        groups.setdefault(row.point, []).append(row)
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


def _latency(rows: Sequence[RunRow]) -> tuple[str, str]:
    """Return median and p95 of the sojourn, or how it grows where percentiles mean nothing."""
    growth = median(rows, 'sojourn_growth_s')
    if growth is not None:
        return f'grows by {ms_text(growth)} per item', '–'
    middle, tail = median(rows, 'sojourn_p50_s'), median(rows, 'sojourn_p95_s')
    n = min(row.sojourn_n for row in rows)
    if middle is None:
        return 'not kept' if rows[0].record == RECORD_NONE else f'n={n} too few', '–'
    low, high = median(rows, 'sojourn_p50_low_s'), median(rows, 'sojourn_p50_high_s')
    text = f'{middle * 1e3:.1f} ms ±{(high - low) / 2e-3:.1f}'
    return text, f'n={n} too few' if tail is None else f'{tail * 1e3:.1f} ms (n={n})'


def results_text(
    rows: Sequence[RunRow],
    plan: Plan | None = None,
    *,
    form: str = TABLE,
    notes: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """Return the table of results.

    Args:
        rows: The runs.
        plan: Where they come from, for axes that are no columns of theirs.
        form: One of `tables.FORMATS`.
        notes: Sentences that belong to it, where it has a place for them.
        width: Letters in a line of whoever reads it.
    """
    names = swept(plan, shown=SHOWN) if plan is not None else ()
    axes = axes_of(plan)
    pairs = merged(rows, axes)
    if form in (JSON, CSV):
        pairs = [(group, group) for pair in pairs for group in _unique(pair)]
    apart = any(high is not low for high, low in pairs)
    workers = len({row.workers for row in rows}) > 1
    loads = not apart and len({row.load for row in rows}) > 1
    columns = [
        Column(name='point'),
        Column(name='runs'),
        Column(name='method', head='method', left=True),
        *(Column(name=name, head=name, left=not number) for number, name in enumerate(names)),
        Column(name='data_size_bytes', head='size', left=not names),
        Column(name='workers', head='workers' if workers else ''),
        Column(name='compute_workers'),
        Column(name='load', head='load' if loads else ''),
        Column(name='offered_rate_per_s'),
        *(Column(name=name) for name in ('max_outstanding', 'task_sleep') if name not in names),
        Column(name='' if 'task_count' in names else 'task_count', head='items'),
        *(Column(name=name) for name in COUNTS),
        Column(head='done / lost'),
        Column(name='efficiency', head='efficiency'),
        Column(name='makespan_s', head='makespan'),
        Column(name='throughput_per_s', head='items/s'),
        Column(name='bytes_per_s', head='MB/s'),
        Column(name='sojourn_n'),
        Column(name='sojourn_p50_s', head='sojourn p50'),
        Column(name='sojourn_p95_s', head='p95'),
        *(Column(name=name) for name in MEDIANS),
        Column(name='bottleneck'),
        Column(name='verdict'),
    ]
    lines = [_line(high, low, columns, names, axes) for high, low in pairs]
    said = list(notes)
    if apart:
        upper, lower = pairs[0][0][0].load or 0, pairs[0][1][0].load or 0
        said = [
            f'(efficiency, makespan, items/s and MB/s at load {upper:.3g}; sojourn at load '
            f'{lower:.3g})',
            *said,
        ]
    if form == TABLE:
        # What the columns mean stands close to them.
        return '\n'.join([render(columns, lines, width=width), *said])
    return render(columns, lines, form=form, notes=said)


def _unique(pair: Pair) -> list[list[RunRow]]:
    high, low = pair
    return [high] if high is low else [high, low]


def _line(
    high: list[RunRow], low: list[RunRow], columns: Sequence[Column], names: Sequence[str], axes: Axes
) -> list[Any]:
    """Return the cells of a line."""
    row = high[0]
    both = [*high, *low] if high is not low else high
    done, lost = (sum(getattr(entry, name) for entry in both) for name in ('completed_tasks', 'lost'))
    efficiency = median(high, 'efficiency')
    makespan, throughput = median(high, 'makespan_s'), median(high, 'throughput_per_s')
    rate = median(high, 'bytes_per_s')
    middle, tail = _latency(low)
    grades = [entry.verdict for entry in both]
    cells: dict[str, Any] = {
        'runs': len(both),
        'data_size_bytes': Cell(row.data_size_bytes, size_text(row.data_size_bytes)),
        'load': Cell(row.load, '–' if row.load is None else f'{row.load:.3g}'),
        'items': sum(entry.task_count for entry in both),
        'task_count': Cell(row.task_count, str(sum(entry.task_count for entry in both))),
        'done / lost': f'{done} / {lost}',
        'efficiency': Cell(efficiency, '–' if efficiency is None else f'{efficiency:.3f}'),
        'makespan_s': Cell(makespan, seconds_text(makespan)),
        'bytes_per_s': Cell(rate, '–' if rate is None else figure(rate / 1e6, 3)),
        'throughput_per_s': throughput,
        'sojourn_n': min(entry.sojourn_n for entry in low),
        'sojourn_p50_s': Cell(median(low, 'sojourn_p50_s'), middle),
        'sojourn_p95_s': Cell(median(low, 'sojourn_p95_s'), tail),
        'bottleneck': ', '.join(dict.fromkeys(entry.bottleneck for entry in both)),
        'verdict': max(grades, key=GRADES.index, default='') if {*grades} <= {*GRADES} else '',
    }
    cells |= {name: sum(getattr(entry, name) for entry in both) for name in COUNTS}
    cells |= {name: median(low, name) for name in MEDIANS}
    cells |= dict(zip(names, axes.get(row.point, ()), strict=False))
    return [
        cells[key] if (key := column.name or column.head) in cells else getattr(row, column.name)
        for column in columns
    ]

"""A plan as a table: one row for each run, with the axes that have no column of their own."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from streambench.config import Config
from streambench.plan import Plan
from streambench.settings import plan_values
from streambench.tables import TABLE, Cell, Column, figure, render
from streambench.wording import seconds_text, size_text

# Options that have a column of their own in the tables.
SHOWN = {
    *('stream_method', 'data_size_bytes', 'workers', 'task_count', 'task_sleep', 'load', 'rate'),
    *('max_outstanding', 'max_in_flight'),
}


def swept(plan: Plan, *, shown: Container[str] = SHOWN) -> tuple[str, ...]:
    """Return the axes of a plan that have no column of their own.

    Args:
        plan: The plan.
        shown: Those that have one.
    """
    return tuple(name for name in plan.values.get('sweep', {}) if name not in shown)


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


def plan_table(plan: Plan, *, form: str = TABLE, notes: Sequence[str] = ()) -> str:
    """Return the runs of a plan as a table.

    Args:
        plan: The plan.
        form: One of `tables.FORMATS`.
        notes: Sentences that belong to it.
    """
    names = swept(plan)
    columns = [
        Column(name='run', head='run', left=True),
        Column(name='method', head='method', left=True),
        *(Column(name=name, head=name) for name in names),
        Column(name='data_size_bytes', head='size'),
        Column(name='workers', head='workers'),
        Column(name='items', head='items'),
        Column(name='task_sleep', head='sleep'),
        Column(name='offered_rate_per_s', head='items/s'),
        Column(name='load', head='load'),
        Column(name='max_outstanding', head='credits'),
        Column(name='max_in_flight', head='in flight'),
        Column(name='expected_s', head='seconds'),
    ]
    rows: list[list[Any]] = []
    for run in plan.runs:
        config = run.config
        rate, load, expected = config.rate_per_s, config.offered_load, run.expected_s
        values = plan_values(config)
        axes = zip(names, axis_texts(config, names), strict=True)
        rows.append(
            [
                Cell(run.run, str(run.run + 1)),
                config.stream_method,
                *(Cell(values.get(name), text) for name, text in axes),
                Cell(config.data_size_bytes, size_text(config.data_size_bytes)),
                config.workers,
                Cell(run.items, '?' if run.items is None else str(run.items)),
                Cell(config.task_sleep, seconds_text(config.task_sleep) if config.task_sleep else '0'),
                Cell(rate, 'max' if rate is None else figure(rate, 4)),
                Cell(load, '–' if load is None else f'{load:.3g}'),
                run.max_outstanding,
                run.max_in_flight,
                Cell(expected, '?' if expected is None else f'{expected:.1f}'),
            ]
        )
    return render(columns, rows, form=form, notes=notes)

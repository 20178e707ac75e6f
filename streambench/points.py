"""What tells the points of a plan apart, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from streambench.records import RunRow
from streambench.tables import figure
from streambench.wording import seconds_text, size_text

# Axes that words of their own name.
NAMED = (
    *('stream_method', 'data_size_bytes', 'workers', 'task_count', 'task_sleep', 'load', 'rate'),
    *('executor', 'stream', 'loop', 'generator'),
)
# What a plan's other axes say, by point.
Axes = Mapping[int, tuple[str, ...]]
Place = TypeVar('Place')


def parts_of(row: RunRow, axes: Axes) -> dict[str, str]:
    """Return everything that may tell a run's point from others, by what it is.

    Args:
        row: The run.
        axes: Values of axes that are no columns, by point.
    """
    pace = 'rate max'
    if row.load:
        pace = f'load {row.load:.3g}'
    elif row.offered_rate_per_s is not None:
        pace = f'{figure(row.offered_rate_per_s, 4)} items/s'
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
        'generator': f'generator on {row.generator}',
        'axes': ' '.join(axes.get(row.point, ())),
    }


def telling(rows: Sequence[RunRow], axes: Axes, *, always: Sequence[str] = ()) -> dict[int, list[str]]:
    """Return for each point the words that tell it from the others.

    Args:
        rows: Runs of the points.
        axes: Values of axes that are no columns, by point.
        always: What is said in any case.
    """
    return _words({row.point: parts_of(row, axes) for row in rows}, always=always)


def telling_groups(
    groups: Sequence[Sequence[RunRow]], axes: Axes, *, always: Sequence[str] = ()
) -> list[list[str]]:
    """Return for each group of runs the words that tell it from the others.

    Args:
        groups: The runs of a point each.
        axes: Values of axes that are no columns, by point.
        always: What is said in any case.
    """
    described = {place: parts_of(rows[0], axes) for place, rows in enumerate(groups)}
    return list(_words(described, always=always).values())


def apart_in(rows: Sequence[RunRow], axes: Axes, name: str) -> dict[str, dict[str, list[RunRow]]]:
    """Return runs that differ in one thing only: by what they have in common, then by that thing.

    Args:
        rows: The runs.
        axes: Values of axes that are no columns, by point.
        name: The column in which they differ.
    """
    found: dict[tuple[str, ...], dict[str, list[RunRow]]] = {}
    places: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        value = str(getattr(row, name))
        parts = parts_of(row, axes)
        del parts[name]
        key = tuple(parts.values())
        places[key] = parts
        found.setdefault(key, {}).setdefault(value, []).append(row)
    words = _words(places, always=('method', 'size'))
    return {' '.join(words[key]): arms for key, arms in found.items() if len(arms) > 1}


def _words(
    described: Mapping[Place, Mapping[str, str]], *, always: Sequence[str]
) -> dict[Place, list[str]]:
    def tells(name: str) -> bool:
        values = [parts[name] for parts in described.values()]
        # What an axis says is not said twice.
        said = name != 'axes' and all(
            parts[name] in ('', *parts['axes'].split()) for parts in described.values()
        )
        # Without a proxy there is no store; that says nothing more than the method does.
        return len({*values} - {''}) > 1 and not said

    names = next(iter(described.values()), {})
    chosen = [name for name in names if name in always or tells(name)]
    return {
        place: [parts[name] for name in chosen if parts[name]] for place, parts in described.items()
    }

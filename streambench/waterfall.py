"""Where the median and the p99 went: the stages of the items around them, and what `proxy` saves.

Medians of stages don't add up to the median of the sojourn; the means over the items around it do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from streambench.notes import across_hosts
from streambench.records import RunRow
from streambench.stages import AROUND, CHAIN
from streambench.wording import size_text

SHOWN_MS = 0.05
NAMED_STAGES = 3

Split = dict[str, float]


def split(rows: Sequence[RunRow], quantile: str) -> Split | None:
    """Return the seconds of each stage around a quantile, medians over repetitions.

    Args:
        rows: Repetitions of a point.
        quantile: `p50` or `p99`.
    """
    found: Split = {}
    for stage in CHAIN:
        values = [
            value
            for row in rows
            if (value := getattr(row, f'{stage.name}_at_{quantile}_s')) is not None
        ]
        if not values:
            return None
        found[stage.name] = statistics.median(values)
    return found


def waterfall(points: Sequence[Sequence[RunRow]]) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of the table: a line for each point and quantile that n can carry.

    Args:
        points: Repetitions of each point; where latency means something.
    """
    head = ['where it went, ms', '', *(stage.name.replace('_', ' ') for stage in CHAIN), 'sum', 'n']
    lines = []
    for rows in points:
        for quantile in AROUND:
            found = split(rows, quantile)
            if found is None or any(row.sojourn_growth_s for row in rows):
                continue
            name = f'{rows[0].method} {size_text(rows[0].data_size_bytes)}'
            shown = dict(found)
            if across_hosts(rows):
                shown['return'] += shown.pop('dispatch')
            cells = [_milliseconds(shown[name]) if name in shown else 'in return' for name in found]
            total = f'{sum(found.values()) * 1e3:.1f}'
            n = sum(getattr(row, f'at_{quantile}_n') for row in rows)
            lines.append([name, quantile, *cells, total, str(n)])
    return head, lines


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f'{value:.1f}' if abs(value) >= SHOWN_MS else '–'


def savings(points: Sequence[Sequence[RunRow]]) -> list[str]:
    """Return what `proxy` saves at the median and in which stages, a line for each size."""
    pairs: dict[tuple[Any, ...], dict[str, Split]] = {}
    inseparable = any(across_hosts(rows) for rows in points)
    for rows in points:
        found = split(rows, 'p50')
        if found is not None and not any(row.sojourn_growth_s for row in rows):
            row = rows[0]
            place = (row.data_size_bytes, row.workers, row.load, row.task_sleep, row.task_count)
            pairs.setdefault(place, {})[row.method] = found
    lines = []
    for (size, *_), methods in pairs.items():
        if set(methods) != {'default', 'proxy'}:
            continue
        differences = {
            name: methods['proxy'][name] - methods['default'][name] for name in methods['proxy']
        }
        if inseparable:
            differences['dispatch + return'] = differences.pop('dispatch') + differences.pop('return')
        total = sum(differences.values())
        largest = sorted(differences.items(), key=lambda entry: -abs(entry[1]))[:NAMED_STAGES]
        where = ', '.join(f'{name.replace("_", " ")} {seconds * 1e3:+.1f}' for name, seconds in largest)
        if abs(total) * 1e3 < SHOWN_MS:
            lines.append(f'→ at {size_text(size)} proxy makes no difference at the median')
            continue
        verb = 'saves' if total < 0 else 'costs'
        lines.append(f'→ at {size_text(size)} proxy {verb} {abs(total) * 1e3:.1f} ms: {where}')
    return lines

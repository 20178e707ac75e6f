"""Where the median and the p99 went: the stages of the items around them, and what `proxy` saves.

Medians of stages don't add up to the median of the sojourn; the means over the items around it do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from streambench.notes import across_hosts
from streambench.points import Axes, parts_of, telling_groups
from streambench.records import RunRow
from streambench.stages import AROUND, CHAIN, QUANTILES
from streambench.summary import samples_needed

SHOWN_MS = 0.05
NAMED_STAGES = 3
# A store is named by the method already, where there is but one.
NOT_A_PLACE = ('method', 'store')

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


def waterfall(
    points: Sequence[Sequence[RunRow]], axes: Axes | None = None
) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of the table: a line for each point and quantile that n can carry.

    Args:
        points: Repetitions of each point; where latency means something.
        axes: Values of axes that are no columns, by point.
    """
    head = ['where it went, ms', 'at', *(stage.name.replace('_', ' ') for stage in CHAIN), 'sum', 'n']
    names = telling_groups(points, axes or {}, always=('method', 'size'))
    lines = []
    for rows, words in zip(points, names, strict=True):
        for quantile in AROUND:
            found = split(rows, quantile)
            if found is None or any(row.sojourn_growth_s for row in rows):
                continue
            shown = dict(found)
            if across_hosts(rows):
                shown['return'] += shown.pop('dispatch')
            cells = [_milliseconds(shown[name]) if name in shown else 'in return' for name in found]
            total = f'{sum(found.values()) * 1e3:.1f}'
            n = sum(getattr(row, f'at_{quantile}_n') for row in rows)
            lines.append([' '.join(words), quantile, *cells, total, str(n)])
    return head, lines


def absent_tails(points: Sequence[Sequence[RunRow]]) -> list[str]:
    """Return why there is no line for a quantile, where some points lack it.

    Args:
        points: Repetitions of each point.
    """
    lines = []
    for quantile in AROUND:
        lacking = [
            min(row.sojourn_n for row in rows)
            for rows in points
            if split(rows, quantile) is None and not any(row.sojourn_growth_s for row in rows)
        ]
        needed = samples_needed(QUANTILES[quantile])
        short = [n for n in lacking if n < needed]
        if short:
            there = f'{min(short)} to {max(short)}' if min(short) < max(short) else str(max(short))
            lines.append(f'({quantile} needs {needed} items in a run; there are {there})')
    return lines


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f'{value:.1f}' if abs(value) >= SHOWN_MS else '–'


def savings(points: Sequence[Sequence[RunRow]], axes: Axes | None = None) -> list[str]:
    """Return what `proxy` saves at the median and in which stages, a line for each two such points.

    Args:
        points: Repetitions of each point.
        axes: Values of axes that are no columns, by point.
    """
    pairs: dict[tuple[str, ...], dict[str, Split]] = {}
    places: dict[tuple[str, ...], list[str]] = {}
    inseparable = any(across_hosts(rows) for rows in points)
    known = axes or {}
    names = telling_groups(points, known, always=('method', 'size'))
    for rows, words in zip(points, names, strict=True):
        found = split(rows, 'p50')
        if found is not None and not any(row.sojourn_growth_s for row in rows):
            parts = parts_of(rows[0], known)
            apart = {parts[name] for name in NOT_A_PLACE}
            key = tuple(text for name, text in parts.items() if name not in NOT_A_PLACE)
            pairs.setdefault(key, {})[rows[0].method] = found
            places[key] = [word for word in words if word not in apart]
    lines = []
    for key, methods in pairs.items():
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
        place = ', '.join(places[key])
        if abs(total) * 1e3 < SHOWN_MS:
            lines.append(f'→ at {place} proxy makes no difference at the median')
            continue
        verb = 'saves' if total < 0 else 'costs'
        lines.append(f'→ at {place} proxy {verb} {abs(total) * 1e3:.1f} ms: {where}')
    return lines

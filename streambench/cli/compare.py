"""`streambench compare A B`: two measurements side by side, and whether they differ."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streambench.cli.terminal import aside, say
from streambench.errors import EXIT_OK
from streambench.tables import CSV, Cell, Column, add_format_option, figure, render

if TYPE_CHECKING:
    from streambench.comparison import Comparison, Difference

HEADS = {
    'data_size_bytes': 'bytes',
    'task_count': 'items',
    'task_sleep': 'sleep s',
    'offered_rate_per_s': 'items/s',
    'executor_plugin': 'executor',
    'connector_plugin': 'connector',
    'max_outstanding': 'credits',
    'closed_loop': 'closed loop',
}
ALWAYS_SHOWN = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    parser.description = (
        'Compare B with A, point by point. The unit is the run: 5 or more on each side '
        '(--repeat) can show a change. Each side is a run directory, a results.csv, or a CSV file of '
        'psbench.'
    )
    parser.add_argument('a', metavar='A', help='what is compared with')
    parser.add_argument('b', metavar='B', help='what is asked about')
    parser.add_argument(
        '--metric',
        nargs='+',
        default=[],
        metavar='NAME',
        help='the metric to judge by, then others, which are corrected for their number (default: '
        'makespan at load 1, sojourn_p50 below, throughput at rate max; then the other latencies)',
    )
    parser.add_argument(
        '--margin',
        type=_share,
        default='10%',
        metavar='SHARE',
        help='change that must not have been missed for "no difference found" (default: 10%%)',
    )
    parser.add_argument(
        '--force',
        action='store_true',
        help='compare what is not comparable, such as two executors or machines, and say so',
    )
    add_format_option(parser)


def _share(text: str) -> float:
    number = text.strip().removesuffix('%')
    try:
        share = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} must be a share above 0, such as 10% or 0.1')
    return share


def run(namespace: argparse.Namespace) -> int:
    """Print the comparison and return the exit code.

    Raises:
        ConfigError: If A and B can't be read or aren't comparable.
    """
    from streambench.arm import read_arm
    from streambench.comparison import compare

    found = compare(
        read_arm(namespace.a, name='A'),
        read_arm(namespace.b, name='B'),
        metrics=namespace.metric,
        force=namespace.force,
        margin=namespace.margin,
    )
    say(comparison_text(found, form=namespace.format))
    if namespace.format == CSV:
        for note in found.notes:
            aside(note)
    return EXIT_OK


def comparison_text(found: Comparison, *, form: str) -> str:
    """Return a comparison in one of the forms of `--format`."""
    points = [point.parameters for point in found.points]
    names = list(points[0])
    shown = _telling(names, points)
    columns = [
        Column(
            name=name,
            head=HEADS.get(name, name) if name in shown else '',
            left=isinstance(points[0][name], str),
        )
        for name in names
    ]
    columns += [
        Column(name='metric', head='metric', left=True),
        Column(name='primary'),
        Column(name='n_a'),
        Column(name='n_b'),
        Column(head='runs'),
        Column(name='median_a', head='A'),
        Column(name='median_b', head='B'),
        Column(name='ratio', head='B/A'),
        Column(name='ratio_low'),
        Column(name='ratio_high'),
        Column(head='95 % interval'),
        Column(name='p'),
        Column(name='corrected_p', head='p'),
        Column(name='missed'),
        Column(name='outcome'),
        Column(name='why'),
        Column(head='B is', left=True),
    ]
    rows = []
    for point in found.points:
        for difference in point.differences:
            first = difference is point.differences[0]
            rows.append([*_place(point.parameters, first=first), *_figures(difference)])
    several = any(len(point.differences) > 1 for point in found.points)
    legend = (
        '* decides; p of the others is corrected for their number (Holm); intervals are not'
        if several
        else 'B/A is the median of all ratios of a run of B and one of A (Hodges-Lehmann)'
    )
    return render(columns, rows, form=form, notes=[legend, *_divisions(points), *found.notes])


def _divisions(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how the workers of each point are divided, where its file says so."""
    from streambench.wording import division_text

    names = ('workers', 'generators', 'compute_workers')
    known: list[list[Any]] = [[point.get(name) for name in names] for point in points]
    return list(dict.fromkeys(division_text(*entry) for entry in known if None not in entry))


def _telling(names: Sequence[str], points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the parameters that tell points apart, and the first two."""
    shown: list[str] = []
    kinds = 0
    for name in names:
        more = len({tuple(point[entry] for entry in [*shown, name]) for point in points})
        if len(shown) < ALWAYS_SHOWN or more > kinds:
            shown.append(name)
            kinds = more
    return shown


def _place(parameters: Mapping[str, Any], *, first: bool) -> list[Any]:
    """Return a point's cells, blank for the eye in all lines but its first."""
    return [
        Cell(value, ('–' if value is None else str(value)) if first else '')
        for value in parameters.values()
    ]


def _median(metric: str, value: float | None) -> Cell | None:
    """Return a figure for both readers: seconds for a program, ms for a person."""
    if value is None:
        return None
    lasts = metric.endswith('_s') and not metric.endswith('_per_s')
    text = f'{figure(value * 1e3, 4)} ms' if lasts else figure(value, 4)
    return Cell(value, text)


def _figures(found: Difference) -> list[Any]:
    from streambench.comparison import median

    ratio = found.ratio
    low, high = (ratio.low, ratio.high) if ratio else (None, None)
    return [
        Cell(found.metric, f'{found.metric} *' if found.primary else found.metric),
        found.primary,
        len(found.a),
        len(found.b),
        f'{len(found.a)} + {len(found.b)}',
        _median(found.metric, median(found.a)),
        _median(found.metric, median(found.b)),
        Cell(ratio.value, f'{ratio.value:.3f}') if ratio else None,
        low,
        high,
        None if low is None else f'{low:.3f}…{high:.3f}',
        found.p,
        None if found.corrected_p is None else Cell(found.corrected_p, f'{found.corrected_p:.2g}'),
        found.missed,
        found.outcome,
        found.why,
        found.words,
    ]

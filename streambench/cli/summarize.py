"""`streambench summarize RUN_DIR`: the figures of a run directory again, with another window."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from streambench.cli.terminal import aside, say
from streambench.errors import EXIT_OK, ConfigError
from streambench.tables import CSV, Cell, Column, add_format_option, estimate_columns, render

if TYPE_CHECKING:
    from streambench.recount import Recount
    from streambench.run_directory import RunDirectory

UNITS_S = {'': 1.0, 's': 1.0, 'ms': 1e-3, 'us': 1e-6, 'min': 60.0, 'm': 60.0, 'h': 3600.0}
STATE = ('sent', 'received', 'completed', 'backlog', 'queue_depth', 'in_flight', 'credits')
SHOWN = ('p50', 'p95', 'p99')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    parser.description = (
        'Compute the figures of every run of a directory again from its items, without '
        'measuring and without changing a file. Works on what a killed process left behind too.'
    )
    parser.add_argument('directory', metavar='RUN_DIR', help='the run directory')
    parser.add_argument(
        '--warmup',
        type=duration_s,
        metavar='DURATION',
        help='time after the first item from which on items count, such as 5s, 500ms or 5 (default: '
        'as it was measured)',
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        '--per-second', action='store_true', help='a row for each second of each run instead'
    )
    instead.add_argument(
        '--stages',
        action='store_true',
        help='a row for each stage of each run instead: n, mean, percentiles with intervals, max',
    )
    add_format_option(parser)


def duration_s(text: str) -> float:
    """Return a duration such as `5s`, `500ms`, `2min` or `5` in seconds."""
    match = re.fullmatch(r'\s*([0-9.]+(?:e-?[0-9]+)?)\s*([a-z]*)\s*', text.lower())
    try:
        seconds = float(match[1]) * UNITS_S[match[2]] if match else math.nan
    except (ValueError, KeyError):
        seconds = math.nan
    if not 0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f'{text!r} must be a duration such as 5s, 500ms or 5')
    return seconds


def run(namespace: argparse.Namespace) -> int:
    """Print the figures and return the exit code.

    Raises:
        ConfigError: If the directory can't be read, or holds no items.
    """
    from streambench.cli.stage_table import stages_table
    from streambench.recorder import ITEMS
    from streambench.recount import recount, runs_of
    from streambench.run_directory import open_run_directory

    with open_run_directory(namespace.directory, does='summarize', reads=(1, 2, 3)) as directory:
        damaged = [entry for entry in directory.troubles if entry.file.startswith(ITEMS)]
        if not directory.items:
            raise ConfigError(
                f'{namespace.directory!r} holds no items to compute from ('
                + (str(damaged[0]) if damaged else 'as with --record none')
                + '); measure again, with --record all.'
            )
        numbers = runs_of(directory)
        found = [
            entry
            for number in numbers
            if (entry := recount(directory, number, warmup_s=namespace.warmup)) is not None
        ]
        notes = _notes(directory, found)
        if len(found) < len(numbers):
            unknown = [number for number in numbers if number not in {entry.run for entry in found}]
            from streambench.wording import run_numbers_text

            notes.append(
                f'{run_numbers_text(unknown)}: nothing says what was asked or came of it, so there are '
                'no figures'
            )
        if namespace.per_second:
            text = seconds_table(directory, found, form=namespace.format, notes=notes)
        elif namespace.stages:
            text = stages_table([entry.row for entry in found], form=namespace.format, notes=notes)
        else:
            text = runs_table(found, form=namespace.format, notes=notes)
    say(text)
    if namespace.format == CSV:
        for note in notes:
            aside(note)
    return EXIT_OK


def _notes(directory: RunDirectory, found: Sequence[Recount]) -> list[str]:
    """Return what belongs to the table: windows, what is missing, and why a verdict isn't good."""
    from streambench.notes import waiting_notes
    from streambench.records import RunRow, column_names
    from streambench.wording import division_text, run_numbers_text

    grouped: dict[str, list[int]] = {}
    for entry in found:
        row = entry.row
        division = division_text(row['workers'], row['generators'], row['compute_workers'])
        grouped.setdefault(division, []).append(entry.run)
    for entry in found:
        if not entry.kept:
            text = 'no items were kept (--record none): its figures are those of results.csv'
            grouped.setdefault(text, []).append(entry.run)
            continue
        outside = entry.rows - entry.inside
        grouped.setdefault(
            f'{entry.inside} rows inside the window, {outside} before it (warm-up of '
            f'{entry.row["warmup_s"]:g} s)',
            [],
        ).append(entry.run)
    for entry in found:
        if entry.recovered:
            grouped.setdefault('recovered from its items, its row was never written', []).append(
                entry.run
            )
        if entry.missing:
            grouped.setdefault(
                f'{entry.rows} rows are there, at least {entry.missing} more items were sent whose '
                'rows are not',
                [],
            ).append(entry.run)
    for entry in found:
        if entry.row['reasons']:
            grouped.setdefault(f'{entry.row["verdict"]}: {entry.row["reasons"]}', []).append(entry.run)
    names = column_names(RunRow)
    rows = [RunRow(**{name: entry.row[name] for name in names}) for entry in found]
    return [
        *(f'{run_numbers_text(runs)}: {text}' for text, runs in grouped.items()),
        *waiting_notes(rows),
        *(f'not read: {trouble}' for trouble in directory.troubles),
    ]


def runs_table(found: Sequence[Recount], *, form: str, notes: Sequence[str]) -> str:
    """Return a table with a row for each run.

    Args:
        found: The runs.
        form: One of `tables.FORMATS`.
        notes: Sentences below it.
    """
    columns = [
        Column(name='run', head='run'),
        Column(name='method', head='method', left=True),
        Column(name='data_size_bytes', head='bytes'),
        Column(name='workers', head='workers'),
        Column(name='load', head='load'),
        Column(name='warmup_s', head='warm-up s'),
        Column(name='rows', head='rows'),
        Column(name='missing'),
        Column(name='window_n', head='n'),
        Column(name='completed_tasks'),
        Column(name='lost'),
        Column(head='done / lost'),
        Column(name='efficiency', head='efficiency'),
        Column(name='throughput_per_s', head='items/s'),
        Column(name='sojourn_n'),
        *_sojourn_columns(),
        Column(name='sojourn_growth_s'),
        Column(name='waiting_explained_percent'),
        Column(name='waiting_unexplained_p50_s'),
        Column(name='waiting_sticks_out'),
        Column(name='bottleneck', head='bottleneck', left=True),
        Column(name='verdict', head='verdict', left=True),
        Column(name='reasons'),
    ]
    return render(columns, [_cells(columns, entry) for entry in found], form=form, notes=notes)


def _sojourn_columns() -> Iterator[Column]:
    for name in SHOWN:
        yield from estimate_columns(f'sojourn_{name}', f'sojourn {name}' if name == 'p50' else name)


def _cells(columns: Sequence[Column], entry: Recount) -> list[Any]:
    row = entry.row
    texts: dict[str, Any] = {
        'run': Cell(entry.run, str(entry.run + 1)),
        'rows': entry.rows,
        'missing': entry.missing,
        'done / lost': f'{row["completed_tasks"]} / {row["lost"]}',
        'efficiency': _figure(row['efficiency'], '.3f'),
    }
    for name in SHOWN:
        texts[f'sojourn_{name}_s'] = _sojourn(row, name)
    return [
        texts[key] if (key := column.name or column.head) in texts else row[column.name]
        for column in columns
    ]


def _figure(value: float | None, form: str) -> Cell | None:
    return None if value is None else Cell(value, format(value, form))


def _sojourn(row: Any, name: str) -> Cell | None:
    """Return a percentile with its interval, or why it means nothing here."""
    value, low, high = (row[f'sojourn_{name}{end}_s'] for end in ('', '_low', '_high'))
    growth = row['sojourn_growth_s']
    if growth is not None:
        # Then a percentile describes how long the run was.
        return Cell(value, f'grows by {growth * 1e3:.2g} ms per item' if name == 'p50' else '–')
    if value is None:
        return Cell(None, _absence(name, row))
    return Cell(value, f'{value * 1e3:.1f} ms ({low * 1e3:.1f}…{high * 1e3:.1f})')


def _absence(name: str, row: Any) -> str:
    """Return why there is no such percentile."""
    from streambench.config import RECORD_NONE
    from streambench.stages import QUANTILES
    from streambench.summary import samples_needed

    if row['record'] == RECORD_NONE:
        return 'not kept'
    return f'n < {samples_needed(QUANTILES[name])}'


def _counts(second: int, warmup_s: float) -> Cell:
    """Return whether the items of a second count."""
    inside = second >= warmup_s
    return Cell(inside, 'yes' if inside else 'partly' if second + 1 > warmup_s else 'warm-up')


def seconds_table(
    directory: RunDirectory, found: Sequence[Recount], *, form: str, notes: Sequence[str]
) -> str:
    """Return a table with a row for each second of each run.

    Args:
        directory: What was found.
        found: The runs.
        form: One of `tables.FORMATS`.
        notes: Sentences below it.
    """
    from streambench.recount import seconds_of

    warmup_s = {entry.run: entry.row['warmup_s'] for entry in found}
    columns = [
        Column(name='run', head='run'),
        Column(name='second', head='second'),
        Column(name='in_window', head='counts', left=True),
        *(Column(name=name, head=name.replace('_', ' ')) for name in STATE),
        Column(name='throughput_per_s', head='items/s'),
        Column(name='sojourn_n', head='n due'),
        *_sojourn_columns(),
    ]
    rows = []
    for second in (second for entry in found for second in seconds_of(directory, entry)):
        state = second.state or {}
        sojourns: list[Any] = []
        for part in second.sojourns:
            if part is None:
                sojourns += [None] * 3
            else:
                sojourns += [Cell(part.value, f'{part.value * 1e3:.1f} ms'), part.low, part.high]
        rows.append(
            [
                Cell(second.run, str(second.run + 1)),
                second.second,
                _counts(second.second, warmup_s[second.run]),
                *(state.get(name) for name in STATE),
                second.completed,
                second.due,
                *sojourns,
            ]
        )
    legend = (
        'seconds from the first intended send, the last one not whole; counts as they stood at its '
        'last reading; sojourn of the items due in it, of which a p50 needs 5, a p95 59, a p99 299'
    )
    return render(columns, rows, form=form, notes=[legend, *notes])

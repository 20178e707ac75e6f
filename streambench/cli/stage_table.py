"""The stages of every run as a table: n, mean, percentiles with their intervals, and the longest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streambench.clocks import ACROSS, inseparable_within_s
from streambench.stages import LOOP_WAIT, QUANTILES, STAGES
from streambench.summary import samples_needed
from streambench.tables import Cell, Column, estimate_columns, render
from streambench.wording import ms_text

TOGETHER = 'dispatch + return'
GROWING = ('sojourn', 'uncorrected_sojourn')


def stages_table(rows: Sequence[Mapping[str, Any]], *, form: str, notes: Sequence[str]) -> str:
    """Return a table with a row for each stage of each run.

    Args:
        rows: Columns of results.csv of each run.
        form: One of `tables.FORMATS`.
        notes: Sentences below it.
    """
    columns = [
        Column(name='run', head='run'),
        Column(name='method', head='method', left=True),
        Column(name='data_size_bytes', head='bytes'),
        Column(name='load', head='load'),
        Column(name='stage', head='stage, ms', left=True),
        Column(name='n', head='n'),
        Column(name='mean_s', head='mean'),
        *(column for name in QUANTILES for column in estimate_columns(name, name.replace('_', '.'))),
        Column(name='max_s', head='max'),
    ]
    lines = [line for row in rows for line in _lines(row)]
    return render(columns, lines, form=form, notes=notes)


def _lines(row: Mapping[str, Any]) -> list[list[Any]]:
    """Return the lines of a run; the first names it."""
    apart = inseparable_within_s(row) is None
    place = [
        Cell(row['run'], str(row['run'] + 1)),
        row['method'],
        row['data_size_bytes'],
        Cell(row['load'], '–' if row['load'] is None else f'{row["load"]:.3g}'),
    ]
    lines: list[list[Any]] = []
    for stage in (*STAGES, LOOP_WAIT):
        if not row[f'{stage.name}_n'] or row[f'{stage.name}_max_s'] == 0:
            # Its method has no such stage.
            continue
        if apart or stage.name not in ACROSS:
            cells = _cells(row, stage.name)
        elif stage.name == ACROSS[0]:
            # Other clocks are known too badly for one of them alone; the means add up.
            means = [row[f'{name}_mean_s'] for name in ACROSS]
            known = [mean for mean in means if mean is not None]
            cells = [TOGETHER, row[f'{stage.name}_n'], _shown(sum(known))]
            cells += [None] * (3 * len(QUANTILES) + 1)
        else:
            continue
        shown = place if not lines else [Cell(_raw(cell), '') for cell in place]
        lines.append([*shown, *cells])
    return lines


def _raw(cell: Any) -> Any:
    return cell.value if isinstance(cell, Cell) else cell


def _cells(row: Mapping[str, Any], stage: str) -> list[Any]:
    """Return the figures of a stage."""
    cells: list[Any] = [stage, round(row[f'{stage}_n']), _shown(row[f'{stage}_mean_s'])]
    growth = row['sojourn_growth_s'] if stage in GROWING else None
    for name in QUANTILES:
        value, low, high = (row[f'{stage}_{name}{end}_s'] for end in ('', '_low', '_high'))
        if growth is not None:
            # Then a percentile describes how long the run was.
            text = f'grows by {ms_text(growth)} per item' if name == 'p50' else '–'
        elif value is None:
            text = f'n < {samples_needed(QUANTILES[name])}'
        else:
            text = f'{_ms(value)} ({_ms(low)}…{_ms(high)})'
        cells += [Cell(value, text), low, high]
    return [*cells, _shown(row[f'{stage}_max_s'])]


def _shown(seconds: float) -> Cell:
    return Cell(seconds, _ms(seconds))


def _ms(seconds: float) -> str:
    return f'{seconds * 1e3:.2f}'

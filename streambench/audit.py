"""Whether the figures of a run directory are what its items, series and config.toml say.

Everything is computed again, and no stored digest is trusted. Figures that nothing else determines are
only held equal in results.csv and summary.json, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.clock import NS_PER_S, clock_domain
from streambench.difference import Difference
from streambench.item_laws import Known, item_differences
from streambench.loop_findings import Joined
from streambench.loop_recount import (
    joined_again,
    lag_differences,
    lags_again,
    loop_again,
    loop_differences,
)
from streambench.records import (
    SCHEMA_VERSION,
    ItemRow,
    LagRow,
    LoopSecondRow,
    RunRow,
    SeriesRow,
    StallRow,
    column_names,
)
from streambench.recount import (
    ITEM_COLUMNS,
    figures_again,
    resolved_count,
    rows_again,
    states,
    unusable,
)
from streambench.run_directory import CONFIG, SUMMARY, RunDirectory
from streambench.run_row import BLANK
from streambench.series_laws import series_differences
from streambench.stored_cells import Cells, Expected, Row, differing
from streambench.stored_rows import StoredRows
from streambench.tally import Tally, tally
from streambench.verdict import COMPLETE, ENDED_BY_FAILURE

# Seconds since the epoch have 53 bits: a quarter of a microsecond.
EPOCH_S = 1e-6
FIRST, LAST = 'start_submit_tasks_timestamp', 'end_tasks_done_timestamp'
# With --record none these are computed from the two timestamps and the count.
WITHOUT_ITEMS = frozenset({'makespan_s', 'throughput_per_s'})
COUNTED_LIVE = frozenset(
    {'sent', 'publish_failed', 'received', 'completed_tasks', 'failed', 'lost', 'reordered', 'corrupt'}
) | {'workers_proven', 'worker_hosts', 'bytes_per_s'}
# What nothing else tells of an item, of a row of the series, and of a second and a stall of the loop.
FREE_ITEM_COLUMNS = ('worker_host', 'worker_clock', 'worker_pid', 'worker_thread', 'fault', 'error')
FREE_SERIES_COLUMNS = ('queue_bytes', 'backpressure_s')
FREE_LOOP_COLUMNS = ('lag_p50_s', 'lag_p99_s', 'gc_s')
FREE_STALL_COLUMNS = ('low_s', 'high_s', 'missed_ticks', 'cause', 'confidence', 'task', 'coroutine')


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a check came to.

    Attributes:
        differences: What doesn't agree.
        runs: How many runs were checked.
        recomputed: How many cells of both files were computed again.
        undetermined: Columns of results.csv that were only held equal in both files.
        notes: What else must be known to read this.
    """

    differences: tuple[Difference, ...]
    runs: int
    recomputed: int
    undetermined: tuple[str, ...]
    notes: tuple[str, ...]


def audit(directory: RunDirectory) -> Audit:
    """Check a run directory.

    Args:
        directory: What was found in it.
    """
    found: list[Difference] = [
        Difference(
            file=trouble.file,
            run=None,
            column='',
            stored=trouble.what,
            recomputed=None,
            source='reading',
        )
        for trouble in directory.troubles
        if trouble.file != CONFIG
    ]
    # A plan that can't be made here is no fault of the figures.
    notes = [str(trouble) for trouble in directory.troubles if trouble.file == CONFIG]
    for stored, name in ((directory.results, 'results.csv'), (directory.summary, SUMMARY)):
        if not stored.there:
            found.append(_whole(stored.file or name, 'is missing'))
    found += _stated_version(directory.summary)
    pairs = _paired(directory, found)
    recomputed = 0
    undetermined: dict[str, None] = {}
    for run, result, summary in pairs:
        if result is None and summary is None:
            what = 'no row'
            for stored in (directory.results, directory.summary):
                if stored.there:
                    found.append(differing(stored.file, run, 'run', what, run, 'items and series'))
            continue
        cells = Cells(directory, run, result, summary)
        expected, laws = _expected(directory, run, cells)
        found += cells.compare(expected) + laws
        recomputed += len(cells.rows) * len({*expected, *cells.judged})
        undetermined |= dict.fromkeys(
            name for name in column_names(RunRow) if name not in expected and name not in cells.judged
        )
    if directory.plan is None:
        notes.append('so what was asked, the schedule and the verdict were not computed again')
    elif len(pairs) < len(directory.plan.runs):
        notes.append(f'{len(pairs)} of the {len(directory.plan.runs)} runs of the plan are there')
    return Audit(
        differences=tuple(_unique(found)),
        runs=len(pairs),
        recomputed=recomputed,
        undetermined=tuple(undetermined),
        notes=tuple(notes),
    )


def _whole(file: str, what: str) -> Difference:
    return Difference(file=file, run=None, column='', stored=what, recomputed=None, source='reading')


def _unique(found: Sequence[Difference]) -> list[Difference]:
    return list({(d.file, d.run, d.column, str(d.stored)): d for d in reversed(found)}.values())[::-1]


def _stated_version(stored: StoredRows) -> list[Difference]:
    return [
        differing(stored.file, None, 'schema_version', version, SCHEMA_VERSION, 'the parts of items')
        for version in stored.stated
        if version != SCHEMA_VERSION
    ]


def _paired(
    directory: RunDirectory, found: list[Difference]
) -> list[tuple[int, Row | None, Row | None]]:
    """Return the rows of both files by run; a number of a run may be what is wrong."""
    results, summary = directory.results, directory.summary
    there = directory.kept
    left, right = list(results.rows), list(summary.rows)
    if len(left) > len(right) and right and Path(results.file).is_absolute():
        # A file of results elsewhere holds those of other plans too.
        left = [max(left, key=lambda row: _alike(row, other)) for other in right]
    pairs: list[tuple[int, Row | None, Row | None]] = []
    if len(left) == len(right):
        for place, (one, two) in enumerate(zip(left, right, strict=True)):
            numbers = (one.get('run'), two.get('run'))
            number = numbers[0] if numbers[0] == numbers[1] and numbers[0] in there else None
            if number is None:
                number = next((n for n in (place, *numbers) if n in numbers and n in there), place)
            pairs.append((int(number), one, two))
    else:
        by_run = [{row.get('run'): row for row in rows} for rows in (left, right)]
        for number in sorted({n for rows in by_run for n in rows if isinstance(n, int)}):
            pairs.append((number, by_run[0].get(number), by_run[1].get(number)))
            for stored, other, rows in (
                (results, summary, by_run[0]),
                (summary, results, by_run[1]),
            ):
                held = [row.get('run') for row in stored.rows].count(number)
                if held > 1:
                    found.append(differing(stored.file, number, 'run', f'{held} rows', 'one', 'itself'))
                if number not in rows and stored.there:
                    found.append(differing(stored.file, number, 'run', 'no row', number, other.file))
    known = {number for number, _, _ in pairs}
    pairs += [(number, None, None) for number in sorted(there - known)]
    return pairs


def _alike(row: Row, other: Row) -> int:
    return sum(other.get(name) == value for name, value in row.items())


def _expected(
    directory: RunDirectory, run: int, cells: Cells
) -> tuple[dict[str, Expected], list[Difference]]:
    """Return what the cells of a run must hold, and which laws its rows break."""
    spec = directory.spec(run)
    recorded, items = directory.recorded(run), directory.items_of(run)
    row = cells.one()
    found: list[Difference] = []
    expected: dict[str, Expected] = {
        'run': Expected(run, 'the order of runs'),
        'schema_version': Expected(SCHEMA_VERSION, 'the parts of items'),
    }
    traffic = spec.traffic() if spec else None
    since_ns: int | None = None
    own = directory.own_clock or clock_domain()
    if spec is not None:
        asked = spec.columns()
        asked['loop'] = spec.config.loop
        if spec.config.duration is not None:
            # The count is what the schedule, or the generator, made of the duration.
            asked.pop('task_count')
        expected |= {name: Expected(value, CONFIG) for name, value in asked.items()}
        row |= asked
    if recorded:
        if spec is not None:
            sent = tally(items, run=run, warmup_s=0.0).counts['sent']
            row['task_count'] = resolved_count(spec, sent, traffic)
            expected['task_count'] = Expected(row['task_count'], CONFIG)
        again = figures_again(items, row, own_clock=own, bounds=directory.bounds(run))
        found += [
            differing(file, run, name, row[name], 'at least 1', 'the schema')
            for name in unusable(row)
            for file in cells.rows
        ]
        if again is None and not unusable(row):
            what = 'contradict each other, so that no figure follows'
            found.append(differing('items', run, '', what, None, 'reading'))
        elif again is not None:
            figures, totals = again
            since_ns = totals.window_from_ns
            blank = {name: BLANK[name] for name in ITEM_COLUMNS}
            expected |= {name: Expected(value, 'items') for name, value in (blank | figures).items()}
            if row['ended'] == ENDED_BY_FAILURE and not totals.counts['sent']:
                # No worker answered, or too few: then none is taken for proven.
                del expected['workers_proven'], expected['worker_hosts']
            found += _timestamps(cells, totals)
    else:
        blank = {name: BLANK[name] for name in ITEM_COLUMNS - WITHOUT_ITEMS - COUNTED_LIVE}
        expected |= {name: Expected(value, '--record none') for name, value in blank.items()}
        if row['makespan_s']:
            rate = row['completed_tasks'] / row['makespan_s']
            expected['throughput_per_s'] = Expected(rate, 'completed_tasks and makespan_s')
    row |= {name: entry.value for name, entry in expected.items()}
    kept = items if recorded else None
    expected |= _of_the_loop(directory, run, row, kept, since_ns, found)
    series = states(directory, run)
    if series:
        stood_s = series[-1]['backpressure_s']
        expected['backpressure_s'] = Expected(stood_s, 'series')
    found += series_differences(series, items, row, recorded=recorded)
    complete = bool(cells.rows) and all(e['ended'] == COMPLETE for e in cells.candidates())
    if complete and row['sent'] != row['task_count']:
        for file in cells.rows:
            found.append(
                differing(file, run, 'ended', COMPLETE, f'{row["sent"]} of {row["task_count"]}', 'sent')
            )
    if recorded:
        found += item_differences(
            items,
            Known(
                run=run,
                generator=row['generator'],
                warmup_s=row['warmup_s'],
                complete=complete,
                own_clock=own,
                pacing_floor_s=row['pacing_floor_s'],
                traffic=traffic,
                data_size_bytes=row['data_size_bytes'],
            ),
        )
    return expected, found


def _of_the_loop(
    directory: RunDirectory,
    run: int,
    row: Mapping[str, Any],
    items: Sequence[Path] | None,
    since_ns: int | None,
    found: list[Difference],
) -> dict[str, Expected]:
    """Return what the loop's seconds and stalls say of a run; what they contradict goes to `found`."""
    seconds = rows_again(directory.loop, run, LoopSecondRow)
    stalls = rows_again(directory.stalls, run, StallRow)
    if not seconds and row['loop_profile'] not in ('', 'off'):
        found.append(differing('loop', run, 'start_ns', 'no row', row['loop_profile'], 'loop_profile'))
    lags = rows_again(directory.lags, run, LagRow)
    columns = loop_again(seconds, stalls)
    expected = {name: Expected(value, 'the seconds of the loop') for name, value in columns.items()}
    percentiles = lags_again(lags, max_s=columns.get('loop_lag_max_s'))
    expected |= {name: Expected(value, 'the lags of the loop') for name, value in percentiles.items()}
    joined: Joined | None = None
    if items is not None and 'loop_stall_s' in columns:
        laid, joined = joined_again(items, row, stalls, since_ns=since_ns)
        expected |= {name: Expected(value, 'items and stalls') for name, value in laid.items()}
    found += loop_differences(run, seconds, stalls, joined)
    found += lag_differences(run, seconds, lags)
    return expected


def _timestamps(cells: Cells, totals: Tally) -> list[Difference]:
    """Hold the distance of the two dates against that of the first send and the last completion."""
    first, last = totals.first_intended_ns, totals.last_complete_ns
    found: list[Difference] = []
    sound: list[Row] = []
    rows = dict(zip(cells.rows, cells.candidates(), strict=True))
    for row in rows.values():
        if first is None or last is None:
            good = not row[LAST] and (first is not None or not row[FIRST])
        else:
            good = abs(row[LAST] - row[FIRST] - (last - first) / NS_PER_S) <= EPOCH_S
        if good:
            sound.append(row)
    for file, row in rows.items():
        if any(row is other for other in sound):
            continue
        if sound:
            # The other file tells which of the two was touched.
            found += [
                differing(file, cells.run, name, row[name], sound[0][name], 'items')
                for name in (FIRST, LAST)
                if row[name] != sound[0][name]
            ]
        elif first is None or last is None:
            found.append(differing(file, cells.run, LAST, row[LAST], 0.0, 'items'))
        else:
            end = row[FIRST] + (last - first) / NS_PER_S
            found.append(differing(file, cells.run, LAST, row[LAST], end, f'items, from {FIRST}'))
    return found


def free_columns() -> Mapping[str, Sequence[str]]:
    """Return the columns of each kind of row that nothing else determines."""
    assert {*FREE_ITEM_COLUMNS} <= {*column_names(ItemRow)}
    assert {*FREE_SERIES_COLUMNS} <= {*column_names(SeriesRow)}
    assert {*FREE_LOOP_COLUMNS} <= {*column_names(LoopSecondRow)}
    assert {*FREE_STALL_COLUMNS} <= {*column_names(StallRow)}
    return {
        'items': FREE_ITEM_COLUMNS,
        'series': FREE_SERIES_COLUMNS,
        'loop': FREE_LOOP_COLUMNS,
        'stalls': FREE_STALL_COLUMNS,
    }

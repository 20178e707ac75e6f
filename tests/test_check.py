"""`check`: every edited figure is found, and what nobody touched is clean."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from streambench import make_plan, open_session
from streambench.audit import Audit, audit
from streambench.cli import main
from streambench.errors import EXIT_CONFIG, EXIT_INTEGRITY, EXIT_OK
from streambench.item_laws import MOST_TOLD
from streambench.recorder import Recorder
from streambench.records import RunRow, column_names
from streambench.recount import ITEM_COLUMNS
from streambench.run_directory import open_run_directory
from streambench.stored_rows import KINDS, cell_value
from streambench.strain import loop_name

EDITS = 200
RESULTS, SUMMARY = 'results.csv', 'summary.json'
COLUMNS = column_names(RunRow)


@pytest.fixture(scope='module')
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a real run of two methods."""
    root = tmp_path_factory.mktemp('measured')
    line = (
        '--executor thread --stream memory --ps-connector local --max-workers 3 --task-count 70 '
        '--task-sleep 0.004 --data-size-bytes 1000 --load 0.8 --warmup 0.02 --seed 11 --repeat 1 '
        '--bound machine_busy=1 --threshold lost==0'
    )
    main(['run', *line.split(), '--run-dir', str(root)])
    (found,) = root.iterdir()
    return found


@pytest.fixture
def directory(measured: Path, tmp_path: Path) -> Path:
    """Return a copy of it that may be edited."""
    return Path(shutil.copytree(measured, tmp_path / 'copy'))


def checked(directory: Path) -> Audit:
    """Check a directory."""
    with open_run_directory(directory, does='check') as found:
        return audit(found)


def named(directory: Path) -> set[tuple[str, int | None, str]]:
    """Return file, run and column of what a check finds."""
    return {(entry.file, entry.run, entry.column) for entry in checked(directory).differences}


def lines_of(directory: Path) -> list[list[str]]:
    """Return the cells of results.csv, headings first."""
    with (directory / RESULTS).open(newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def write_lines(directory: Path, lines: Sequence[Sequence[str]]) -> None:
    """Write results.csv."""
    with (directory / RESULTS).open('w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows(lines)


def edit_part(directory: Path, kind: str, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the rows of items or series, all in one part."""
    parts = sorted((directory / kind).iterdir())
    table = pyarrow.concat_tables([pyarrow.parquet.read_table(part) for part in parts])
    rows = table.to_pylist()
    edit(rows)
    for part in parts:
        part.unlink()
    changed = pyarrow.Table.from_pylist(rows, schema=table.schema)
    pyarrow.parquet.write_table(changed, directory / kind / 'part-0000.parquet')


# The ways in which a figure goes wrong, on the text of a cell.


def _digit(draw: random.Random, text: str) -> str:
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return '7' if not text else text[:-1]
    place = draw.choice(places)
    return f'{text[:place]}{(int(text[place]) + draw.randint(1, 9)) % 10}{text[place + 1 :]}'


def _sign(draw: random.Random, text: str) -> str:
    return text[1:] if text.startswith('-') else f'-{text}'


def _drop(draw: random.Random, text: str) -> str:
    return '' if text else '0'


def _scale(draw: random.Random, text: str) -> str:
    try:
        return repr(float(text) * 1.001)
    except ValueError:
        return f'{text}x'


def edited(draw: random.Random, column: str, row: int, cells: Sequence[Sequence[str]]) -> str:
    """Return another text for a cell, which stands for another value."""
    place = COLUMNS.index(column)
    before = cells[row][place]
    while True:
        way = draw.choice([_digit, _digit, _sign, _drop, _scale])
        text = cells[1 - row][place] if draw.random() < 0.2 else way(draw, before)
        if str(cell_value(column, text)) != str(cell_value(column, before)):
            try:
                if float(text) == float(before):
                    continue
            except ValueError:
                pass
            return text


def as_json(column: str, text: str) -> Any:
    """Return the text of a cell as summary.json would hold it, if it could."""
    if KINDS[column][0] is str:
        return text
    if not text:
        return None
    return {'True': True, 'False': False}.get(text) if text in ('True', 'False') else _number(text)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def test_an_untouched_directory_is_clean(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing differs, what can't be determined is named, and the exit code is 0."""
    assert main(['check', str(measured)]) == EXIT_OK
    text = capsys.readouterr().out
    assert text.startswith('no difference in 2 runs')
    found = checked(measured)
    assert not found.differences
    assert {'bookkeeping_difference', 'machine_busy', 'demand_publish_s'} < {*found.undetermined}
    assert not {*found.undetermined} & ITEM_COLUMNS
    for name in found.undetermined:
        assert name in text


def test_each_of_200_random_edits_is_found(measured: Path, directory: Path) -> None:
    """A changed digit or sign, a dropped or swapped cell: the column and, if it can be, the file."""
    draw = random.Random(4)
    for kind in ('items', 'series'):
        # One part instead of several: all that is read 200 times.
        edit_part(directory, kind, list)
    cells = lines_of(measured)[1:]
    plain = json.loads((measured / SUMMARY).read_text(encoding='utf-8'))
    undetermined = {*checked(measured).undetermined}
    missed = []
    touched = set()
    for number in range(EDITS):
        row, column = draw.randrange(2), draw.choice(COLUMNS)
        text = edited(draw, column, row, cells)
        touched.add(column)
        shutil.copy(measured / RESULTS, directory / RESULTS)
        shutil.copy(measured / SUMMARY, directory / SUMMARY)
        file = draw.choice([RESULTS, SUMMARY])
        run = int(cells[row][COLUMNS.index('run')])
        if file == RESULTS:
            lines = lines_of(directory)
            lines[1 + row][COLUMNS.index(column)] = text
            write_lines(directory, lines)
        else:
            changed = json.loads(json.dumps(plain))
            if not text and draw.random() < 0.5:
                del changed['runs'][row][column]
            else:
                changed['runs'][row][column] = as_json(column, text)
            (directory / SUMMARY).write_text(json.dumps(changed), encoding='utf-8')
        found = named(directory)
        known = column not in undetermined
        right = {(file, run, column)} if known else {(name, run, column) for name in (RESULTS, SUMMARY)}
        if not found & right:
            missed.append((number, file, column, cells[row][COLUMNS.index(column)], text, found))
    assert missed == []
    assert len(touched) > 100


def test_swapped_cells_of_two_runs_are_found(directory: Path) -> None:
    """Two runs whose figures were exchanged, in both files alike, are told from the rows."""
    lines = lines_of(directory)
    place = COLUMNS.index('sojourn_p50_s')
    lines[1][place], lines[2][place] = lines[2][place], lines[1][place]
    write_lines(directory, lines)
    content = json.loads((directory / SUMMARY).read_text(encoding='utf-8'))
    one, two = content['runs']
    one['sojourn_p50_s'], two['sojourn_p50_s'] = two['sojourn_p50_s'], one['sojourn_p50_s']
    (directory / SUMMARY).write_text(json.dumps(content), encoding='utf-8')
    assert named(directory) == {
        (file, run, 'sojourn_p50_s') for file in (RESULTS, SUMMARY) for run in (0, 1)
    }


@pytest.mark.parametrize('column', ['efficiency', 'lost', 'seed', 'loop', 'verdict', 'backpressure_s'])
def test_the_same_edit_in_both_files_is_found(directory: Path, column: str) -> None:
    """What the rows, the series or config.toml determine needs no second file to be wrong."""
    wrong = {'loop': 'asyncio', 'verdict': 'caution'}.get(column, 3)
    lines = lines_of(directory)
    lines[1][COLUMNS.index(column)] = str(wrong)
    write_lines(directory, lines)
    content = json.loads((directory / SUMMARY).read_text(encoding='utf-8'))
    content['runs'][0][column] = wrong
    (directory / SUMMARY).write_text(json.dumps(content), encoding='utf-8')
    assert {(RESULTS, 0, column), (SUMMARY, 0, column)} <= named(directory)


def test_a_lost_comma_names_where_the_row_goes_astray(directory: Path) -> None:
    """A row with a cell too few is told by its first wrong column, not by all that follow."""
    lines = lines_of(directory)
    del lines[2][COLUMNS.index('method')]
    write_lines(directory, lines)
    columns = {column for file, run, column in named(directory) if run == 1}
    assert columns == {'method'}


def test_a_missing_row_and_a_missing_file_are_found(directory: Path) -> None:
    """A run that has items and no row, and a results file that is gone."""
    lines = lines_of(directory)
    write_lines(directory, lines[:2])
    assert (RESULTS, 1, 'run') in named(directory)
    (directory / RESULTS).unlink()
    assert named(directory) == {(RESULTS, None, '')}


def test_the_version_beside_the_rows_is_checked(directory: Path) -> None:
    """summary.json states the schema version once more."""
    content = json.loads((directory / SUMMARY).read_text(encoding='utf-8'))
    content['schema_version'] += 1
    (directory / SUMMARY).write_text(json.dumps(content), encoding='utf-8')
    assert named(directory) == {(SUMMARY, None, 'schema_version')}


def _set(column: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        row[column] = value(row[column]) if callable(value) else value

    return change


MS = 1_000_000


@pytest.mark.parametrize(
    ('change', 'column'),
    [
        (_set('sequence', 999), 'sequence'),
        (_set('sequence', 3), 'sequence'),
        (_set('phase', 'warmup'), 'sequence'),
        (_set('size_bytes', 1001), 'size_bytes'),
        (_set('intended_ns', lambda ns: ns - 1), 'intended_ns'),
        (_set('put_start_ns', lambda ns: ns + 40 * MS), 'put_done_ns'),
        (_set('put_done_ns', lambda ns: ns + 1), 'send_ns'),
        (_set('ack_ns', lambda ns: ns - 40 * MS), 'ack_ns'),
        (_set('receive_ns', lambda ns: ns - 40 * MS), 'receive_ns'),
        (_set('receive_ns', None), 'receive_ns'),
        (_set('start_ns', lambda ns: ns - 40 * MS), 'start_ns'),
        (_set('end_ns', lambda ns: ns + 40 * MS), 'complete_ns'),
        (_set('in_window', lambda inside: not inside), 'in_window'),
        (_set('reordered', True), 'reordered'),
        (_set('status', 'lost'), 'receive_ns'),
        (_set('error', 'a mistake'), 'error'),
        (_set('loop_wait_ns', -1), 'loop_wait_ns'),
    ],
)
def test_an_edited_item_is_found(
    directory: Path, change: Callable[[dict[str, Any]], None], column: str
) -> None:
    """A law of the rows is broken, and it says in which column."""

    def edit(rows: list[dict[str, Any]]) -> None:
        change(next(r for r in rows if (r['run'], r['phase'], r['sequence']) == (1, 'measure', 40)))

    edit_part(directory, 'items', edit)
    assert ('items', 1, column) in named(directory)


@pytest.mark.parametrize('column', ['submit_ns', 'resolved_ns', 'verified_ns', 'ack_ns', 'complete_ns'])
def test_an_instant_that_breaks_no_law_changes_a_figure(directory: Path, column: str) -> None:
    """A microsecond more is found by the figures that follow from it."""

    def edit(rows: list[dict[str, Any]]) -> None:
        row = next(r for r in rows if (r['run'], r['phase'], r['sequence']) == (0, 'measure', 40))
        row[column] += 1000

    edit_part(directory, 'items', edit)
    found = named(directory)
    assert any(file == RESULTS and run == 0 and name.endswith('_mean_s') for file, run, name in found)


def test_a_removed_and_a_doubled_item_are_found(directory: Path) -> None:
    """Every sequence number has exactly one row; many of a kind are counted, not listed."""

    def remove(rows: list[dict[str, Any]]) -> None:
        rows[:] = [row for row in rows if (row['run'], row['sequence']) != (0, 17)]

    edit_part(directory, 'items', remove)
    assert {('items', 0, 'sequence'), (RESULTS, 0, 'sent')} <= named(directory)

    def double(rows: list[dict[str, Any]]) -> None:
        rows += [dict(row) for row in rows if row['run'] == 1 and row['phase'] == 'measure']

    edit_part(directory, 'items', double)
    told = [e for e in checked(directory).differences if (e.file, e.run) == ('items', 1)]
    assert len([entry for entry in told if entry.column == 'sequence']) <= 4 * (MOST_TOLD + 1)
    assert any('more items' in str(entry.stored) for entry in told)


@pytest.mark.parametrize(
    ('column', 'by', 'last'),
    [
        ('sent', 1, False),
        ('received', -1, True),
        ('completed', 1, True),
        ('submitted', 5, True),
        ('backlog', 1, True),
        ('queue_depth', 3, True),
        ('queue_bytes', 7, True),
        ('in_flight', 1, False),
        ('credits', 1, True),
        ('backpressure_s', 0.5, True),
    ],
)
def test_an_edited_series_is_found(directory: Path, column: str, by: float, last: bool) -> None:
    """Counters follow from the items, and the last row from the run's."""

    def edit(rows: list[dict[str, Any]]) -> None:
        mine = sorted((r for r in rows if r['run'] == 0), key=lambda row: row['at_ns'])
        row = mine[-1 if last else 0]
        row[column] = (row[column] or 0) + by

    edit_part(directory, 'series', edit)
    found = named(directory)
    assert {('series', 0, column), (RESULTS, 0, column)} & found


@pytest.mark.parametrize(
    ('column', 'value', 'found'),
    [
        ('lag_max_s', 9.0, (RESULTS, 0, 'loop_lag_max_s')),
        ('ticks', lambda number: number + 1, (RESULTS, 0, 'loop_lag_n')),
        ('wakeups', lambda number: number + 1, (RESULTS, 0, 'loop_wakeups')),
        ('utilization', lambda share: share * 1.001, (SUMMARY, 0, 'loop_utilization')),
        ('cpu_utilization', lambda share: share * 1.001, (RESULTS, 0, 'loop_cpu')),
        ('iterations', lambda number: number + 1, (RESULTS, 0, 'loop_iterations')),
        ('stalls', lambda number: number + 1, (RESULTS, 0, 'loop_stalls')),
        ('stall_s', 2.0, ('loop', 0, 'stall_s')),
        ('duration_s', 1.5, ('loop', 0, 'duration_s')),
        ('run', 7, ('loop', 0, 'start_ns')),
    ],
)
def test_an_edited_second_of_the_loop_is_found(
    directory: Path, column: str, value: Any, found: tuple[str, int, str]
) -> None:
    """Columns follow from the seconds, and these from each other."""

    def edit(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row['run'] == 0:
                _set(column, value)(row)

    edit_part(directory, 'loop', edit)
    assert found in named(directory)


def test_an_edited_histogram_of_the_lag_is_found(directory: Path) -> None:
    """Its percentiles stand in the results, and it has as many ticks as the seconds."""

    def moved(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row['run'] == 0:
                row |= {'low_ns': 2 * row['low_ns'], 'high_ns': 2 * row['high_ns']}

    def fewer(rows: list[dict[str, Any]]) -> None:
        rows.remove(next(row for row in rows if row['run'] == 1))

    edit_part(directory, 'lags', moved)
    assert (RESULTS, 0, 'loop_lag_p50_s') in named(directory)
    edit_part(directory, 'lags', fewer)
    assert ('lags', 1, 'ticks') in named(directory)


def test_thresholds_and_workers_are_told_again(directory: Path) -> None:
    """What became of a threshold follows from its figure, and the hosts from the warm-up."""
    for column in ('thresholds', 'worker_hosts'):
        lines = lines_of(directory)
        lines[1][COLUMNS.index(column)] += '9'
        write_lines(directory, lines)
        assert (RESULTS, 0, column) in named(directory)


def test_bounds_of_the_plan_are_those_of_the_verdict(directory: Path) -> None:
    """A verdict that another bound would give is found."""
    path = directory / 'config.toml'
    text = path.read_text(encoding='utf-8')
    assert '"machine_busy=1"' in text
    path.write_text(
        text.replace(
            '"machine_busy=1"', '"machine_busy=1", "late_caution_s=0", "late_caution_share=0"'
        ),
        encoding='utf-8',
    )
    assert {column for _, _, column in named(directory)} == {'verdict', 'reasons'}


def test_without_a_plan_the_rest_is_checked(directory: Path) -> None:
    """A config.toml that is gone takes the check of what was asked with it, and this is said."""
    (directory / 'config.toml').unlink()
    found = checked(directory)
    assert not found.differences
    assert {'seed', 'verdict'} <= {*found.undetermined}
    lines = lines_of(directory)
    lines[1][COLUMNS.index('efficiency')] = lines[1][COLUMNS.index('verdict')] = '0.5'
    write_lines(directory, lines)
    assert {(RESULTS, 0, 'efficiency'), (RESULTS, 0, 'verdict')} <= named(directory)
    assert any('config.toml' in note for note in found.notes)


def test_a_directory_of_another_machine_is_clean(directory: Path) -> None:
    """Whose clock the items are on is told by environment.json, not by the machine that checks."""

    def edit(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row['worker_clock'] = row['worker_clock'] and 'another boot'

    edit_part(directory, 'items', edit)
    path = directory / 'environment.json'
    found = json.loads(path.read_text(encoding='utf-8')) | {'clock_domain': 'another boot'}
    path.write_text(json.dumps(found), encoding='utf-8')
    assert named(directory) == set()


@pytest.mark.parametrize('limit', ['abort: received <= 3', ''])
async def test_a_run_that_was_ended_is_clean(tmp_path: Path, limit: str) -> None:
    """Items that nobody waited for have a status of their own, and give their credits back."""
    values: dict[str, Any] = {
        **{'executor': 'simulated', 'stream': 'memory', 'stream_method': 'default'},
        **{'data_size_bytes': 500, 'task_sleep': 0.3, 'task_count': 200, 'loop': loop_name()},
        **{'rate': 'max', 'max_outstanding': 20, 'seed': 2, 'threshold': [limit] if limit else []},
    }
    plan = make_plan(values)
    recorder = Recorder(tmp_path)
    async with recorder, open_session(plan.first, recorder=recorder) as session:
        running = asyncio.create_task(session.run(plan.runs[0]))
        # Without a limit it is cancelled, as Ctrl-C does.
        await asyncio.wait([running], timeout=None if limit else 0.8)
        running.cancel()
        await asyncio.wait([running])
    (row,) = recorder.rows
    assert row.ended == ('aborted' if limit else 'interrupted')
    assert row.unfinished > 0
    assert (row.lost, row.failed) == (0, 0)
    await asyncio.to_thread(recorder.write_toml, 'config.toml', plan.values)
    found = await asyncio.to_thread(named, tmp_path)
    assert found == set()


@pytest.fixture(
    scope='module',
    params=[
        '--executor thread --stream-method default proxy --ps-connector local --rate max '
        '--task-count 300',
        '--executor simulated --stream-method default --rate max --duration 0.6 --task-sleep 0.01 '
        '--max-outstanding 20',
        '--executor simulated --stream-method default --duration 1.2 --arrival poisson --load 0.7 '
        '--data-size-dist lognormal:0.5 --warmup 0.3',
        '--executor thread --stream-method default --load 0.8 --record none --task-count 50',
        '--executor thread --stream-method default --generator worker --task-count 50 --load 0.5',
        '--executor thread --stream-method default --queue-size 3 --max-in-flight 1 --load 2 '
        '--task-count 100 --loop asyncio',
        '--executor simulated --stream-method default --task-count 5 --load 0.5 1 --task-sleep 0.01',
    ],
)
def any_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run: closed loops, durations, drawn traffic, no rows, a full queue."""
    root = tmp_path_factory.mktemp('any')
    common = '--stream memory --max-workers 3 --task-sleep 0.004 --data-size-bytes 500 --seed 2'
    main(['run', *common.split(), *request.param.split(), '--run-dir', str(root)])
    (found,) = root.iterdir()
    return found


def test_any_kind_of_run_is_clean(any_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The laws hold for every way to make a run."""
    code = main(['check', str(any_run)])
    assert code == EXIT_OK, capsys.readouterr().out


def test_what_it_prints(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each difference with file, run, column, both figures in full; in four forms; exit code 4."""
    lines = lines_of(directory)
    place = COLUMNS.index('sojourn_p95_s')
    before, lines[1][place] = lines[1][place], '0.25'
    write_lines(directory, lines)
    assert main(['check', str(directory), '--format', 'json']) == EXIT_INTEGRITY
    found = json.loads(capsys.readouterr().out)
    assert found['rows'] == [
        {
            'file': RESULTS,
            'run': 0,
            'column': 'sojourn_p95_s',
            'stored': 0.25,
            'recomputed': pytest.approx(float(before)),
            'source': 'items',
        }
    ]
    assert found['notes'][0] == '1 difference in 2 runs'
    assert main(['check', str(directory)]) == EXIT_INTEGRITY
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ['file', 'run', 'column', 'stored', 'recomputed', 'by']
    assert row.split() == [RESULTS, '1', 'sojourn_p95_s', '0.25', before, 'items']
    assert main(['check', str(directory), '--format', 'csv']) == EXIT_INTEGRITY
    done = capsys.readouterr()
    assert done.out.splitlines()[1] == f'{RESULTS},0,sojourn_p95_s,0.25,{before},items'
    assert 'nothing determines' in done.err


def test_other_code_is_told(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What differs from results of another revision may be the code's doing."""
    path = directory / 'environment.json'
    found = json.loads(path.read_text(encoding='utf-8'))
    assert main(['check', str(directory)]) == EXIT_OK
    path.write_text(json.dumps(found | {'git_revision': 'abc1234'}), encoding='utf-8')
    assert main(['check', str(directory)]) == EXIT_OK
    assert 'abc1234' not in capsys.readouterr().out
    lines = lines_of(directory)
    lines[1][COLUMNS.index('sojourn_p95_s')] = '0.25'
    write_lines(directory, lines)
    assert main(['check', str(directory)]) == EXIT_INTEGRITY
    assert 'written by streambench 0.1.0 of revision abc1234' in capsys.readouterr().out


def test_a_damaged_part_is_found(directory: Path) -> None:
    """A truncated part is named, and so are the figures that miss its rows."""
    part = sorted((directory / 'items').iterdir())[-1]
    part.write_bytes(part.read_bytes()[:-20])
    found = named(directory)
    assert (f'items/{part.name}', None, '') in found
    assert any(column == 'sent' for _, _, column in found)


@pytest.mark.parametrize(
    ('kind', 'column', 'values'),
    [
        ('items', 'run', pyarrow.string()),
        ('items', 'intended_ns', pyarrow.float64()),
        ('items', 'sequence', None),
        ('series', 'at_ns', None),
        ('series', 'sent', pyarrow.string()),
        ('loop', 'duration_s', None),
        ('lags', 'ticks', None),
    ],
)
def test_a_part_of_another_kind_is_damaged(
    directory: Path, kind: str, column: str, values: pyarrow.DataType | None
) -> None:
    """Numbers that are texts, and nothing where there always is a number, end in a sentence."""
    part = next((directory / kind).iterdir())
    table = pyarrow.parquet.read_table(part)
    place, metadata = table.schema.get_field_index(column), table.schema.metadata
    changed = (
        table[column].cast(values)
        if values
        else pyarrow.nulls(table.num_rows, table.schema.field(column).type)
    )
    table = table.set_column(place, column, changed).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, part)
    assert (f'{kind}/{part.name}', None, '') in named(directory)
    assert main(['summarize', str(directory)]) in (EXIT_OK, EXIT_CONFIG)
    assert main(['summarize', str(directory), '--per-second']) in (EXIT_OK, EXIT_CONFIG)


def test_a_part_of_another_version_is_not_read(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named with its version; the others are read."""
    part = sorted((directory / 'items').iterdir())[-1]
    table = pyarrow.parquet.read_table(part).drop_columns(['loop_wait_ns'])
    other = part.with_name('part-0077.parquet')
    pyarrow.parquet.write_table(table.replace_schema_metadata({'schema_version': '2'}), other)
    assert (f'items/{other.name}', None, '') in named(directory)
    assert main(['summarize', str(directory)]) == EXIT_OK
    assert f'items/{other.name} is of schema version 2, the others of 3' in capsys.readouterr().out


@pytest.mark.parametrize('column', ['compute_workers', 'generators'])
def test_no_worker_is_a_difference_and_no_division(
    directory: Path, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the plan says better its number counts; without it there are no figures."""
    lines = lines_of(directory)
    lines[1][COLUMNS.index(column)] = '0'
    write_lines(directory, lines)
    (directory / 'summary.json').unlink()
    assert (RESULTS, 0, column) in named(directory)
    assert main(['summarize', str(directory)]) == EXIT_OK
    assert 'nothing says what was asked' not in capsys.readouterr().out
    (directory / 'config.toml').unlink()
    assert (RESULTS, 0, column) in named(directory)
    assert main(['summarize', str(directory)]) == EXIT_OK
    assert 'run 1: nothing says what was asked' in capsys.readouterr().out


@pytest.mark.parametrize('version', [1, 2, 4])
def test_another_schema_version_is_refused(
    directory: Path, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which version is checked here and which streambench checks the other."""
    for kind in ('items', 'series'):
        for part in (directory / kind).iterdir():
            table = pyarrow.parquet.read_table(part)
            metadata = {'schema_version': str(version)}
            pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), part)
    assert main(['check', str(directory)]) == EXIT_CONFIG
    said = capsys.readouterr().err
    assert f"is of schema version '{version}'" in said
    assert 'checks version 3 only' in said
    assert re.search(r'streambench 0\.1\.0 of revision \S+, which wrote it', said)
    assert ('newer' in said) is (version == 4)


def test_a_run_that_stands_twice_is_told(directory: Path) -> None:
    """A second row of a run in the results is a difference, and so is one that no other file knows."""
    lines = lines_of(directory)
    write_lines(directory, [*lines, lines[-1]])
    assert [(entry.file, entry.run, entry.stored) for entry in checked(directory).differences] == [
        (RESULTS, 1, '2 rows')
    ]
    place = lines[0].index('run')
    write_lines(directory, [*lines, [*lines[-1][:place], '2', *lines[-1][place + 1 :]]])
    assert (SUMMARY, 2, 'run') in named(directory)

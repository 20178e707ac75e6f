"""`summarize`: the window moves without measuring again, and what a killed process left is used."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from streambench.cli import main
from streambench.cli.stage_table import stages_table
from streambench.cli.summarize import duration_s
from streambench.errors import EXIT_CONFIG, EXIT_OK
from streambench.records import MEASURE, SCHEMA_VERSION, RunRow, column_names
from streambench.recount import ITEM_COLUMNS, Recount, recount, runs_of, seconds_of
from streambench.run_directory import open_run_directory
from streambench.run_row import BLANK
from streambench.stored_rows import cell_value

RATE_PER_S = 100
COUNT = 230
RUN = (
    '--executor simulated --stream memory --stream-method default --max-workers 3 --task-sleep 0.004 '
    f'--data-size-bytes 1000 --rate {RATE_PER_S} --seed 5 --bound machine_busy=1'
)


@pytest.fixture(scope='module')
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of two real runs of 2.3 s."""
    root = tmp_path_factory.mktemp('measured')
    words = [*RUN.split(), '--task-count', str(COUNT), '--repeat', '2']
    main(['run', *words, '--run-dir', str(root)])
    (found,) = root.iterdir()
    return found


@pytest.fixture
def directory(measured: Path, tmp_path: Path) -> Path:
    """Return a copy of it that may be damaged."""
    return Path(shutil.copytree(measured, tmp_path / 'copy'))


def counted(directory: Path, warmup_s: float | None = None) -> list[Recount]:
    """Return the figures of all runs again."""
    with open_run_directory(directory, does='summarize', reads=(1, 2, 3)) as found:
        entries = [recount(found, run, warmup_s=warmup_s) for run in runs_of(found)]
    return [entry for entry in entries if entry is not None]


def stored(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of results.csv."""
    with (directory / 'results.csv').open(newline='', encoding='utf-8') as file:
        return [
            {name: cell_value(name, cell) for name, cell in row.items()} for row in csv.DictReader(file)
        ]


def items(directory: Path) -> list[dict[str, Any]]:
    """Return all measured items."""
    parts = [pyarrow.parquet.read_table(part) for part in sorted((directory / 'items').iterdir())]
    rows: list[dict[str, Any]] = pyarrow.concat_tables(parts).to_pylist()
    return [row for row in rows if row['phase'] == MEASURE]


def content(directory: Path) -> dict[str, bytes]:
    """Return every file of a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob('*')
        if path.is_file()
    }


def test_the_window_that_was_measured_gives_the_same_figures(measured: Path) -> None:
    """Without `--warmup` every figure is that of results.csv."""
    found = counted(measured)
    assert [entry.run for entry in found] == [0, 1]
    for entry, row in zip(found, stored(measured), strict=True):
        assert {name: entry.row[name] for name in column_names(RunRow)} == row
        assert (entry.rows, entry.inside, entry.missing, entry.recovered) == (COUNT, COUNT, 0, False)


def test_the_window_moves(measured: Path) -> None:
    """With another warm-up the figures are those of the items due after it, and nothing is changed."""
    before = content(measured)
    (entry, _) = counted(measured, warmup_s=0.5)
    assert content(measured) == before
    mine = [row for row in items(measured) if row['run'] == 0]
    first = min(row['intended_ns'] for row in mine)
    inside = [row for row in mine if row['intended_ns'] - first >= 500_000_000]
    assert entry.inside == entry.row['window_n'] == len(inside) == COUNT - RATE_PER_S // 2
    sojourns = [(row['complete_ns'] - row['intended_ns']) / 1e9 for row in inside]
    assert entry.row['sojourn_n'] == len(inside)
    assert entry.row['sojourn_mean_s'] == pytest.approx(sum(sojourns) / len(sojourns))
    assert entry.row['sojourn_max_s'] == pytest.approx(max(sojourns))
    span = (max(r['complete_ns'] for r in inside) - min(r['intended_ns'] for r in inside)) / 1e9
    assert entry.row['throughput_per_s'] == pytest.approx(len(inside) / span)
    # The counts are those of the whole run.
    assert entry.row['completed_tasks'] == COUNT


def test_a_window_behind_the_end_has_no_figures(measured: Path) -> None:
    """They are absent, not those of before."""
    (entry, _) = counted(measured, warmup_s=60)
    assert entry.inside == 0
    assert entry.row['sojourn_p50_s'] is None
    assert entry.row['throughput_per_s'] is None


def test_seconds(measured: Path) -> None:
    """Each second has its due items, its completions and where the run stood."""
    with open_run_directory(measured, does='summarize') as found:
        entry = recount(found, 1)
        assert entry is not None
        seconds = seconds_of(found, entry)
    assert [second.second for second in seconds] == [0, 1, 2]
    assert [second.due for second in seconds] == [RATE_PER_S, RATE_PER_S, COUNT - 2 * RATE_PER_S]
    assert sum(second.completed for second in seconds) == COUNT
    assert all(part is not None for part in seconds[0].sojourns[:2])
    # A p99 needs more items than are due in a second.
    assert seconds[0].sojourns[2] is None
    states = [second.state for second in seconds if second.state]
    assert len(states) == 3
    assert states[-1]['sent'] == states[-1]['completed'] == COUNT
    assert 0 < states[0]['sent'] <= RATE_PER_S + 1


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [('5s', 5), ('500ms', 0.5), ('5', 5), ('0', 0), ('2min', 120), ('1.5 s', 1.5), ('1e-1s', 0.1)],
)
def test_durations(text: str, seconds: float) -> None:
    """A number with a unit; seconds without."""
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize('text', ['', 's', '-5s', 'nan', '5 weeks', '1e30', '5s5', '1.2.3'])
def test_no_durations(text: str) -> None:
    """Everything else is refused with the value."""
    with pytest.raises(argparse.ArgumentTypeError, match='must be a duration such as 5s'):
        duration_s(text)


def said(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `summarize` prints."""
    capsys.readouterr()
    assert main(['summarize', *words]) == EXIT_OK
    return capsys.readouterr().out


def test_what_it_prints(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row per run, the window in a note; raw figures for programs; a row per second."""
    text = said([str(measured), '--warmup', '300ms'], capsys)
    head, first, *_ = text.splitlines()
    for name in ('done / lost', 'efficiency', 'items/s', 'sojourn p50', 'p99', 'bottleneck', 'verdict'):
        assert name in head
    assert f'{COUNT} / 0' in first
    # A p99 needs 299 items.
    assert 'n < 299' in first
    assert 'runs 1, 2: 3 workers = 1 generator + 2 compute' in text
    assert 'waiting for a worker: ' in text
    assert 'runs 1, 2: 200 rows inside the window, 30 before it (warm-up of 0.3 s)' in text
    found = json.loads(said([str(measured), '--warmup', '0.3', '--format', 'json'], capsys))
    assert [row['run'] for row in found['rows']] == [0, 1]
    assert {row['window_n'] for row in found['rows']} == {200}
    assert found['rows'][0]['sojourn_p50_low_s'] <= found['rows'][0]['sojourn_p50_s']
    text = said([str(measured), '--per-second', '--warmup', '500ms', '--format', 'csv'], capsys)
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row['run'], row['second']) for row in rows] == [(r, s) for r in '01' for s in '012']
    assert [row['in_window'] for row in rows] == ['False', 'True', 'True'] * 2
    assert {'sent', 'backlog', 'queue_depth', 'in_flight', 'credits', 'sojourn_p95_s'} < {*rows[0]}
    text = said([str(measured), '--per-second', '--warmup', '500ms', '--format', 'md'], capsys)
    assert text.startswith('| run | second | counts |')
    assert 'partly' in text


def test_stages_are_a_table(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each stage with n, mean, percentiles, their intervals and max, the sojourns side by side."""
    found = json.loads(said([str(measured), '--stages', '--format', 'json'], capsys))
    rows = {(row['run'], row['stage']): row for row in found['rows']}
    for number, entry in enumerate(counted(measured)):
        for stage in ('publish_delay', 'dispatch', 'publish_latency', 'sojourn', 'uncorrected_sojourn'):
            for name in ('n', 'mean_s', 'p95_s', 'p95_low_s', 'p95_high_s', 'max_s'):
                assert rows[number, stage][name] == entry.row[f'{stage}_{name}']
        assert rows[number, 'sojourn']['p99_s'] is None
    lines = said([str(measured), '--stages'], capsys).splitlines()
    (one,) = [line for line in lines if line.split()[:2] == ['1', 'default']]
    assert 'publish_delay' in one
    after = next(place for place, line in enumerate(lines) if line.split()[0] == 'sojourn')
    assert lines[after + 1].split()[0] == 'uncorrected_sojourn'
    assert 'n < 299' in lines[after]


def test_stages_that_clocks_can_not_tell_apart_are_one() -> None:
    """Their means add up; alone they have no meaning, nor has a sojourn that grows a percentile."""
    known = {'dispatch_n': 9, 'return_n': 9, 'dispatch_mean_s': -0.05, 'return_mean_s': 0.054}
    growing = {'sojourn_n': 9, 'sojourn_mean_s': 1, 'sojourn_max_s': 2, 'sojourn_growth_s': 0.002}
    row = BLANK | known | growing | {'clock_shift_bound_s': 0.06, 'dispatch_p50_s': -0.05}
    text = stages_table([row], form='table', notes=[])
    both, sojourn = text.splitlines()[1:]
    assert 'dispatch + return  9     4.00' in both
    assert 'grows by 2 ms per item' in sojourn


def test_a_run_without_a_row_is_recovered(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run's row was never written: what was asked of it comes from config.toml."""
    before = stored(directory)
    lines = (directory / 'results.csv').read_text(encoding='utf-8').splitlines(keepends=True)
    (directory / 'results.csv').write_text(''.join(lines[:2]), encoding='utf-8')
    (directory / 'summary.json').unlink()
    one, two = counted(directory)
    assert (one.recovered, two.recovered) == (False, True)
    assert {name: two.row[name] for name in ITEM_COLUMNS} == {n: before[1][n] for n in ITEM_COLUMNS}
    assert two.row['seed'] == before[1]['seed']
    assert two.row['verdict'] == 'invalid'
    text = said([str(directory)], capsys)
    assert 'run 2: recovered from its items, its row was never written' in text


def test_an_instant_far_away_is_no_row_for_each_second(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An item that took 58 days ends in a sentence, not in millions of rows."""
    part = sorted((directory / 'items').iterdir())[-1]
    table = pyarrow.parquet.read_table(part)
    ends = [*table['complete_ns'].to_pylist()[:-1], table['complete_ns'][-1].as_py() + 5 * 10**15]
    place = table.schema.get_field_index('complete_ns')
    table = table.set_column(place, table.schema.field(place), [pyarrow.array(ends, pyarrow.int64())])
    pyarrow.parquet.write_table(table, part)
    assert main(['summarize', str(directory), '--per-second']) == EXIT_CONFIG
    assert 'contradict each other' in capsys.readouterr().err


def test_damaged_parts_are_left_out_and_told(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated part, one that was not sealed, and a truncated results.csv."""
    parts = sorted((directory / 'items').iterdir())
    sizes = [
        sum(row['phase'] == MEASURE for row in pyarrow.parquet.read_table(part).to_pylist())
        for part in parts
    ]
    whole = parts[-1].read_bytes()
    parts[-1].write_bytes(whole[: len(whole) // 2])
    (directory / 'items' / 'part-0099.tmp').write_bytes(whole[:100])
    text = (directory / 'results.csv').read_text(encoding='utf-8')
    (directory / 'results.csv').write_text(text[:-400], encoding='utf-8')
    found = counted(directory)
    assert sum(entry.rows for entry in found) == 2 * COUNT - sizes[-1]
    assert found[-1].missing == sizes[-1] > 0
    # Its row stands in summary.json too.
    assert not found[-1].recovered
    printed = said([str(directory)], capsys)
    assert f'at least {sizes[-1]} more items were sent whose rows are not' in printed
    assert f'not read: items/{parts[-1].name} is damaged: its rows are not read' in printed
    assert 'not read: items/part-0099.tmp was not finished: its rows are not read' in printed
    assert 'cells under' in printed


def test_an_unsealed_part_that_is_whole_is_used(directory: Path) -> None:
    """The process died between writing and renaming."""
    part = sorted((directory / 'items').iterdir())[-1]
    part.rename(part.with_suffix('.tmp'))
    assert sum(entry.rows for entry in counted(directory)) == 2 * COUNT


def test_a_killed_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After SIGKILL the rows that were sealed give figures."""
    words = [sys.executable, '-m', 'streambench', 'run', *RUN.split(), '--task-count', '100000']
    process = subprocess.Popen(
        [*words, '--run-dir', str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob('*/items/*.parquet')):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (directory,) = tmp_path.iterdir()
    (entry,) = counted(directory)
    assert entry.recovered
    assert entry.rows > 10
    assert entry.row['sojourn_p50_s'] == pytest.approx(0.004, rel=0.5)
    assert entry.row['seed'] is not None
    assert 'the process was killed' in said([str(directory), '--per-second'], capsys)


def rewrite(directory: Path, *, version: int, without: Sequence[str] = ()) -> None:
    """Make the parts those of another schema version."""
    for part in (directory / 'items').iterdir():
        table = pyarrow.parquet.read_table(part).drop_columns(list(without))
        table = table.replace_schema_metadata({'schema_version': str(version)})
        pyarrow.parquet.write_table(table, part)
    for part in (directory / 'series').iterdir():
        table = pyarrow.parquet.read_table(part)
        table = table.drop_columns(['backlog', 'credits'] if without else [])
        table = table.replace_schema_metadata({'schema_version': str(version)})
        pyarrow.parquet.write_table(table, part)


def test_version_1_is_read(directory: Path) -> None:
    """What it didn't have is absent, and the figures of the rest are the same."""
    before = counted(directory, warmup_s=0.5)
    rewrite(directory, version=1, without=['loop_wait_ns', 'in_window'])
    after = counted(directory, warmup_s=0.5)
    for one, two in zip(before, after, strict=True):
        for name in ('window_n', 'sojourn_p95_s', 'efficiency', 'queue_wait_mean_s'):
            assert one.row[name] == two.row[name]
        assert two.row['loop_wait_n'] == 0


def test_a_later_version_is_refused(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which streambench reads it."""
    rewrite(directory, version=SCHEMA_VERSION + 1)
    assert main(['summarize', str(directory)]) == EXIT_CONFIG
    sentence = capsys.readouterr().err
    assert f"is of schema version '{SCHEMA_VERSION + 1}'" in sentence
    assert 'summarizes version 1, 2 and 3 only' in sentence
    assert re.search(r'with streambench 0\.1\.0 of revision \S+, which wrote it, or a newer', sentence)


def _empty(path: Path) -> None:
    return


def _foreign(path: Path) -> None:
    (path / 'holiday.jpg').write_bytes(b'\xff\xd8')


def _started(path: Path) -> None:
    (path / 'config.toml').write_text('seed = 1\n', encoding='utf-8')
    (path / 'environment.json').write_text('{}', encoding='utf-8')


def _results_only(path: Path) -> None:
    (path / 'results.csv').write_text('run,schema_version\n0,2\n', encoding='utf-8')


def _psbench(path: Path) -> None:
    (path / 'results.csv').write_text('executor,workers\nThreadPoolExecutor,4\n', encoding='utf-8')


def _damaged(path: Path) -> None:
    (path / 'items').mkdir()
    (path / 'items' / 'part-0000.parquet').write_bytes(b'PAR1')


@pytest.mark.parametrize(
    ('fill', 'words'),
    [
        (_empty, 'is empty; name a run directory'),
        (_foreign, 'holds nothing that streambench wrote'),
        (_started, 'holds no row of any run'),
        (_results_only, 'holds no items to compute from'),
        (_psbench, 'name no schema version, as those of psbench'),
        (_damaged, 'holds nothing that can be read: '),
    ],
)
def test_one_sentence_for_what_can_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fill: Any, words: str
) -> None:
    """An empty, a foreign, and a hopeless directory; no traceback, exit code 2."""
    fill(tmp_path)
    assert main(['summarize', str(tmp_path)]) == EXIT_CONFIG
    sentence = capsys.readouterr().err
    assert words in sentence
    assert len(sentence.splitlines()) == 1


def test_the_directory_of_run_directories_names_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever names `runs` is told which of the directories in it was written last."""
    for age, name in enumerate(('c', 'a', 'b')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'summary.json').touch()
        os.utime(tmp_path / name, (1_000 - age, 1_000 - age))
    (tmp_path / 'notes').mkdir()
    assert main(['summarize', str(tmp_path)]) == EXIT_CONFIG
    hint = f"name one of the run directories in it, of which '{tmp_path}/c' is the newest.\n"
    assert capsys.readouterr().err.endswith(hint)


@pytest.mark.parametrize('command', ['summarize', 'check'])
def test_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A path that isn't there, and one that is a file."""
    assert main([command, str(tmp_path / 'none')]) == EXIT_CONFIG
    assert 'can not be read (No such file or directory)' in capsys.readouterr().err
    (tmp_path / 'file').touch()
    assert main([command, str(tmp_path / 'file')]) == EXIT_CONFIG
    assert 'is a file' in capsys.readouterr().err


def test_no_plan_and_no_row_is_told(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing says what was asked there are no figures, and this is said."""
    for name in ('config.toml', 'results.csv', 'summary.json'):
        (directory / name).unlink()
    text = said([str(directory)], capsys)
    assert 'runs 1, 2: nothing says what was asked' in text


@pytest.mark.parametrize('words', [['list'], ['run', '--dry-run', '--stream', 'memory']])
def test_every_table_has_a_format(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`list` and the dry run print their tables in four forms."""
    first = 'kind' if words[0] == 'list' else 'run'
    for form, begin in (('json', '{'), ('md', f'| {first} |'), ('csv', f'{first},')):
        assert main([*words, '--format', form]) == EXIT_OK
        text = capsys.readouterr().out
        assert text.startswith(begin)
        if form == 'json':
            assert len(json.loads(text)['rows']) > 2

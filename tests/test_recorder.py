"""The run directory: private, sealed in parts, derived from one schema."""

from __future__ import annotations

import asyncio
import csv
import json
import stat
import tomllib
from pathlib import Path

import pyarrow.parquet
import pytest

from streambench.errors import ConfigError, RunError
from streambench.recorder import Recorder, make_run_directory
from streambench.records import (
    PSBENCH_COLUMNS,
    SCHEMA_VERSION,
    ItemRow,
    RunRow,
    SeriesRow,
    column_names,
)


def test_psbench_columns_come_first() -> None:
    """The ancestor's eleven columns keep their names and their order."""
    assert PSBENCH_COLUMNS == (
        'executor',
        'connector',
        'stream',
        'data_size_bytes',
        'task_count',
        'task_sleep',
        'method',
        'workers',
        'completed_tasks',
        'start_submit_tasks_timestamp',
        'end_tasks_done_timestamp',
    )


@pytest.mark.parametrize('record', [ItemRow, SeriesRow, RunRow])
def test_every_column_is_explained(record: type[ItemRow | SeriesRow | RunRow]) -> None:
    """Each column has a sentence, and a unit where its name ends in one."""
    from dataclasses import fields

    for entry in fields(record):
        assert entry.metadata['doc'].endswith('.'), entry.name
        for suffix in ('ns', 'bytes'):
            if entry.name.endswith(f'_{suffix}'):
                assert entry.metadata['unit'] == suffix, entry.name


def test_run_directory_is_private_and_fresh(tmp_path: Path) -> None:
    """Nobody else reads it, and two runs of a second don't share it."""
    paths = {make_run_directory(str(tmp_path / 'runs')) for _ in range(3)}
    assert len(paths) == 3
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    """The error names the value and the remedy."""
    (tmp_path / 'runs').write_text('')
    with pytest.raises(ConfigError, match='is a file'):
        make_run_directory(str(tmp_path / 'runs'))


async def test_rows_come_back(tmp_path: Path) -> None:
    """Items and series are whole Parquet files with units; results are CSV and JSON."""
    async with Recorder(tmp_path) as recorder:
        for number in range(5000):
            recorder.item(ItemRow(run=0, sequence=number, intended_ns=number))
        recorder.series(SeriesRow(run=0, at_ns=5, sent=7))
        await recorder.seal()
        await recorder.run(RunRow(executor='E', verdict='valid', efficiency=0.5))
        await recorder.run(RunRow(run=1))
    await asyncio.to_thread(look, tmp_path)


def look(directory: Path) -> None:
    """Read back what the test above wrote."""
    parts = sorted((directory / 'items').glob('part-*.parquet'))
    tables = [pyarrow.parquet.read_table(part) for part in parts]
    assert [n for table in tables for n in table['sequence'].to_pylist()] == list(range(5000))
    assert tables[0].column_names == list(column_names(ItemRow))
    assert tables[0].schema.field('intended_ns').metadata[b'unit'] == b'ns'
    assert tables[0].schema.metadata[b'schema_version'] == str(SCHEMA_VERSION).encode()
    assert not list(directory.rglob('*.tmp'))
    with (directory / 'results.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['executor'] for row in rows] == ['E', '']
    assert (rows[0]['efficiency'], rows[1]['efficiency']) == ('0.5', '')
    summary = json.loads((directory / 'summary.json').read_text(encoding='utf-8'))
    assert [run['run'] for run in summary['runs']] == [0, 1]


def test_toml_round_trip(tmp_path: Path) -> None:
    """Options of every kind are written so that they can be read again."""
    values = {'workers': 4, 'stream_option': (('a', 'b'),), 'sweep': {'rate': [1, 'max']}}
    Recorder(tmp_path).write_toml('config.toml', values)
    data = tomllib.loads((tmp_path / 'config.toml').read_text(encoding='utf-8'))
    assert data == {'workers': 4, 'stream_option': ['a=b'], 'sweep': {'rate': [1, 'max']}}


async def test_a_directory_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    """Results that can't be written end in an error that says where and what to do."""
    recorder = Recorder(tmp_path / 'gone')
    recorder.item(ItemRow())
    with pytest.raises(RunError, match='choose another --run-dir'):
        async with recorder:
            await recorder.seal()

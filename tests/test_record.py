"""`--record none`: counts and throughput without any row, everywhere where figures would stand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from streambench.cli import main
from streambench.errors import EXIT_CONFIG, EXIT_OK

SOME = ['--task-count', '30', '--task-sleep', '0.01', '--data-size-bytes', '1kB', '--record', 'none']


@pytest.mark.parametrize(
    ('executor', 'words'),
    [
        ('thread', ['--stream', 'memory', '--ps-connector', 'local']),
        ('parsl', []),
        ('thread', ['--stream', 'memory', '--stream-method', 'default', '--rate', 'max']),
    ],
)
def test_only_counts_and_throughput(
    executor: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No row is written; table, verdict and thresholds say what they can, and why not more."""
    limits = ['--threshold', 'lost == 0', 'sojourn_p50 < 1s', 'throughput > 0.1']
    code = main(['run', '--executor', executor, *SOME, *words, *limits, '--run-dir', str(tmp_path)])
    told = capsys.readouterr().out
    assert code == EXIT_OK, told
    (directory,) = tmp_path.iterdir()
    assert not (directory / 'items').exists()
    with (directory / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {row['method'] for row in rows} == ({'default'} if 'max' in words else {'default', 'proxy'})
    for row in rows:
        assert row['record'] == 'none'
        assert (row['sent'], row['completed_tasks'], row['lost']) == ('30', '30', '0')
        assert float(row['throughput_per_s']) > 0
        assert float(row['makespan_s']) > 0
        assert row['sojourn_p50_s'] == row['efficiency'] == row['bookkeeping_difference'] == ''
        assert 'inconclusive: sojourn_p50 < 1s · absent: --record none keeps none' in row['thresholds']
        assert row['verdict'] in ('valid', 'caution')
    assert 'not kept' in told
    assert '--record none: no figures of items were kept' in told
    assert 'where it went' not in told
    assert 'late (median)' not in told


def test_it_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two such measurements compare by throughput; with one that has rows only if told to."""
    common = ['--executor', 'thread', '--stream', 'memory', '--stream-method', 'default', '--load', '1']

    def measured(name: str, *words: str) -> str:
        root = tmp_path / name
        given: list[Any] = ['run', *common, *SOME[:-2], *words, '--run-dir', str(root)]
        assert main(given) == EXIT_OK
        return str(next(root.iterdir()))

    a, b = (measured(name, '--record', 'none') for name in 'ab')
    c = measured('c')
    capsys.readouterr()
    assert main(['compare', a, b, '--force']) == EXIT_OK
    assert 'makespan' in capsys.readouterr().out
    assert main(['compare', a, c]) == EXIT_CONFIG
    assert 'record is none in A and all in B' in capsys.readouterr().err
    assert main(['compare', a, c, '--force']) == EXIT_OK


def test_others_beside_it_are_summarized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run without rows its row is shown as it stands, beside one whose figures are made anew."""
    config = tmp_path / 'both.toml'
    config.write_text('[sweep]\nrecord = ["all", "none"]\n')
    words = ['--executor', 'thread', '--stream', 'memory', '--stream-method', 'default', '--load', '1']
    given = ['run', '--config', str(config), *words, *SOME[:-2], '--run-dir', str(tmp_path / 'runs')]
    assert main(given) == EXIT_OK
    (directory,) = (tmp_path / 'runs').iterdir()
    assert main(['check', str(directory)]) == EXIT_OK
    capsys.readouterr()
    assert main(['summarize', str(directory), '--format', 'json']) == EXIT_OK
    found = json.loads(capsys.readouterr().out)
    assert [row['rows'] for row in found['rows']] == [30, 0]
    assert [row['completed_tasks'] for row in found['rows']] == [30, 30]
    assert all(row['throughput_per_s'] > 0 for row in found['rows'])
    assert 'run 2: no items were kept (--record none)' in ' '.join(found['notes'])
    assert main(['summarize', str(directory), '--per-second']) == EXIT_OK
    assert main(['summarize', str(directory)]) == EXIT_OK
    assert 'not kept' in capsys.readouterr().out


def test_a_warm_up_needs_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not kept can not be left out either."""
    assert main(['run', *SOME, '--warmup', '1', '--run-dir', str(tmp_path / 'x')]) == EXIT_CONFIG
    assert '--warmup 1 needs the rows' in capsys.readouterr().err

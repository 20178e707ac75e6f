"""Thresholds of real runs: each is told, `abort:` ends the plan, and the exit codes follow."""

from __future__ import annotations

import asyncio
import csv
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streambench import configure, open_session
from streambench.abort import SoFar
from streambench.brokers.base import Subscriber
from streambench.brokers.memory import MemoryBroker
from streambench.cli import main
from streambench.errors import EXIT_CONFIG, EXIT_OK, EXIT_THRESHOLD, AbortError
from streambench.outcomes import outcomes
from streambench.packing import table_of
from streambench.records import ItemRow, RunRow
from streambench.tally import tally
from streambench.thresholds import FAIL, INCONCLUSIVE, PASS, parse
from streambench.verdict import ABORTED, COMPLETE, exit_codes

ITEM: dict[str, Any] = {
    'executor': 'thread',
    'stream': 'memory',
    'stream_method': 'default',
    'data_size_bytes': 1000,
}
QUICK = [
    *('--executor', 'thread', '--stream', 'memory', '--stream-method', 'default'),
    *('--data-size-bytes', '1kB', '--task-sleep', '0.01', '--load', '0.5'),
]
LONG_S = 60.0


class DoublingBroker(MemoryBroker):
    """A broker that delivers the frame after some others twice."""

    AFTER = 20

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open a receiving end that repeats one frame."""
        async with super().open_subscriber(topic) as subscriber:
            receive = subscriber.receive
            seen = 0
            again: list[bytes] = []

            async def repeating() -> bytes:
                nonlocal seen
                if again:
                    return again.pop()
                frame = await receive()
                seen += 1
                if seen == self.AFTER:
                    again.append(frame)
                return frame

            subscriber.receive = repeating  # type: ignore[method-assign]
            yield subscriber


async def test_a_result_has_the_outcomes() -> None:
    """The library tells each threshold's outcome, and the row says the same as text."""
    limits = ('dispatch_p95 < 10s', 'lost == 0', 'efficiency >= 2', 'delivery_p99_9 < 1s')
    config = configure(**ITEM, task_sleep=0.01, task_count=80, load=0.5, threshold=limits)
    async with open_session(config) as session:
        result = await session.run()
    grades = [outcome.grade for outcome in result.outcomes]
    assert grades == [PASS, PASS, FAIL, INCONCLUSIVE]
    found, row = result.outcomes[0], asdict(result.row)
    assert (found.value, found.n) == (row['dispatch_p95_s'], 80)
    assert (found.low, found.high) == (row['dispatch_p95_low_s'], row['dispatch_p95_high_s'])
    assert result.row.thresholds == '; '.join(outcome.text for outcome in result.outcomes)
    assert 'p99_9 needs 2995 items, there are 80' in result.row.thresholds
    assert result.row.ended == COMPLETE
    assert not result.aborted


async def test_a_count_ends_the_run_live(tmp_path: Path) -> None:
    """The first duplicate ends a run of minutes within seconds; nothing is lost by that."""
    config = configure(
        **ITEM, task_sleep=0.01, rate=100, duration=LONG_S, threshold=('abort: duplicated == 0',)
    )
    config = replace(config, broker_plugin=DoublingBroker())
    async with open_session(config, directory=tmp_path) as session:
        result = await session.run()
        row = result.row
        assert isinstance(result.error, AbortError)
        assert row.ended == ABORTED
        assert result.aborted
        assert 'duplicated == 0 was missed with 1' in row.reason
        assert 20 <= row.sent < 0.5 * LONG_S * 100
        assert row.sent == row.completed_tasks + row.unfinished
        assert (row.lost, row.failed, row.duplicated) == (0, 0, 1)
        assert row.thresholds == 'fail: duplicated == 0 · 1'
        counted = tally(session.recorder.item_parts, run=0, warmup_s=0).counts
        assert counted['unfinished'] == row.unfinished
    results = await asyncio.to_thread((tmp_path / 'results.csv').read_text)
    assert len(results.splitlines()) == 2


async def test_sealed_figures_end_the_run(tmp_path: Path) -> None:
    """A latency that is too long ends a run as soon as a part is sealed, and only that is exit 99."""
    config = configure(
        **ITEM,
        task_sleep=0.02,
        load=0.5,
        duration=LONG_S,
        warmup=0.5,
        threshold=('abort: sojourn_p50 < 5ms', 'abort: completed_tasks > 100000'),
    )
    async with open_session(config, directory=tmp_path) as session:
        result = await session.run()
        again = await session.run()
    for row in (result.row, again.row):
        assert row.ended == ABORTED
        assert row.reason.startswith('sojourn_p50 < 5ms was missed with ')
        assert row.completed_tasks > 100
        assert exit_codes(asdict(row)) == {EXIT_THRESHOLD}
        # In flight when it ended, neither failed nor lost.
        assert row.lost == row.failed == 0


def test_what_ended_a_run_has_failed() -> None:
    """Also where the last items left the figure open, or met the limit; other thresholds stay open."""
    limits = [parse('abort: sojourn_p95 < 5ms'), parse('sojourn_p95 < 6ms'), parse('lost == 0')]
    reason = 'sojourn_p95 < 5ms was missed with 7ms while run 1 was under way'
    for p95_s, others in ((None, [INCONCLUSIVE, PASS]), (0.004, [PASS, PASS])):
        row = asdict(RunRow(ended=ABORTED, reason=reason, sojourn_p95_s=p95_s, sojourn_n=50))
        found = outcomes(limits, row)
        assert [outcome.grade for outcome in found] == [FAIL, *others]
        assert found[0].text.endswith('missed while the run was under way')
    complete = asdict(RunRow(ended=COMPLETE, sojourn_p95_s=0.004))
    assert [outcome.grade for outcome in outcomes(limits, complete)] == [PASS, PASS, PASS]


async def test_what_can_still_be_met_does_not_abort() -> None:
    """A count that has not been reached yet fails at the end of the run, not on the way."""
    limits = ('abort: completed_tasks >= 250', 'abort: received == 240', 'abort: efficiency > 0.1')
    config = configure(**ITEM, task_sleep=0.02, load=0.8, task_count=240, threshold=limits)
    async with open_session(config) as session:
        result = await session.run()
    assert result.row.ended == COMPLETE
    assert result.row.makespan_s is not None
    assert result.row.makespan_s > 1.5
    assert [outcome.grade for outcome in result.outcomes] == [FAIL, PASS, PASS]
    assert result.aborted


async def test_figures_so_far_are_those_of_the_rows(tmp_path: Path) -> None:
    """Read part by part, the figures are what the whole run's row says."""
    config = configure(**ITEM, task_sleep=0.01, load=0.5, duration=4.5, warmup=1.0)
    async with open_session(config, directory=tmp_path) as session:
        row = asdict((await session.run()).row)
        parts = session.recorder.item_parts
    assert len(parts) > 1
    table = pyarrow.parquet.read_table(tmp_path / 'items')
    first = min(item['intended_ns'] for item in table.to_pylist() if item['phase'] == 'measure')
    names = ['sojourn_p95', 'dispatch_mean', 'return_max', 'queue_wait_p50']
    so_far = SoFar(names, run=0, seen=0)
    for number in range(len(parts)):
        found = so_far.read(parts[: number + 1], first + 10**9)
    assert found['sojourn_p95'].value == row['sojourn_p95_s']
    assert found['sojourn_p95'].n == row['sojourn_n']
    assert found['dispatch_mean'] == pytest.approx(row['dispatch_mean_s'])
    assert found['return_max'] == row['return_max_s']
    assert found['throughput'] == pytest.approx(row['throughput_per_s'])
    assert found['bytes'] == pytest.approx(row['bytes_per_s'])
    assert found['makespan'] == pytest.approx(row['makespan_s'])


def test_long_tasks_miss_no_rate_before_they_end(tmp_path: Path) -> None:
    """Two items a second come back; the 2 s until the first did are no lack of throughput."""
    rows = [
        ItemRow(
            sequence=number,
            status='completed',
            size_bytes=10,
            intended_ns=number * 500_000_000,
            complete_ns=2_000_000_000 + number * 500_000_000,
        )
        for number in range(3)
    ]
    part = tmp_path / 'part-0000.parquet'
    so_far = SoFar([], run=0, seen=0)
    pyarrow.parquet.write_table(table_of(rows[:1], ItemRow), part)
    found = so_far.read([part], 0)
    # One completion tells no rate.
    assert parse('throughput >= 100').evaluate(found).grade == INCONCLUSIVE
    pyarrow.parquet.write_table(table_of(rows[1:], ItemRow), part.with_name('part-0001.parquet'))
    found = so_far.read([part, part.with_name('part-0001.parquet')], 0)
    assert (found['throughput'], found['bytes']) == (1.0, 10.0)
    for limit, grade in (
        ('throughput >= 1.9', INCONCLUSIVE),
        ('throughput >= 2.1', FAIL),
        ('throughput < 1', FAIL),
        ('bytes >= 19 B_per_s', INCONCLUSIVE),
        ('bytes >= 21 B_per_s', FAIL),
    ):
        assert parse(limit).evaluate(found).grade == grade


def run_of(tmp_path: Path, *words: str) -> tuple[int, Path]:
    """Return exit code and run directory of a command made in this process."""
    code = main(['run', *QUICK, '--run-dir', str(tmp_path), *words])
    (directory,) = tmp_path.iterdir()
    return code, directory


def test_the_command_tells_and_records_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is printed with its value, what is equal once; the recorded file holds them."""
    words = ('--threshold', 'dispatch_p95 < 5s', 'lost == 0', '--threshold', 'abort: failed == 0')
    code, directory = run_of(
        tmp_path, '--task-count', '70', '--data-size-bytes', '1kB', '2kB', '--repeat', '2', *words
    )
    assert code == EXIT_OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['lost', '==', '0', 'pass', 'all', '4', 'runs', '0'] in lines
    assert ['failed', '==', '0', 'pass', 'all', '4', 'runs', '0'] in lines
    (one,) = [line for line in lines if line[:4] == ['dispatch_p95', '<', '5s', 'pass']]
    (two,) = [line for line in lines if line[:1] == ['pass']]
    assert {' '.join(one[4:6]), ' '.join(two[1:3])} == {'1 kB', '2 kB'}
    assert one[-1].endswith('s')
    recorded = tomllib.loads((directory / 'config.toml').read_text())
    assert recorded['threshold'] == ['dispatch_p95 < 5s', 'lost == 0', 'abort: failed == 0']
    again = tmp_path / 'again'
    config = str(directory / 'config.toml')
    assert main(['run', '--config', config, '--run-dir', str(again), '--dry-run']) == EXIT_OK
    with (directory / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert all(row['thresholds'].count('pass: ') == 3 for row in rows)


def test_a_missed_one_is_exit_99(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All runs are made and written, and the message names the first run that missed it."""
    code, directory = run_of(
        tmp_path, '--task-count', '20', '--repeat', '2', '--threshold', 'makespan < 1ms'
    )
    assert code == EXIT_THRESHOLD
    told = capsys.readouterr()
    assert 'threshold missed in run 1: fail: makespan < 1ms' in told.err
    assert 'and 1 more' in told.err
    assert len((directory / 'results.csv').read_text().splitlines()) == 3


def test_an_abort_ends_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Later runs are left out, also where the threshold failed at the end of its run only."""
    code, directory = run_of(
        tmp_path, '--task-count', '20', '--repeat', '3', '--threshold', 'abort: makespan < 1ms'
    )
    assert code == EXIT_THRESHOLD
    assert 'ended the plan after 1 of 3 runs' in capsys.readouterr().err
    assert len((directory / 'results.csv').read_text().splitlines()) == 2


def test_integrity_goes_before_a_threshold() -> None:
    """Of several exit codes the first of 130, 2, 4, 3, 5, 99 counts."""
    row = asdict(RunRow(ended=ABORTED, duplicated=1, verdict='invalid'))
    assert exit_codes(row) == {4, EXIT_THRESHOLD}


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        ('sojourn_p59 < 50ms', "'sojourn_p59' is not a metric; did you mean sojourn_p99"),
        ('sojourn_p95 < 50', 'sojourn_p95 needs a unit'),
        ('soon', "threshold 'soon' can't be read"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, exit 2, and no run directory."""
    assert (
        main(['run', *QUICK, '--run-dir', str(tmp_path / 'runs'), '--threshold', words]) == EXIT_CONFIG
    )
    assert told in capsys.readouterr().err
    assert not (tmp_path / 'runs').exists()

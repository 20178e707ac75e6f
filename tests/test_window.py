"""The measurement window: durations in place of counts, and what comes before it doesn't count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from streambench import Config, configure, open_session
from streambench.errors import ConfigError
from streambench.records import ItemRow, RunRow, column_names
from streambench.run_row import determined, judged
from streambench.session import Session
from streambench.tally import tally


def simulated(**changes: Any) -> Config:
    """Return a run on the ideal executor and the memory broker."""
    values = {
        'executor': 'simulated',
        'stream': 'memory',
        'stream_method': 'default',
        'task_sleep': 0.01,
        'data_size_bytes': 1000,
    }
    return configure(**(values | changes))


def items(session: Session) -> list[dict[str, Any]]:
    """Return the rows of the measured items."""
    tables = [pyarrow.parquet.read_table(part) for part in session.recorder.item_parts]
    found: list[dict[str, Any]] = pyarrow.concat_tables(tables).to_pylist()
    return [row for row in found if row['phase'] == 'measure']


@pytest.mark.parametrize(
    ('changes', 'least', 'most'),
    [
        ({'rate': 200, 'duration': 0.5}, 100, 100),
        ({'rate': 200, 'duration': 0.501}, 101, 101),
        ({'rate': 200, 'duration': 0.5, 'arrival': 'poisson', 'seed': 3}, 60, 140),
        ({'rate': 200, 'duration': 0.5, 'arrival': 'burst:7'}, 100, 100),
        ({'rate': 'max', 'max_outstanding': 10, 'duration': 0.5}, 100, 170),
    ],
)
async def test_a_duration_sets_the_count(changes: dict[str, Any], least: int, most: int) -> None:
    """The schedule's items before its end, or what a closed loop sends until then."""
    async with open_session(simulated(**changes)) as session:
        result = await session.run()
        rows = items(session)
    row = result.row
    assert least <= row.task_count <= most
    assert row.task_count == row.sent == row.completed_tasks == len(rows)
    assert row.duration_s == changes['duration']
    first = min(item['intended_ns'] for item in rows)
    assert max(item['intended_ns'] for item in rows) - first < changes['duration'] * 1e9


async def test_what_comes_before_the_window_is_kept_and_marked() -> None:
    """Rows before it don't count for figures, but for integrity; another window moves the line."""
    config = simulated(rate=200, duration=0.6, warmup=0.2)
    async with open_session(config) as session:
        result = await session.run()
        rows = items(session)
        row = result.row
        asked = {name: getattr(row, name) for name in column_names(RunRow)}
        moved, whole = (
            determined(session.recorder.item_parts, asked | {'warmup_s': warmup_s})[0]
            for warmup_s in (0.3, 0.0)
        )
    first = min(item['intended_ns'] for item in rows)
    assert [item['in_window'] for item in rows] == [
        item['intended_ns'] >= first + 200_000_000 for item in rows
    ]
    assert row.sent == row.completed_tasks == 120
    assert row.window_n == row.sojourn_n == 80
    inside = [item for item in rows if item['in_window']]
    begin = min(item['intended_ns'] for item in inside)
    end = max(item['complete_ns'] for item in inside)
    assert row.makespan_s == pytest.approx((end - begin) / 1e9)
    # While what was out at its begin came back, nothing of the window did.
    ended = sum(begin < item['complete_ns'] <= end for item in rows)
    assert ended >= 80
    assert row.throughput_per_s == pytest.approx(ended / row.makespan_s)
    assert row.bytes_per_s == pytest.approx(1000 * ended / row.makespan_s)
    assert row.ideal_makespan_s == pytest.approx(79 / 200 + 0.01)
    assert moved['window_n'] == moved['sojourn_n'] == 60
    assert whole['window_n'] == 120


@pytest.mark.parametrize(
    'changes', [{'rate': 'max', 'max_outstanding': 60}, {'load': 1.5, 'max_in_flight': 40}]
)
async def test_a_queue_at_the_begin_of_the_window_changes_no_rate(changes: dict[str, Any]) -> None:
    """Busy servers are as busy in any window, however many items wait in front of its first one."""
    config = simulated(task_count=240, **changes)
    async with open_session(config) as session:
        row = (await session.run()).row
        asked = {name: getattr(row, name) for name in column_names(RunRow)}
        windows = [
            judged(asked | determined(session.recorder.item_parts, asked | {'warmup_s': warmup_s})[0])
            for warmup_s in (0.0, 0.2, 0.4)
        ]
    assert [window['window_n'] > 20 for window in windows] == [True, True, True]
    # How long an item takes alone isn't seen any more once others wait.
    assert {window['sojourn_min_s'] for window in windows} == {row.sojourn_min_s}
    for window in windows:
        # A stall of the last completion is a tenth of the shortest window.
        assert window['throughput_per_s'] == pytest.approx(300, rel=0.15)
        assert window['bytes_per_s'] == pytest.approx(300e3, rel=0.15)
        assert 0.85 < window['efficiency'] <= 1
        assert window['demand_workers_s'] * 300 == pytest.approx(1)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'duration': 1, 'task_count': 5}, '--duration 1 and --task-count 5'),
        ({'duration': 1, 'warmup': 1}, '--warmup 1 leaves none of the 1 s'),
        ({'task_count': 11, 'rate': 10, 'warmup': 1}, '--warmup 1 leaves none'),
        ({'duration': 1, 'warmup': 0.1, 'record': 'none'}, '--record none'),
        ({'duration': 0}, 'duration'),
    ],
)
def test_windows_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    """Each gets a sentence."""
    with pytest.raises(ConfigError, match=words):
        simulated(**changes)


async def test_sizes_repeat_where_nobody_knows_how_many() -> None:
    """A closed loop that ends by its duration draws sizes that it may use again."""
    config = configure(
        executor='simulated',
        stream='memory',
        stream_method='default',
        task_sleep=0,
        duration=0.1,
        data_size_dist='choice:10=1,500=1',
    )
    async with open_session(config) as session:
        row = (await session.run()).row
        assert {item['size_bytes'] for item in items(session)} == {10, 500}
    assert row.completed_tasks == row.sent


def parts(directory: Path, rows: Sequence[ItemRow]) -> list[Path]:
    """Seal rows as two parts."""
    names = column_names(ItemRow)
    paths = []
    for number, some in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
        path = directory / f'part-{number:04d}.parquet'
        table = pyarrow.Table.from_pylist(
            [{name: getattr(row, name) for name in names} for row in some]
        )
        pyarrow.parquet.write_table(table, path)
        paths.append(path)
    return paths


def test_rows_add_up(tmp_path: Path) -> None:
    """Counts, first and last instant and the window, from rows alone."""
    rows = [
        ItemRow(
            run=number % 2,
            sequence=number,
            status='completed',
            size_bytes=10,
            intended_ns=1000 + number,
            send_ns=1000 + number,
            receive_ns=1001 + number,
            complete_ns=2000 + number,
            worker_host='here',
            worker_pid=1,
            worker_thread=number % 3,
        )
        for number in range(12)
    ]
    rows[3].status, rows[3].receive_ns, rows[3].complete_ns = 'lost', None, None
    rows[5].status = 'failed'
    rows[5].fault = 'length 3 instead of 4'
    rows[7].reordered = True
    rows[1].phase = rows[9].phase = 'warmup'
    found = tally(parts(tmp_path, rows), run=1, warmup_s=2e-9)
    assert found.counts == {
        'sent': 4,
        'publish_failed': 0,
        'received': 3,
        'completed_tasks': 2,
        'failed': 1,
        'lost': 1,
        'unfinished': 0,
        'reordered': 1,
        'corrupt': 1,
    }
    assert found.workers_proven == 2
    assert (found.first_intended_ns, found.last_complete_ns) == (1003, 2011)
    assert (found.window_n, found.window_completed, found.window_bytes) == (3, 2, 20)
    assert (found.window_first_ns, found.window_last_ns) == (1005, 2011)
    assert found.sojourns_ns == 3000
    assert tally([], run=1, warmup_s=0).counts['sent'] == 0

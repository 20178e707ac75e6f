"""Loop wait: what our own loop costs an item, by libuv's account of idle time."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import replace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import uvloop

from streambench import configure, open_session
from streambench.loop_wait import LoopTime, idle_clock
from streambench.packing import schema_of, table_of
from streambench.records import ItemRow, RunRow


class Recorded:
    """An idle clock that says what it is told."""

    def __init__(self) -> None:
        self.idle = 0
        self.asked = 0

    def idle_ns(self) -> int:
        """Return what it was told last."""
        self.asked += 1
        return self.idle


def read(*readings: tuple[int, int], generates: bool = True) -> LoopTime:
    """Return where the time of a loop went that was read at these instants."""
    clock = Recorded()
    times = LoopTime(clock, generates=generates)
    for at_ns, idle in readings:
        clock.idle = idle
        times.sample(at_ns)
    return times


def busy_ns(times: LoopTime, begin: int | None, end: int | None) -> Any:
    """Return for how long it was busy between two instants."""
    columns = [pyarrow.array([instant], pyarrow.int64()) for instant in (begin, end)]
    return times.busy_ns(*columns).to_pylist()[0]


def test_busy_time_between_two_instants() -> None:
    """Between two readings the loop works first and rests then."""
    times = read((1_000_000, 0), (2_000_000, 400_000), (3_000_000, 400_000))
    for begin, end, busy in (
        (1_000_000, 2_000_000, 600_000),
        # It rested from 1.6 to 2.0 ms.
        (1_500_000, 2_000_000, 100_000),
        (1_700_000, 2_000_000, 0),
        (1_700_000, 2_500_000, 500_000),
        (1_200_000, 2_800_000, 1_200_000),
        (2_500_000, 2_500_000, 0),
        # Instants of another host's clock.
        (2_600_000, 2_400_000, 0),
        # After the last reading nothing says that it rested.
        (2_900_000, 3_500_000, 600_000),
        (None, 2_500_000, None),
        (2_500_000, None, None),
        (900_000, 1_500_000, None),
    ):
        assert busy_ns(times, begin, end) == busy, (begin, end)


def test_an_item_waits_at_three_places() -> None:
    """For the generator, for the dispatcher and for its completion; without one of them, no sum."""
    readings = (1_000_000, 0), (2_000_000, 400_000), (3_000_000, 400_000)
    times = read(*readings)
    item = ItemRow(
        intended_ns=1_700_000,
        put_start_ns=2_100_000,
        send_ns=2_100_000,
        receive_ns=2_300_000,
        end_ns=2_900_000,
        complete_ns=3_000_000,
    )
    rows = [item, replace(item, intended_ns=None), replace(item, complete_ns=None), ItemRow()]
    table = times.charge(table_of(rows, ItemRow))
    assert table.schema == schema_of(ItemRow)
    assert table['loop_wait_ns'].to_pylist() == [100_000 + 200_000 + 100_000, None, None, None]
    # A generator elsewhere doesn't wait for this loop.
    table = read(*readings, generates=False).charge(table_of(rows, ItemRow))
    assert table['loop_wait_ns'].to_pylist() == [300_000, 300_000, None, None]
    unread = read().charge(table_of(rows, ItemRow))
    assert unread['loop_wait_ns'].null_count == len(rows)


def test_readings_are_rarer_where_stamps_are_many() -> None:
    """At nearly every stamp of a few items, and not more than one per 250 us of very many."""
    clock = Recorded()
    times = LoopTime(clock)
    for item_ns in range(0, 1_000_000_000, 2_000_000):
        for stamp_ns in (0, 10_000, 80_000, 1_500_000):
            times.sample(item_ns + stamp_ns)
    assert clock.asked == 500 * 3
    before = clock.asked
    for at_ns in range(1_000_000_000, 2_000_000_000, 20_000):
        times.sample(at_ns)
    assert clock.asked - before == pytest.approx(4000 + 20, abs=5)


def test_asyncio_has_no_idle_clock() -> None:
    """Only libuv keeps that account."""

    async def found() -> bool:
        return idle_clock() is not None

    assert not asyncio.run(found())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(found())


def test_a_blocked_loop_shows_in_the_items_that_waited() -> None:
    """60 ms of a callback of ours cost the items under way then about as much, and no others."""

    async def measure() -> list[dict[str, Any]]:
        config = configure(
            executor='simulated',
            stream='memory',
            stream_method='default',
            task_sleep=0.002,
            rate=100,
            task_count=60,
            data_size_bytes=1000,
        )
        async with open_session(config) as session:
            running = asyncio.create_task(session.run())
            # The measurement is about half-way then.
            await asyncio.sleep(0.5)
            until = time.perf_counter() + 0.06
            while time.perf_counter() < until:
                pass
            await running
            table = pyarrow.parquet.read_table(session.recorder.item_parts[0])
        found: list[dict[str, Any]] = table.to_pylist()
        return [row for row in found if row['phase'] == 'measure']

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(measure())
    waits = [row['loop_wait_ns'] / 1e6 for row in rows]
    blocked = [wait for wait in waits if wait > 5]
    # 60 ms at 100/s: about six items were due or under way, the first of which waited longest.
    assert 3 <= len(blocked) <= 12, waits
    assert 40 <= max(blocked) <= 90
    assert statistics.median(waits) < 3


def test_a_run_of_a_moment_tells_no_demand_of_the_loop() -> None:
    """Beginning and ending it take longer than its item, so that it would be called the loop's."""

    async def measure(count: int) -> RunRow:
        config = configure(
            executor='simulated', stream='memory', stream_method='default', task_sleep=0.001, rate=200
        )
        async with open_session(replace(config, task_count=count)) as session:
            return (await session.run()).row

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        one, many = (runner.run(measure(count)) for count in (1, 30))
    assert one.demand_loop_s is None
    assert one.bottleneck == 'none: schedule-limited'
    assert 'event loop' not in one.reasons
    assert many.demand_loop_s is not None

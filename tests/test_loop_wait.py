"""Loop wait: what our own loop costs an item, by libuv's account of idle time."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import pyarrow.parquet
import pytest
import uvloop

from streambench import configure, open_session
from streambench.loop_wait import LoopTime, idle_clock
from streambench.records import ItemRow


class Recorded:
    """An idle clock that says what it is told."""

    def __init__(self) -> None:
        self.idle = 0

    def idle_ns(self) -> int:
        """Return what it was told last."""
        return self.idle


def test_busy_time_between_two_instants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two readings the loop works first and rests then."""
    clock = Recorded()
    times = LoopTime(clock)
    for at_ns, idle in ((1_000_000, 0), (2_000_000, 400_000), (3_000_000, 400_000)):
        clock.idle = idle
        monkeypatch.setattr('streambench.loop_wait.now_ns', lambda at_ns=at_ns: at_ns)
        times.sample(at_ns)
    assert times.busy_ns(1_000_000, 2_000_000) == 600_000
    # It rested from 1.6 to 2.0 ms.
    assert times.busy_ns(1_500_000, 2_000_000) == 100_000
    assert times.busy_ns(1_700_000, 2_000_000) == 0
    assert times.busy_ns(1_700_000, 2_500_000) == 500_000
    assert times.busy_ns(None, 2_500_000) == 0
    item = ItemRow(
        intended_ns=1_700_000,
        put_start_ns=2_100_000,
        send_ns=2_100_000,
        receive_ns=2_300_000,
        end_ns=2_900_000,
        complete_ns=3_000_000,
    )
    assert times.wait_ns(item) == 100_000 + 200_000 + 100_000


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

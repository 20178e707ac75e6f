"""The session as a library: what it promises to a program that embeds it."""

from __future__ import annotations

import asyncio
import csv
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet
import pytest

from streambench import Config, Progress, RunSpec, open_session
from streambench.brokers.base import Acked, BrokerPlugin, Publisher, Subscriber
from streambench.brokers.memory import MemoryBroker
from streambench.errors import ConfigError, RunError
from streambench.message import HEADER_BYTES
from streambench.records import RunRow, column_names
from streambench.settings import configure
from streambench.verdict import exit_codes


def quick(**changes: Any) -> Config:
    """Return a small run on threads and the memory broker."""
    values = {
        'executor': 'thread',
        'stream': 'memory',
        'task_count': 30,
        'task_sleep': 0.005,
        'data_size_bytes': 1000,
    }
    return configure(**(values | changes))


class Meddler:
    """A subscriber that does something to the n-th measured frame."""

    def __init__(self, inner: Subscriber, meddle: Callable[[int, bytes], list[bytes]]) -> None:
        self.reconnects = 0
        self.on_gap: Callable[[], None] = lambda: None
        self._inner = inner
        self._meddle = meddle
        self._ready: list[bytes] = []

    async def receive(self) -> bytes:
        """Return the next frame, as the meddling left it."""
        while not self._ready:
            frame = await self._inner.receive()
            warmup, number = frame[7], int.from_bytes(frame[16:24], 'big')
            self._ready = [frame] if warmup else self._meddle(number, frame)
        return self._ready.pop(0)


@dataclass(frozen=True, kw_only=True)
class MeddlingBroker(MemoryBroker):
    """The memory broker with a meddler at its receiving end."""

    name: ClassVar[str] = 'meddling'
    meddle: Callable[[int, bytes], list[bytes]]

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open the receiving end."""
        async with super().open_subscriber(topic) as inner:
            yield Meddler(inner, self.meddle)


def meddling(meddle: Callable[[int, bytes], list[bytes]], **changes: Any) -> Config:
    """Return a quick run through a meddling broker."""
    return replace(quick(**changes), broker_plugin=MeddlingBroker(meddle=meddle))


async def test_a_run_in_three_lines(tmp_path: Path) -> None:
    """`async with open_session` and `await session.run()` are all that a harness needs."""
    async with open_session(quick(), directory=tmp_path) as session:
        result = await session.run()
    assert result.error is None
    assert result.row.completed_tasks == 30
    assert result.row.verdict in ('valid', 'caution'), result.row.reasons
    assert result.row.workers_proven == 3
    assert result.row.loop in ('uvloop', 'asyncio')


async def test_a_directory_is_made_and_never_shared(tmp_path: Path) -> None:
    """A directory that isn't there is made; one that holds results is refused, and not touched."""

    def held() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in place.rglob('*')}

    place = tmp_path / 'some' / 'where'
    async with open_session(quick(), directory=place) as session:
        await session.run()
    before = await asyncio.to_thread(held)
    assert place / 'results.csv' in before
    with pytest.raises(
        ConfigError, match=r"where' holds the results of another session: name another\."
    ):
        async with open_session(quick(), directory=place):
            pass
    assert await asyncio.to_thread(held) == before
    with pytest.raises(
        ConfigError, match=r"csv/x' can not be made \(Not a directory\): name another\."
    ):
        async with open_session(quick(), directory=place / 'results.csv' / 'x'):
            pass


async def test_runs_share_a_session() -> None:
    """Runs that differ in what may vary use the same executor; two at once wait for each other."""
    async with open_session(quick()) as session:
        spec = RunSpec(run=0, point=0, repeat=0, seed=1, config=session.config, opened_slots=3)
        small = replace(spec, run=1, config=replace(session.config, workers=2, data_size_bytes=10))
        first, second = await asyncio.gather(session.run(spec), session.run(small))
    assert (first.row.slots, second.row.slots) == (None, 1)
    assert second.row.max_in_flight == 1
    assert second.row.completed_tasks == 30


def lose(number: int, frame: bytes) -> list[bytes]:
    """Lose items 3 and 7, double item 5, swap 10 and 11, damage 20, and add a stranger."""
    if number in (3, 7):
        return []
    if number == 5:
        return [frame, frame]
    if number == 10:
        lose.held = frame  # type: ignore[attr-defined]
        return []
    if number == 11:
        return [frame, lose.held]  # type: ignore[attr-defined]
    if number == 20:
        damaged = bytearray(frame)
        damaged[HEADER_BYTES + 500] ^= 1
        return [bytes(damaged)]
    if number == 25:
        return [b'who are you?', frame]
    return [frame]


async def test_the_account_names_what_happened(tmp_path: Path) -> None:
    """Lost, doubled, swapped, damaged and foreign messages are counted, each under its name."""
    async with open_session(meddling(lose, stall_timeout=0.5), directory=tmp_path) as session:
        row = (await session.run()).row
    assert (row.sent, row.received, row.lost, row.completed_tasks) == (30, 28, 2, 28)
    assert (row.duplicated, row.reordered, row.corrupt, row.foreign) == (1, 1, 1, 1)
    assert row.ended == 'stalled'
    # Tasks of the warm-up are no items.
    assert '30 of 30 items sent, 28 received, 28 submitted, 28 completed' in row.reason
    assert row.efficiency is None
    assert exit_codes({name: getattr(row, name) for name in column_names(RunRow)}) == {3, 4}
    found = await asyncio.to_thread(measured_rows, tmp_path)
    assert {row['sequence'] for row in found if row['status'] == 'lost'} == {3, 7}
    assert [row['sequence'] for row in found if row['fault']] == [20]
    assert [row['sequence'] for row in found if row['reordered']] == [10]
    assert len(found) == 30


def measured_rows(directory: Path) -> list[dict[str, Any]]:
    """Return the measured items of a run directory."""
    found: list[dict[str, Any]] = []
    for part in sorted((directory / 'items').glob('*.parquet')):
        found += pyarrow.parquet.read_table(part).to_pylist()
    return [row for row in found if row['phase'] == 'measure']


async def test_instants_are_in_order(tmp_path: Path) -> None:
    """Each item's instants follow the way of an item; its stages add up to its sojourn."""
    config = quick(stream_method='proxy', ps_connector='local')
    async with open_session(config, directory=tmp_path) as session:
        await session.run()
    way = (
        'intended_ns',
        'put_start_ns',
        'put_done_ns',
        'send_ns',
        'receive_ns',
        'submit_ns',
        'start_ns',
        'resolved_ns',
        'verified_ns',
        'end_ns',
        'complete_ns',
    )
    rows = await asyncio.to_thread(measured_rows, tmp_path)
    assert len(rows) == 30
    for row in rows:
        instants = [row[name] for name in way]
        assert instants == sorted(instants)
        assert row['ack_ns'] >= row['send_ns']


async def test_the_closed_loop_is_held_by_its_credits(tmp_path: Path) -> None:
    """At rate max no more items are under way than there are credits."""
    seen: list[int] = []

    def watch(number: int, frame: bytes) -> list[bytes]:
        seen.append(number)
        return [frame]

    config = meddling(watch, task_sleep=0, task_count=400, max_outstanding=5)
    async with open_session(config, directory=tmp_path) as session:
        row = (await session.run()).row
    assert row.closed_loop
    assert row.max_outstanding == 5
    assert row.completed_tasks == 400
    rows = await asyncio.to_thread(measured_rows, tmp_path)
    events = [(row['send_ns'], 1) for row in rows] + [(row['complete_ns'], -1) for row in rows]
    under_way = highest = 0
    for _, change in sorted(events):
        under_way += change
        highest = max(highest, under_way)
    # An item sent in the same pass of the loop as another's completion may be stamped before it.
    assert highest <= 6


async def test_a_full_queue_stops_the_reader() -> None:
    """With a queue of one item the reader stands still, and that time is counted."""
    config = quick(rate=2000, task_count=100, queue_size=1, max_in_flight=3)
    async with open_session(config) as session:
        row = (await session.run()).row
    assert row.completed_tasks == 100
    assert row.backpressure_s > 0.01


async def test_cancellation_leaves_nothing_behind(tmp_path: Path) -> None:
    """A cancelled run is recorded as interrupted; no task and no thread of it stays."""
    before = {thread.ident for thread in threading.enumerate()}
    tasks_before = asyncio.all_tasks()

    measuring = asyncio.Event()

    def watch(progress: Progress) -> None:
        if progress.sent:
            measuring.set()

    async def embed() -> None:
        config = quick(
            task_count=1000, task_sleep=1, load=1, stream_method='proxy', ps_connector='local'
        )
        async with open_session(config, directory=tmp_path, report=watch) as session:
            await session.run()

    task = asyncio.create_task(embed())
    async with asyncio.timeout(60):
        await measuring.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == tasks_before
    left = {
        thread.name
        for thread in threading.enumerate()
        if thread.ident not in before and not thread.name.startswith(('asyncio_', 'uvloop_'))
    }
    assert left == set()
    text = await asyncio.to_thread((tmp_path / 'results.csv').read_text)
    (row,) = csv.DictReader(text.splitlines())
    assert (row['ended'], row['failed'], row['lost']) == ('interrupted', '0', '0')
    # Nobody knows what would have become of those that were under way.
    assert int(row['unfinished']) == int(row['sent']) - int(row['completed_tasks']) > 0


class FailingPublisher:
    """A publisher whose connection breaks at the n-th item."""

    def __init__(self, inner: Publisher, at: int) -> None:
        self.reconnects = 0
        self._inner = inner
        self._left = at

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Send, or break."""
        from streambench.errors import BrokerError

        self._left -= 1
        if self._left < 0:
            acked(None, BrokerError('the wire is cut'))
            raise BrokerError('the wire is cut and stays so')
        await self._inner.send(parts, acked)

    async def flush(self) -> None:
        """Flush."""
        await self._inner.flush()


@dataclass(frozen=True, kw_only=True)
class FailingBroker(MemoryBroker):
    """The memory broker with a publisher that breaks."""

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end."""
        async with super().open_publisher(topic) as inner:
            yield FailingPublisher(inner, 13)


async def test_a_broker_that_goes_ends_the_run_with_what_was_measured() -> None:
    """The run ends as failed with the reason; what came before is in its row."""
    config = replace(quick(), broker_plugin=FailingBroker())
    async with open_session(config) as session:
        result = await session.run()
    assert str(result.error) == 'the wire is cut and stays so'
    assert result.row.ended == 'failed'
    assert result.row.sent == 11
    assert result.row.publish_failed == 1
    assert result.row.completed_tasks + result.row.failed == 10


class MutePublisher(FailingPublisher):
    """A publisher that forgets to say what became of the n-th item."""

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Send, and say so but for one."""
        self._left -= 1
        await self._inner.send(parts, acked if self._left else lambda *answer: None)


@dataclass(frozen=True, kw_only=True)
class MuteBroker(MemoryBroker):
    """The memory broker with a publisher that forgets an answer."""

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end."""
        async with super().open_publisher(topic) as inner:
            yield MutePublisher(inner, 20)


async def test_an_answer_that_never_comes_is_told() -> None:
    """Whose broker plugin forgets one reads so: all items ended, and one was not answered."""
    config = replace(quick(stall_timeout=1), broker_plugin=MuteBroker())
    async with open_session(config) as session:
        result = await session.run()
    assert result.row.ended == 'stalled'
    counts = '30 of 30 items sent, 30 received, 30 submitted, 30 completed'
    assert f'{counts}, 1 not answered by the broker; see --stall-timeout.' in str(result.error)


async def test_random_sizes_and_orders_keep_the_books() -> None:
    """Whatever a meddler drops or doubles, every item ends exactly once."""
    draw = random.Random(5)

    def meddle(number: int, frame: bytes) -> list[bytes]:
        return [frame] * draw.choice([0, 1, 1, 1, 1, 2, 3])

    async with open_session(meddling(meddle, task_count=200, stall_timeout=0.5)) as session:
        row = (await session.run()).row
    assert row.completed_tasks + row.lost + row.failed + row.publish_failed == 200
    assert row.received == row.completed_tasks
    assert row.duplicated > 0


async def test_a_percentile_is_an_estimate() -> None:
    """With its interval and n, absent where n can't carry it; an unknown one gets the nearest."""
    async with open_session(quick(task_count=60)) as session:
        result = await session.run()
    found = result.estimate('sojourn_p95')
    assert found is not None
    assert found.low <= found.value <= found.high
    assert (found.value, found.n) == (result.row.sojourn_p95_s, 60)
    assert result.estimate('dispatch_p99') is None
    with pytest.raises(ConfigError, match='sojourn_p95'):
        result.estimate('sojourn_p96')


def test_plugins_are_frozen() -> None:
    """A plugin's settings can't change under a session that uses them."""
    plugin: BrokerPlugin = MemoryBroker()
    with pytest.raises(AttributeError):
        plugin.name = 'other'  # type: ignore[misc]


async def test_a_closed_session_takes_no_run() -> None:
    """It says so in a sentence, before anything is submitted."""
    async with open_session(
        await asyncio.to_thread(configure, executor='thread', stream='memory')
    ) as it:
        pass
    with pytest.raises(RunError, match='is closed: run inside its'):
        await it.run()


async def test_a_run_that_outlives_its_session_is_ended() -> None:
    """It is recorded as interrupted and told in a sentence; one that waited for it never begins."""
    async with (
        asyncio.timeout(30),
        open_session(await asyncio.to_thread(quick, task_count=10_000)) as it,
    ):
        first, second = asyncio.create_task(it.run()), asyncio.create_task(it.run())
        await asyncio.sleep(0.8)
    assert [row.ended for row in it.recorder.rows] == ['interrupted']
    with pytest.raises(RunError, match='was closed while run 1 was under way: await it inside'):
        await first
    with pytest.raises(RunError, match='is closed: run inside its'):
        await second

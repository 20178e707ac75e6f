"""The bottleneck by experiment: each station in turn is throttled, and is the one that is named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvloop

from streambench import Config, configure, open_session
from streambench.brokers.base import Acked, Publisher, Subscriber
from streambench.brokers.memory import MemoryBroker
from streambench.executors.base import OpenExecutor
from streambench.executors.pools import ThreadExecutor
from streambench.records import RunRow
from streambench.run_row import BLANK
from streambench.stations import limiting, window_gain
from tests.proofs.stations import HeldFiles, holding

# At 100 items/s a station that takes 15 ms for each is the one that can't keep up.
SLOW_S = 0.015
RATE = 100


def config(**changes: Any) -> Config:
    """Return 60 items at 100/s on four threads, whose tasks are short."""
    values = {
        'executor': 'thread',
        'stream': 'memory',
        'workers': 5,
        'task_count': 60,
        'task_sleep': 0.002,
        'rate': RATE,
        'data_size_bytes': 1000,
    }
    return configure(**(values | changes))


class SlowPublisher:
    """Takes its time to send."""

    reconnects = 0

    def __init__(self, inner: Publisher) -> None:
        self._inner = inner

    async def send(self, parts: Sequence[bytes], acked: Acked, *, more: bool = False) -> None:
        """Send late."""
        await asyncio.sleep(SLOW_S)
        await self._inner.send(parts, acked, more=more)

    async def flush(self) -> None:
        """Wait for the answers."""
        await self._inner.flush()


class SlowSubscriber:
    """Delivers one frame after the other, each after a while."""

    reconnects = 0

    def __init__(self, inner: Subscriber) -> None:
        self.on_gap: Callable[[], None] = lambda: None
        self._inner = inner

    async def receive(self) -> bytes:
        """Return the next frame, late."""
        frame = await self._inner.receive()
        await asyncio.sleep(SLOW_S)
        return frame


@dataclass(frozen=True, kw_only=True)
class SlowSending(MemoryBroker):
    """A broker whose client is slow."""

    name: ClassVar[str] = 'slow-sending'

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end."""
        async with super().open_publisher(topic) as inner:
            yield SlowPublisher(inner)


@dataclass(frozen=True, kw_only=True)
class SlowDelivering(MemoryBroker):
    """A broker that delivers fewer items than are sent."""

    name: ClassVar[str] = 'slow-delivering'

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open the receiving end."""
        async with super().open_subscriber(topic) as inner:
            yield SlowSubscriber(inner)


class SlowToSubmit(Executor):
    """A pool whose `submit` takes its time, in the thread that calls it."""

    def __init__(self, inner: ThreadPoolExecutor) -> None:
        self._inner = inner

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit late."""
        time.sleep(SLOW_S)
        return self._inner.submit(function, *args, **kwargs)


@dataclass(frozen=True, kw_only=True)
class SlowSubmitting(ThreadExecutor):
    """Threads behind a slow `submit`."""

    name: ClassVar[str] = 'slow-submitting'

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool."""
        async with super().open(slots=slots, directory=directory, session=session) as found:
            assert isinstance(found.executor, ThreadPoolExecutor)
            yield OpenExecutor(executor=SlowToSubmit(found.executor), slots=slots)


async def run(chosen: Config) -> RunRow:
    """Return the row of a run."""
    async with open_session(chosen) as session:
        return (await session.run()).row


async def test_nothing_is_throttled() -> None:
    """A schedule that all stations can follow is what limits the throughput."""
    row = await run(config())
    assert row.bottleneck == 'none: schedule-limited'
    assert row.demand_workers_s == pytest.approx(0.002 / 4, rel=0.5)


async def test_the_workers_are_throttled() -> None:
    """Tasks of 60 ms on four workers are more than 100/s."""
    row = await run(config(task_sleep=0.06))
    assert row.bottleneck == 'workers'
    assert row.demand_workers_s == pytest.approx(0.015, rel=0.1)


async def test_the_broker_client_is_throttled() -> None:
    """A slow send keeps the generator from its schedule."""
    row = await run(replace(config(), broker_plugin=SlowSending()))
    assert row.bottleneck == 'generator: publish'
    assert row.demand_publish_s is not None
    assert row.demand_publish_s >= 0.9 * SLOW_S


async def test_the_store_is_throttled(tmp_path: Path) -> None:
    """A slow put does too, and is told from a slow send."""
    proxied = config(stream_method='proxy', ps_connector='file', ps_file_dir=str(tmp_path))
    with holding('put', SLOW_S):
        row = await run(replace(proxied, connector_plugin=HeldFiles(ps_file_dir=str(tmp_path))))
    assert row.bottleneck == 'generator: put'
    assert row.demand_put_s is not None
    assert row.demand_put_s >= 0.9 * SLOW_S


async def test_submit_is_throttled() -> None:
    """An executor that takes its time in `submit` is named by that."""
    row = await run(replace(config(), executor_plugin=SlowSubmitting()))
    assert row.bottleneck == 'submit'
    assert row.demand_submit_s is not None
    assert row.demand_submit_s >= 0.9 * SLOW_S


async def test_the_broker_is_throttled() -> None:
    """Deliveries that take ever longer while no other station is busy are the broker's."""
    row = await run(replace(config(), broker_plugin=SlowDelivering()))
    assert row.bottleneck == 'broker'


def test_the_loop_is_throttled() -> None:
    """Somebody else's work on the loop leaves no time for ours; libuv knows how much."""

    async def measure() -> RunRow:
        async def burn() -> None:
            while True:
                until = time.perf_counter() + 0.02
                while time.perf_counter() < until:
                    pass
                await asyncio.sleep(0)

        async with open_session(config(rate=20, task_count=20)) as session:
            burning = asyncio.create_task(burn())
            try:
                return (await session.run()).row
            finally:
                burning.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        row = runner.run(measure())
    assert row.bottleneck == 'loop'
    assert row.verdict == 'invalid'
    assert 'event loop was busy' in row.reasons


CLOSED: dict[str, Any] = {
    'closed_loop': True,
    'max_outstanding': 100,
    'sent': 1000,
    'throughput_per_s': 1000.0,
    'demand_submit_s': 0.0002,
}


@pytest.mark.parametrize(
    ('columns', 'name', 'gain'),
    [
        # A round trip of 100 ms where an item alone takes 1 ms: they wait, and for an executor.
        ({'sojourn_mean_s': 0.1, 'sojourn_min_s': 0.001, 'dispatch_mean_s': 0.09}, 'executor', 1 / 99),
        ({'sojourn_mean_s': 0.1, 'sojourn_min_s': 0.001, 'delivery_mean_s': 0.09}, 'broker', 1 / 99),
        # What waits in the broker while the queue is full waits for the executor, too.
        (
            {'sojourn_mean_s': 0.1, 'sojourn_min_s': 0.001, 'delivery_mean_s': 0.09}
            | {'backpressure_s': 0.8, 'makespan_s': 1.0},
            'executor',
            1 / 99,
        ),
        # Hardly longer than alone: more credits bring more.
        ({'sojourn_mean_s': 0.0012, 'sojourn_min_s': 0.001}, 'none: window-limited', 4.0),
        # A station that is busy for half of the time lets it double at most.
        (
            {'sojourn_mean_s': 0.0012, 'sojourn_min_s': 0.001, 'demand_submit_s': 0.0005},
            'none: window-limited',
            1.0,
        ),
        ({'demand_submit_s': 0.00095}, 'submit', 1 / 0.95 - 1),
        ({'sojourn_mean_s': 0.1, 'sojourn_min_s': 0.001, 'sent': 150}, 'none: too few items', 1 / 99),
    ],
)
def test_what_holds_a_closed_loop_back(columns: dict[str, Any], name: str, gain: float) -> None:
    """A station of ours, one that only shows by what waits for it, the credits, or nothing."""
    row = BLANK | CLOSED | columns
    assert limiting(row) == name
    assert window_gain(row) == pytest.approx(gain)


# The last item of a busy machine may come 20 ms late, which must be little of the second run.
@pytest.mark.parametrize(('permits', 'sleep_s', 'limited'), [(2, 0.003, True), (150, 0.01, False)])
async def test_credits_limit_until_they_do_not(permits: int, sleep_s: float, limited: bool) -> None:
    """With two credits two servers wait for their next items, with 150 they never do."""
    row = await run(
        config(
            executor='simulated',
            workers=3,
            rate='max',
            max_outstanding=permits,
            task_sleep=sleep_s,
            task_count=320,
        )
    )
    gain = window_gain(asdict(row))
    assert gain is not None
    assert (gain > 0.02) is limited
    assert ('window-limited' in row.reasons) is limited
    assert 'none' not in row.bottleneck or limited
